# SPDX-License-Identifier: LGPL-2.1-or-later
"""An NBD client on a Unix socket, as little of one as tests need, written from the protocol's description and not from the tree's codec."""

import socket
import struct

DEADLINE = 60  # seconds for anything that is waited for
READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
EIO, EINVAL, EPERM, ENOSPC = 5, 22, 1, 28


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
