# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel says of a running process: CPU time, memory, descriptors.

CPU time is that of the process's clock, in nanoseconds and with its ended threads (so io_uring's own workers count), plus that of children it has waited for,
which the kernel keeps in ticks: a server that forks for each client would otherwise seem to cost nothing.
"""

import ctypes
import os
import time

from child import libc

TICKS = os.sysconf("SC_CLK_TCK")


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def cpu_seconds(pid):
    clock = ctypes.c_int()
    if libc.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return 0.0
    fields = stat_fields(pid)
    return time.clock_gettime(clock.value) + (int(fields[13]) + int(fields[14])) / TICKS  # cutime, cstime of proc(5)


def busy_seconds():
    """Of all processors, whoever used them, what the hypervisor gave to others included."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def children(pid):
    """Its living children; what they have started in turn is not looked at."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except OSError:
            pass
    return found


def status_kib(pid, key):
    """A line of /proc/PID/status in KiB; 0 when the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(key + ":")), 0)
    except (OSError, ValueError):
        return 0


def peak_kib(pid):
    return status_kib(pid, "VmHWM") + sum(status_kib(child, "VmHWM") for child in children(pid))


def rss_kib(pid):
    return status_kib(pid, "VmRSS")


def reset_peak(pid):
    try:
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def pss_kib(pid):
    """Its share: what it has alone, and of what is shared its part."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def sockets(pid):
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            pass
    return found
