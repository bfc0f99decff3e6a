# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes that a benchmark starts, and their certain end.

Each is a process group of its own, dies with the one that started it (PR_SET_PDEATHSIG), and is on a list that end_all() goes through whatever has happened.
fork() by hand and not the subprocess module: socket activation wants descriptor 3 and the child's own process id in its environment, and attach times are
measured, so there is no time for an interpreter in between.

A program that says READY=1 on its notification socket is ready at the moment at which that is received here.
"""

import ctypes
import os
import select
import signal
import socket
import time

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
alive = []


class Failed(Exception):
    """A benchmark that cannot go on; the text is for its user."""


class Child:
    def __init__(self, name, argv, directory, environment=None, listen=None, notify=False):
        """Starts argv at once. `listen`: a listening socket to hand over; `notify`: whether it will say READY=1. What it prints goes to DIRECTORY/NAME.log."""
        self.name, self.argv, self.log = name, argv, os.path.join(directory, name + ".log")
        self.returncode = self.ready_after = self.rusage = None
        self.notified = self.open_notify(os.path.join(directory, name + ".notify")) if notify else None
        environment = {**os.environ, **(environment or {})}
        for variable in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"):
            environment.pop(variable, None)
        if notify:
            environment["NOTIFY_SOCKET"] = self.notified.getsockname()
        if listen:
            environment["LISTEN_FDS"] = "1"
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.become(environment, listen)
            finally:
                os._exit(127)
        alive.append(self)
        self.pidfd = os.pidfd_open(self.pid)

    @classmethod
    def adopt(cls, launcher, pid):
        """A daemon that has detached itself: here, in the enclosure, the orphan is this process's child again."""
        child = cls.__new__(cls)
        child.__dict__.update(launcher.__dict__, pid=pid, pidfd=os.pidfd_open(pid), returncode=None)
        alive.append(child)
        return child

    @staticmethod
    def open_notify(path):
        if os.path.exists(path):
            os.unlink(path)
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notified.bind(path)
        return notified

    def become(self, environment, listen):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if listen:
            os.dup2(listen.fileno(), 3)  # inheritable, as dup2() makes it; all others are closed by exec
            os.set_inheritable(3, True)
            environment["LISTEN_PID"] = str(os.getpid())
        os.execvpe(self.argv[0], self.argv, environment)

    def tail(self, lines=8):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""

    def fail(self, what):
        raise Failed(f"{self.name}: {what}\n  {' '.join(self.argv)}\n{self.tail()}")

    def wait_ready(self, seconds):
        """Until READY=1; returns the seconds since the start."""
        hear_all(self.began + seconds - time.monotonic(), ending=self, until=lambda: self.ready_after is not None)
        if self.ready_after is None:
            if self.wait(0) is not None:
                self.fail(f"ended with {self.returncode} before it was ready")
            self.fail(f"not ready within {seconds} s")
        return self.ready_after

    def hear(self):
        """Takes one message from the notification socket; True when it has made the child ready."""
        text = self.notified.recv(65536).decode(errors="replace").splitlines()
        for line in text:
            if line.startswith("STATUS="):
                self.status = line[len("STATUS="):]
        if self.ready_after is None and "READY=1" in text:
            self.ready_after = time.monotonic() - self.began
            return True
        return False

    def wait(self, seconds):
        """Its exit status, negative for a signal, or None when it is still there after that time."""
        if self.returncode is None:
            if not hear_all(seconds, ending=self):
                return None
            _, status, self.rusage = os.wait4(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
            self.forget()
        return self.returncode

    def forget(self):
        """After its end: what it has left behind in its group goes, too."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.pidfd)
        if self.notified:
            self.notified.close()
        if self in alive:
            alive.remove(self)

    def send(self, number):
        if self.returncode is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def stop(self, seconds=5, with_signal=signal.SIGTERM):
        if self.returncode is None:
            self.send(with_signal)
            if self.wait(seconds) is None:
                self.send(signal.SIGKILL)
                self.wait(5)
        return self.returncode


def hear_all(seconds, ending=None, until=lambda: False):
    """Hears whatever any child says, since one that nobody listens to stops when its socket is full; until that one has ended or that is so (True), or the time is over."""
    end = time.monotonic() + seconds
    poll, talkers = select.poll(), {child.notified.fileno(): child for child in alive if child.notified}
    for fd in talkers:
        poll.register(fd, select.POLLIN)
    if ending:
        poll.register(ending.pidfd, select.POLLIN)
    while not until():
        events = dict(poll.poll(max(end - time.monotonic(), 0) * 1000))
        for fd in talkers.keys() & events.keys():
            talkers[fd].hear()
        if ending and ending.pidfd in events:
            return True
        if not events and time.monotonic() >= end:
            return until()
    return True


def end_all(seconds=5):
    """All of them at once, politely, then not."""
    for child in alive:
        child.send(signal.SIGTERM)
    end = time.monotonic() + seconds
    for child in list(alive):
        child.wait(end - time.monotonic())
    for child in list(alive):
        child.stop(0, signal.SIGKILL)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise Failed(f"waited {seconds} s in vain until {what}")
        time.sleep(0.005)
