# SPDX-License-Identifier: LGPL-2.1-or-later
"""The worker as systemd would run it, without systemd and without privileges: a directory with the configuration of one image, a listening socket, and the
socket on which it says how it is."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

DEADLINE = 60  # seconds for anything that is waited for
USER, PASSWORD = "alice", "secret"

# Descriptor 3 and its own process id are what socket activation is about.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Rig:
    def __init__(self, worker):
        self.worker_program, self.worker = worker, None
        self.temporary = tempfile.TemporaryDirectory(prefix="worker-")
        self.directory = Path(self.temporary.name)
        for name in ("etc/images.d", "run", "credentials", "state"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "credentials/password").write_text(PASSWORD)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill(self.worker)
        self.temporary.cleanup()

    @staticmethod
    def kill(process):
        if process and process.poll() is None:
            process.kill()
            process.wait()

    def configure(self, proxies, **settings):
        config = {"image": "disk1", "device": "none", "user": USER, "proxies": proxies, **settings}
        (self.directory / "etc/images.d/image.json").write_text(json.dumps(config))

    def start_worker(self, ready=True):
        """Returns the path of the NBD socket, when the worker is ready unless told otherwise."""
        path = self.directory / "nbd"
        path.unlink(missing_ok=True)
        (self.directory / "notify").unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(self.directory / "notify"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            environment = {
                **os.environ,
                "BLOCKSTORE_CONFIG_DIRECTORY": str(self.directory / "etc"),
                "BLOCKSTORE_RUNTIME_DIRECTORY": str(self.directory / "run"),
                "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
                "RUNTIME_DIRECTORY": str(self.directory / "state"),
                "NOTIFY_SOCKET": str(self.directory / "notify"),
                "LISTEN_FDS": "1",
            }
            self.worker = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(listener.fileno()), self.worker_program, "image"],
                env=environment, pass_fds=[listener.fileno()])  # fmt: skip
        self.said, self.news = [], threading.Condition()
        threading.Thread(target=self.listen, args=(notify, self.worker), daemon=True).start()
        if ready:
            self.wait_said(r"READY=1")
        return path

    def listen(self, notify, worker):
        """What the worker tells systemd, line by line, until it has ended."""
        notify.settimeout(0.2)
        with notify:
            while True:
                ended = worker.poll() is not None  # before looking, so that nothing said before the end is missed
                try:
                    lines = notify.recv(65536).decode().splitlines()
                except socket.timeout:
                    if ended:
                        return
                    continue
                with self.news:
                    self.said += lines
                    self.news.notify_all()

    @property
    def status(self):
        with self.news:
            return next((line for line in reversed(self.said) if line.startswith("STATUS=")), "")

    def wait_said(self, pattern, since=0):
        """Until the worker has said a line with the pattern. Returns how many lines it has said by then."""
        with self.news:
            found = self.news.wait_for(lambda: any(re.search(pattern, line) for line in self.said[since:]), DEADLINE)
            assert found, f"the worker never said {pattern!r}, but {self.said[since:]}"
            return len(self.said)

    def n_said(self):
        with self.news:
            return len(self.said)

    def stop_worker(self):
        self.worker.send_signal(signal.SIGTERM)
        status = self.worker.wait(DEADLINE)
        assert status == 0, f"the worker ended with {status}: {self.status}"

    def wait_ended(self, status, pattern):
        """Until it has given up by itself, with that exit status and for that reason."""
        ended = self.worker.wait(DEADLINE)
        assert ended == status, f"the worker ended with {ended}, not {status}: {self.status}"
        self.wait_said(f"STATUS=failed.*{pattern}")


def wait_until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"this never came: {what}"
        time.sleep(0.02)
