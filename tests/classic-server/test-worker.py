#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-worker.py WORKER: the worker between an NBD client and a classic server, all three on this machine and without
privileges.

The client is written here, the server beside this file; neither knows the tree's code. What is held: data that were
written are read back, by this connection and after a restart of the server, in whatever order it answers; a server that
pushes, delays, says nothing to keepalives or ends a connection costs no I/O; and the server has no rule to complain of.
"""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVER = Path(__file__).with_name("classic-server.py")
DEADLINE = 60  # seconds for anything that is waited for
READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
EINVAL, EPERM, ENOSPC = 22, 1, 28
BLOCK = 4096


class Nbd:
    """A client with many requests in flight. Replies are taken when they are asked for."""

    def __init__(self, path, name=""):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(DEADLINE)
        self.connection.connect(str(path))
        assert self.receive(16) == b"NBDMAGICIHAVEOPT"
        assert struct.unpack(">H", self.receive(2))[0] & 3 == 3
        name = name.encode()
        payload = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self.connection.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 7, len(payload)) + payload)
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
            data = self.receive(length)
            assert (magic, option) == (0x3E889045565A9, 7)
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])
            if kind == 1:
                break
            if kind >= 1 << 31:
                raise ConnectionError(data.decode())
        self.cookie = 0
        self.expected = {}  # cookie to bytes of data that a good reply carries
        self.replies = {}

    def receive(self, n):
        data = bytearray()
        while len(data) < n:
            part = self.connection.recv(n - len(data))
            if not part:
                raise ConnectionError(f"closed after {len(data)} of {n} bytes")
            data += part
        return bytes(data)

    def start(self, kind, offset=0, length=0, data=b"", flags=0):
        self.cookie += 1
        self.expected[self.cookie] = length if kind == READ else 0
        length = length or len(data)
        self.connection.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, self.cookie, offset, length) + data)
        return self.cookie

    def finish(self, cookie):
        """The reply: error and data."""
        while cookie not in self.replies:
            magic, error, other = struct.unpack(">IIQ", self.receive(16))
            assert magic == 0x67446698, hex(magic)
            self.replies[other] = error, self.receive(self.expected.pop(other)) if error == 0 else b""
        return self.replies.pop(cookie)

    def call(self, *args, **kwargs):
        return self.finish(self.start(*args, **kwargs))

    def read(self, offset, length):
        error, data = self.call(READ, offset, length)
        assert error == 0, f"read at {offset}: error {error}"
        return data

    def write(self, offset, data):
        error, _ = self.call(WRITE, offset, data=data)
        assert error == 0, f"write at {offset}: error {error}"

    def close(self):
        self.connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, DISC, 0, 0, 0))
        assert self.connection.recv(1) == b"", "bytes after DISC"
        self.connection.close()


class Rig:
    """A directory with the configuration of one image, a server, and the worker."""

    def __init__(self, worker):
        self.worker_program, self.processes = worker, contextlib.ExitStack()
        self.directory = Path(self.processes.enter_context(tempfile.TemporaryDirectory(prefix="classic-")))
        for name in ("etc/images.d", "run", "credentials", "state", "images"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "credentials/password").write_text("secret")
        self.port, self.server, self.worker = 0, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.worker, self.server):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        self.processes.close()

    def start_server(self, *options):
        password = self.directory / "credentials/password"
        self.server = subprocess.Popen(
            [sys.executable, SERVER, "--port", str(self.port), "--image", "disk1=8M", "--user", "alice"]
            + ["--password-file", password, "--directory", self.directory / "images"]
            + ["--state-file", self.directory / "server.json", *options],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.port = int(self.server.stdout.readline().removeprefix("listening on "))
        self.configure()

    def stop_server(self):
        """Ends it and returns what it has counted."""
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(DEADLINE) == 0
        self.server.stdout.close()
        return json.loads((self.directory / "server.json").read_text())

    def wait_for(self, condition):
        """Until what the server has counted fulfils it."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if condition(json.loads((self.directory / "server.json").read_text())):
                    return
            time.sleep(0.05)
        raise TimeoutError("the server has not seen what was expected")

    def configure(self, **settings):
        config = {"image": "disk1", "device": "none", "user": "alice", "proxies": [f"127.0.0.1:{self.port}"], **settings}
        (self.directory / "etc/images.d/image.json").write_text(json.dumps(config))

    def start_worker(self):
        path = self.directory / "nbd"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            listener.bind(str(path))
            listener.listen()
            (self.directory / "notify").unlink(missing_ok=True)
            notify.bind(str(self.directory / "notify"))
            notify.settimeout(DEADLINE)
            environment = {
                **os.environ,
                "BLOCKSTORE_CONFIG_DIRECTORY": str(self.directory / "etc"),
                "BLOCKSTORE_RUNTIME_DIRECTORY": str(self.directory / "run"),
                "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
                "RUNTIME_DIRECTORY": str(self.directory / "state"),
                "NOTIFY_SOCKET": str(self.directory / "notify"),
                "LISTEN_FDS": "1",
            }
            # Descriptor 3 and its own process id are what socket activation is about.
            self.worker = subprocess.Popen(
                ["sh", "-c", 'exec 3<&"$0"; LISTEN_PID=$$ exec "$@"', str(listener.fileno()), self.worker_program, "image"],
                env=environment, pass_fds=[listener.fileno()])  # fmt: skip
            deadline = time.monotonic() + DEADLINE
            self.status = ""
            while time.monotonic() < deadline:
                words = notify.recv(65536).decode().splitlines()
                self.status = next((w[7:] for w in words if w.startswith("STATUS=")), self.status)
                if "READY=1" in words:
                    return path
            raise TimeoutError(f"the worker is not ready: {self.status}")

    def stop_worker(self):
        self.worker.send_signal(signal.SIGTERM)
        status = self.worker.wait(DEADLINE)
        assert status == 0, f"the worker ended with {status}"


def exercise(client, seed, requests=400):
    """Random requests, many at a time. As a kernel does, it waits for what touches the same bytes, a write at least."""
    dice, model, started = random.Random(seed), bytearray(client.size), []
    client.write(0, bytes(1 << 20))
    region = 64 * BLOCK
    for n in range(requests):
        offset = dice.randrange(region // BLOCK) * BLOCK
        end = min(offset + dice.randrange(1, 5) * BLOCK, region)
        is_write = dice.random() < 0.6
        for other in [o for o in started if o.offset < end and offset < o.end and (is_write or o.is_write)]:
            started.remove(other)
            other.check(client)
        if is_write:
            model[offset:end] = bytes([n % 255 + 1]) * (end - offset)
        started.append(Request(client, is_write, offset, end, bytes(model[offset:end])))
        if len(started) > 24:
            started.pop(dice.randrange(len(started))).check(client)
    for request in started:
        request.check(client)
    assert client.read(0, region) == model[:region], "the image is not what was written"


class Request:
    def __init__(self, client, is_write, offset, end, data):
        self.is_write, self.offset, self.end, self.data = is_write, offset, end, data
        self.cookie = client.start(WRITE, offset, data=data) if is_write else client.start(READ, offset, end - offset)

    def check(self, client):
        error, data = client.finish(self.cookie)
        assert error == 0, f"error {error} at {self.offset}"
        assert self.is_write or data == self.data, f"wrong data at {self.offset}"


def in_order(rig):
    """A plain server: sizes, data, bounds, and what a classic server cannot do."""
    rig.start_server()
    client = Nbd(rig.start_worker(), "image")
    assert client.size == 8 << 20
    client.write(0, b"a" * BLOCK)
    client.write(client.size - BLOCK, b"z" * BLOCK)
    assert client.read(0, BLOCK) == b"a" * BLOCK
    assert client.read(client.size - BLOCK, BLOCK) == b"z" * BLOCK
    assert client.call(READ, client.size, BLOCK)[0] == EINVAL
    assert client.call(WRITE, client.size, data=b"x" * BLOCK)[0] == ENOSPC
    big = os.urandom(3 << 20)
    client.write(1 << 20, big)
    assert client.read(1 << 20, 3 << 20) == big
    exercise(client, 1)
    client.close()
    rig.stop_worker()
    return rig.stop_server()


def shuffled(rig):
    rig.start_server("--shuffle", "7", "--push", "5")
    client = Nbd(rig.start_worker())
    exercise(client, 2)
    client.close()
    rig.stop_worker()
    state = rig.stop_server()
    assert state["overtaken"] > 0, "nothing was shuffled"
    return state


def restarted(rig):
    """The server goes away with requests in its hands, and comes back with the same image."""
    rig.start_server("--shuffle", "9", "--delay", "20")
    client = Nbd(rig.start_worker())
    started = [client.start(WRITE, n * BLOCK, data=bytes([n + 1]) * BLOCK) for n in range(16)]
    client.finish(started[0])
    assert not rig.stop_server()["violations"]
    rig.start_server()
    for cookie in started[1:]:
        assert client.finish(cookie)[0] == 0, "a write was lost with its connection"
    for n in range(16):
        assert client.read(n * BLOCK, BLOCK) == bytes([n + 1]) * BLOCK
    client.close()
    rig.stop_worker()
    return rig.stop_server()


def impatient(rig):
    """A client must not be silent for long, nor expect its keepalives to be answered."""
    rig.start_server("--idle", "20", "--greeting", "some proxy, of an old make")
    client = Nbd(rig.start_worker())
    client.write(0, b"k" * BLOCK)
    rig.wait_for(lambda state: state.get("keepalives", 0) > 0)
    assert client.read(0, BLOCK) == b"k" * BLOCK
    client.close()
    rig.stop_worker()
    state = rig.stop_server()
    assert state["connections"] == 1 and "idle_drops" not in state, state
    return state


def read_only_server(rig):
    rig.start_server("--read-only")
    client = Nbd(rig.start_worker())
    assert client.call(WRITE, 0, data=b"x" * BLOCK)[0] == EPERM
    assert client.read(0, BLOCK) == bytes(BLOCK)
    client.close()
    rig.stop_worker()
    return rig.stop_server()


def main():
    for case in (in_order, shuffled, restarted, impatient, read_only_server):
        print(case.__name__, flush=True)
        with Rig(sys.argv[1]) as rig:
            state = case(rig)
            assert not state["violations"], state["violations"]


main()
