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
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
from nbd import EINVAL, ENOSPC, EPERM, READ, WRITE, Nbd  # noqa: E402
from worker_rig import DEADLINE, USER, Rig  # noqa: E402

SERVER = Path(__file__).with_name("classic-server.py")
BLOCK = 4096


class ClassicRig(Rig):
    """With the server beside this file, which counts what it sees."""

    def __init__(self, worker):
        super().__init__(worker)
        (self.directory / "images").mkdir()
        self.port, self.server = 0, None

    def __exit__(self, *_):
        self.kill(self.server)
        super().__exit__()

    def start_server(self, *options):
        password = self.directory / "credentials/password"
        self.server = subprocess.Popen(
            [sys.executable, SERVER, "--port", str(self.port), "--image", "disk1=8M", "--user", USER]
            + ["--password-file", password, "--directory", self.directory / "images"]
            + ["--state-file", self.directory / "server.json", *options],
            stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.port = int(self.server.stdout.readline().removeprefix("listening on "))
        self.configure([f"127.0.0.1:{self.port}"])

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
        with ClassicRig(sys.argv[1]) as rig:
            state = case(rig)
            assert not state["violations"], state["violations"]


main()
