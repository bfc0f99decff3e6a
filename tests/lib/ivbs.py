# SPDX-License-Identifier: LGPL-2.1-or-later
"""The classic IVBS protocol, as little of it as cases need, written from its description
and not from the tree's codec: two readings of one text are worth more than one.

A packet is 32 bytes session id, then big-endian op, status, length of the payload and
sequence (4 bytes each), then the payload. The client's sequence starts with 1.
"""

import hashlib
import socket
import struct

GREETING, KEEPALIVE, LOGIN, ATTACH, LIST_PROXIES, READ, WRITE = 1, 2, 100, 200, 211, 300, 301
OK, NOT_FOUND, ALREADY_EXISTS, NOT_LOGGEDIN, PERMISSION_DENIED, READ_ONLY, NOT_READY = range(7)
TEMPORARY_ERROR, PERMANENT_ERROR, USE_ANOTHER_PROXY, INVALID_REQUEST, EXPIRED = range(10, 15)


class Closed(Exception):
    """The other side has closed the connection."""


class Packet:
    def __init__(self, op, payload=b"", status=OK, sequence=0, session=b"\0" * 32):
        self.op, self.payload, self.status, self.sequence, self.session = op, payload, status, sequence, session

    def encode(self):
        return self.session + struct.pack(">IIII", self.op, self.status, len(self.payload), self.sequence) + self.payload


def receive_exactly(connection, length):
    data = b""
    while len(data) < length:
        try:
            part = connection.recv(length - len(data))
        except ConnectionResetError:
            part = b""
        if not part:
            raise Closed(f"after {len(data)} of {length} bytes")
        data += part
    return data


def receive(connection):
    header = receive_exactly(connection, 48)
    op, status, length, sequence = struct.unpack(">IIII", header[32:])
    assert length <= 64 << 20, f"a packet claims {length} bytes"
    return Packet(op, receive_exactly(connection, length), status, sequence, header[:32])


class Client:
    """One connection. Packets that nobody asked for (KEEPALIVE, LIST_PROXIES) are kept in `pushed`."""

    def __init__(self, port, timeout=20):
        self.connection = socket.create_connection(("127.0.0.1", port), timeout)
        self.greeting = receive(self.connection)
        assert self.greeting.op == GREETING, f"the first packet has op {self.greeting.op}"
        self.session = self.greeting.session
        self.sequence = 0
        self.pushed = []

    def send_raw(self, data):
        self.connection.sendall(data)

    def send(self, op, payload=b"", **fields):
        self.sequence += 1
        fields = {"sequence": self.sequence, "session": self.session, **fields}
        self.send_raw(Packet(op, payload, **fields).encode())
        return fields["sequence"]

    def reply(self, sequence):
        while True:
            packet = receive(self.connection)
            if packet.sequence == sequence and packet.op not in (LIST_PROXIES,):
                return packet
            self.pushed.append(packet)

    def call(self, op, payload=b"", **fields):
        return self.reply(self.send(op, payload, **fields))

    def login(self, user, password):
        secret = hashlib.sha512(password.encode()).hexdigest().encode()
        return self.call(LOGIN, user.encode().ljust(32, b"\0")[:32] + secret)

    def attach(self, name):
        reply = self.call(ATTACH, name.encode().ljust(256, b"\0")[:256])
        self.size = struct.unpack(">Q", reply.payload[256:264])[0] if reply.status == OK else None
        return reply

    def read(self, offset, length):
        return self.call(READ, struct.pack(">QQ", offset, length))

    def write(self, offset, data):
        return self.call(WRITE, struct.pack(">Q", offset) + data)

    def is_dropped(self):
        """Whether the other side closes the connection (within the time-out), whatever it says before."""
        try:
            while True:
                receive(self.connection)
        except Closed:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.connection.close()
