# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a benchmark runs: a process namespace and a mount namespace of its own.

Process 1 of the namespace is the benchmark; when it ends, however that comes about, the kernel ends everything that it has started. A tmpfs of its own covers /run, so
images, sockets and logs are in memory and nobody has to remove them. The one outside waits, passes signals on, and ends the whole when its time is over.
"""

import ctypes
import os
import select
import signal
import sys
import time

from child import PR_SET_PDEATHSIG, Failed, libc

CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000  # linux/sched.h
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 0x4000, 1 << 18  # linux/mount.h
DIRECTORY = "/run/bench"


def mount(source, target, kind, flags, options=None):
    if libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags),
                  options.encode() if options else None) < 0:  # fmt: skip
        raise Failed(f"cannot mount {kind} on {target}: {os.strerror(ctypes.get_errno())}")


def watch(pid, limit):
    """The part outside: until the benchmark has ended, or its time has."""
    pidfd = os.pidfd_open(pid)
    said = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: said.append(number))
    end = time.monotonic() + limit
    while not select.select([pidfd], [], [], 0.2)[0]:
        if time.monotonic() > end:
            print(f"bench: not done after {limit} s, ended", file=sys.stderr)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        elif said:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            said.clear()
            end = min(end, time.monotonic() + 15)
    code = os.waitstatus_to_exitcode(os.wait4(pid, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def leave(number, frame):
    raise SystemExit(128 + number)


def enter(limit, memory):
    """Returns in the enclosure, with the directory to work in. `limit`: seconds until everything is ended; `memory`: what may be kept there, as mount(8) has it."""
    if os.geteuid() != 0:
        raise Failed("run it as root: it makes namespaces of its own")
    sys.stdout.flush()
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID) < 0:
        raise Failed(f"cannot make namespaces: {os.strerror(ctypes.get_errno())}")
    pid = os.fork()
    if pid > 0:
        watch(pid, limit)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)
    mount("bench", "/run", "tmpfs", MS_NOSUID | MS_NODEV, f"size={memory},mode=755")
    os.mkdir(DIRECTORY, 0o755)
    return DIRECTORY
