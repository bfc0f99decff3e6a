#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The classic server itself: what it answers, and that it drops whoever breaks a rule, with the rule's name."""

import hashlib
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = Path(__file__).with_name("classic-server.py")
GREETING, KEEPALIVE, LOGIN, ATTACH, LIST_PROXIES, READ, WRITE = 1, 2, 100, 200, 211, 300, 301
SECRET = hashlib.sha512(b"secret").hexdigest().encode()
SIZE = 1 << 20


class Client:
    def __init__(self, port):
        self.connection = socket.create_connection(("127.0.0.1", port), 20)
        op, status, payload, _ = self.receive()
        assert (op, status, payload) == (GREETING, 0, b""), (op, status, payload)
        self.sequence = 0

    def send(self, op, payload=b"", status=0, session=None, length=None, sequence=None):
        self.sequence = self.sequence + 1 if sequence is None else sequence
        length = len(payload) if length is None else length
        self.connection.sendall((session or self.session) + struct.pack(">IIII", op, status, length, self.sequence) + payload)

    def receive_exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.connection.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self):
        header = self.receive_exactly(48)
        op, status, length, sequence = struct.unpack(">IIII", header[32:])
        self.session = header[:32]
        return op, status, self.receive_exactly(length), sequence

    def call(self, op, payload=b"", **fields):
        self.send(op, payload, **fields)
        answer = self.receive()
        assert (answer[0], answer[3]) == (op, self.sequence), answer
        return answer[1:3]

    def login(self, user=b"alice", secret=SECRET):
        return self.call(LOGIN, user.ljust(32, b"\0") + secret)[0]

    def attach(self, name=b"disk1"):
        return self.call(ATTACH, name.ljust(256, b"\0"))

    def is_dropped(self):
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            return True
        except TimeoutError:
            return False


def logged_in(client):
    assert client.login() == 0


def attached(client):
    logged_in(client)
    assert client.attach() == (0, b"disk1".ljust(256, b"\0") + struct.pack(">Q", SIZE))


def span(offset, length):
    return struct.pack(">QQ", offset, length)


# Before, what is sent, and the complaint.
VIOLATIONS = [
    (None, lambda c: c.send(ATTACH, bytes(256)), "ATTACH_TO_IMAGE comes before LOGIN"),
    (None, lambda c: c.send(READ, span(0, 512)), "op 300 comes before ATTACH_TO_IMAGE"),
    (None, lambda c: c.send(KEEPALIVE, session=b"x" * 32), "a packet carries another session id"),
    (None, lambda c: c.send(KEEPALIVE, status=1), "a client's packet has status 1"),
    (None, lambda c: c.send(KEEPALIVE, b"x"), "KEEPALIVE carries 1 bytes"),
    (None, lambda c: c.send(1001, bytes(80)), "op 1001 is unknown"),
    (None, lambda c: c.send(GREETING), "op 1 is unknown"),
    (None, lambda c: c.send(LOGIN, bytes(159)), "LOGIN carries 159 bytes"),
    (None, lambda c: c.send(LOGIN, bytes(32) + SECRET), "LOGIN's user name is empty or badly padded"),
    (None, lambda c: c.send(LOGIN, b"a\0b".ljust(32, b"\0") + SECRET), "LOGIN's user name is empty or badly padded"),
    (None, lambda c: c.send(LOGIN, b"a".ljust(32, b"\0") + SECRET.upper()), "LOGIN's password is not lower-case hex"),
    (None, lambda c: c.send(WRITE, length=0xFFFFFFFF), "a packet of op 301 announces 4294967295 bytes"),
    (logged_in, lambda c: c.send(LOGIN, b"alice".ljust(32, b"\0") + SECRET), "LOGIN comes twice"),
    (logged_in, lambda c: c.send(WRITE, bytes(9)), "op 301 comes before ATTACH_TO_IMAGE"),
    (logged_in, lambda c: c.send(ATTACH, bytes(255)), "ATTACH_TO_IMAGE carries 255 bytes"),
    (logged_in, lambda c: c.send(ATTACH, bytes(256)), "ATTACH_TO_IMAGE's name is empty or badly padded"),
    (attached, lambda c: c.send(ATTACH, b"disk1".ljust(256, b"\0")), "ATTACH_TO_IMAGE comes twice"),
    (attached, lambda c: c.send(READ, bytes(15)), "READ carries 15 bytes"),
    (attached, lambda c: c.send(WRITE, bytes(8)), "WRITE carries 8 bytes"),
    (attached, lambda c: c.send(1300), "op 1300 is unknown"),
    (attached, lambda c: [c.send(READ, span(0, 1), sequence=9) for _ in range(2)], "sequence 9 is used again before its reply"),
    (attached, lambda c: [c.send(WRITE, b"", length=100), c.connection.shutdown(socket.SHUT_WR)], "the connection ended within a packet"),
]


def answers(port):
    client = Client(port)
    client.send(KEEPALIVE)
    assert client.login(b"bob") == 4
    assert client.login(secret=SECRET[::-1]) == 4
    logged_in(client)
    assert client.attach(b"disk2") == (1, b"")
    assert client.attach()[0] == 0
    assert client.call(WRITE, struct.pack(">Q", 512) + b"abcd") == (0, b"")
    assert client.call(READ, span(511, 6)) == (0, b"\0abcd\0")
    assert client.call(READ, span(SIZE - 1, 1)) == (0, b"\0")
    for offset, length in ((SIZE, 1), (SIZE - 1, 2), (0, 0), ((1 << 64) - 1, 1), (0, (1 << 64) - 1)):
        assert client.call(READ, span(offset, length)) == (13, b"")
    assert client.call(WRITE, struct.pack(">Q", SIZE) + b"x") == (13, b"")


def shuffles(port):
    client = Client(port)
    attached(client)
    sequences = []
    for n in range(64):
        client.send(READ, span(n, 1))
        sequences.append(client.sequence)
    answered = [client.receive()[3] for _ in sequences]
    assert sorted(answered) == sequences and answered != sequences, answered


def pushes(port):
    client = Client(port)
    attached(client)
    assert {client.receive()[0] for _ in range(4)} == {LIST_PROXIES, KEEPALIVE}


def drops_the_idle(port):
    assert Client(port).is_dropped()


def echoes_keepalives(port):
    assert Client(port).call(KEEPALIVE) == (0, b"")


def run_server(test, *options):
    with tempfile.TemporaryDirectory(prefix="classic-") as directory:
        password, state = Path(directory) / "password", Path(directory) / "state"
        password.write_text("secret\n")
        server = subprocess.Popen(
            [sys.executable, SERVER, "--port", "0", "--image", "disk1=1M", "--user", "alice", "--password-file", password]
            + ["--state-file", state, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        try:
            test(int(server.stdout.readline().removeprefix("listening on ")))
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=20)
            assert server.returncode == 0, errors
            assert "Traceback" not in errors, errors
            return json.loads(state.read_text())
        finally:
            if server.poll() is None:
                server.kill()
                server.communicate()


def main():
    for test, options in (
        (answers, ()),
        (shuffles, ("--shuffle", "1")),
        (pushes, ("--push", "1")),
        (drops_the_idle, ("--idle", "0.05")),
        (echoes_keepalives, ("--keepalive", "echo")),
    ):
        print(test.__name__, flush=True)
        state = run_server(test, *options)
        assert state["violations"] == [], state

    def violate(port):
        for before, send, complaint in VIOLATIONS:
            client = Client(port)
            if before:
                before(client)
            send(client)
            assert client.is_dropped(), complaint

    # The delay keeps a request unanswered while its sequence is used again.
    print("violations", flush=True)
    state = run_server(violate, "--delay", "200")
    assert state["violations"] == [complaint for _, _, complaint in VIOLATIONS], state["violations"]


main()
