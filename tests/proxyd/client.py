# SPDX-License-Identifier: LGPL-2.1-or-later
"""An IVBS client for tests, classic and modern, written from docs/protocol.md and not from the
tree's codec: what both get wrong in the same way would not be found otherwise.

Everything is blocking and bounded by a time-out. Packets that nobody asked for (LIST_PROXIES, NOTICE)
are kept in `pushed`.
"""

import hashlib
import socket
import struct
import time

OPS = {
    "GREETING": 1, "KEEPALIVE": 2, "LOGIN": 100, "ATTACH_TO_IMAGE": 200, "LIST_PROXIES": 211,
    "READ": 300, "WRITE": 301, "HELLO": 1001, "NOTICE": 1002, "LOGIN_TICKET": 1100, "DRAIN": 1220, "ATTACH_LEASE": 1200, "RESUME": 1201,
    "FENCE": 1202, "DETACH": 1203, "LIST_IMAGES": 1210, "CREATE_IMAGE": 1211, "REMOVE_IMAGE": 1212,
    "RENAME_IMAGE": 1240, "SNAPSHOT": 1241, "LIST_SNAPSHOTS": 1242, "REMOVE_SNAPSHOT": 1243, "CLONE_IMAGE": 1244, "ROLL_BACK": 1245,
    "STORE_STATUS": 1265,
    "RESIZE_IMAGE": 1213, "SCRAM_FIRST": 1250, "SCRAM_FINAL": 1251, "SCRAM_TICKET": 1252,
    "JOB_STATUS": 1246, "JOB_CANCEL": 1247, "SCRUB": 1260, "GET_CARE": 1261, "SET_LIMITS": 1262,
    "FLUSH": 1300, "TRIM": 1301, "WRITE_ZEROES": 1302, "WRITE_FUA": 1303,
}
STATUSES = {
    0: "OK", 1: "NOT_FOUND", 2: "ALREADY_EXISTS", 3: "NOT_LOGGEDIN", 4: "PERMISSION_DENIED",
    5: "READ_ONLY", 6: "NOT_READY", 10: "TEMPORARY_ERROR", 11: "PERMANENT_ERROR",
    12: "USE_ANOTHER_PROXY", 13: "INVALID_REQUEST", 14: "EXPIRED", 100: "HELD", 101: "NO_SPACE",
    110: "NO_SCRAM", 111: "LOGIN_OFF",
    102: "IN_USE", 103: "HAS_SNAPSHOTS", 104: "RESIZED", 115: "DAMAGED", 116: "NO_CHECKSUMS", 117: "NOT_SUPPORTED",
}
CAP_FLUSH, CAP_FUA, CAP_TRIM, CAP_WRITE_ZEROES = 1, 2, 4, 8
CAP_IMAGES, CAP_LEASE, CAP_FENCE, CAP_DURABILITY, CAP_NOTICE = 16, 32, 64, 128, 256
CAP_TICKET, CAP_DRAIN, CAP_RESIZE, CAP_SNAPSHOTS = 512, 1024, 2048, 4096
CAP_SCRAM = 8192
ALL_CAPS = 0xFFFF
DATA_MAX = 32 << 20
LENGTH_MAX = DATA_MAX + 8


class Closed(Exception):
    """The proxy has closed the connection."""


class Reply:
    def __init__(self, op, status, payload, sequence, session):
        self.op, self.payload, self.sequence, self.session = op, payload, sequence, session
        self.status = STATUSES.get(status, status)

    def __repr__(self):
        return f"<op {self.op} {self.status} #{self.sequence} {len(self.payload)} bytes>"


def padded(text, size):
    data = text if isinstance(text, bytes) else text.encode()
    return data[:size].ljust(size, b"\0")


def password_hex(password):
    return hashlib.sha512(password.encode()).hexdigest().encode()


def number(op):
    return OPS[op] if isinstance(op, str) else op


class Client:
    def __init__(self, address, timeout=20):
        self.socket = socket.create_connection(address, timeout)
        self.sequence = 0
        self.pushed = []
        self.unmatched = {}
        self.session = b"\0" * 32
        self.greeting = self.receive()
        assert self.greeting.op == OPS["GREETING"], self.greeting
        self.session = self.greeting.session

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # --- bytes

    def receive_exactly(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                part = self.socket.recv(n - len(data))
            except (ConnectionResetError, BrokenPipeError):
                part = b""
            if not part:
                raise Closed(f"after {len(data)} of {n} bytes")
            data += part
        return bytes(data)

    def receive(self):
        header = self.receive_exactly(48)
        op, status, length, sequence = struct.unpack(">IIII", header[32:])
        assert length <= LENGTH_MAX, f"a reply claims {length} bytes"
        return Reply(op, status, self.receive_exactly(length), sequence, header[:32])

    def packet(self, op, payload=b"", length=None, sequence=None, session=None, status=0):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        length = len(payload) if length is None else length
        session = self.session if session is None else session
        return session + struct.pack(">IIII", number(op), status, length, sequence) + payload

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, op, payload=b"", **how):
        """Sends without waiting; returns the sequence."""
        self.send_raw(self.packet(op, payload, **how))
        return how.get("sequence") or self.sequence

    def wait(self, sequence):
        """The reply of a sequence, in whatever order replies come."""
        while sequence not in self.unmatched:
            reply = self.receive()
            if reply.sequence == 0:
                self.pushed.append(reply)
            else:
                assert reply.session == self.session, "a reply carries another session's id"
                assert reply.sequence not in self.unmatched, f"two replies with {reply.sequence}"
                self.unmatched[reply.sequence] = reply
        return self.unmatched.pop(sequence)

    def call(self, op, payload=b"", **how):
        reply = self.wait(self.send(op, payload, **how))
        assert reply.op == number(op), reply
        return reply

    def wait_pushed(self, op):
        while not any(p.op == number(op) for p in self.pushed):
            reply = self.receive()
            assert reply.sequence == 0, reply
            self.pushed.append(reply)
        found = next(p for p in self.pushed if p.op == number(op))
        self.pushed.remove(found)
        return found

    def wait_closed(self):
        """Passes over what still comes; fails with a time-out when the connection stays."""
        try:
            while True:
                self.receive()
        except Closed:
            return

    # --- classic

    def login(self, user="alice", password="secret"):
        return self.call("LOGIN", padded(user, 32) + password_hex(password))

    def attach(self, image):
        return self.call("ATTACH_TO_IMAGE", padded(image, 256))

    def read(self, offset, length):
        return self.call("READ", struct.pack(">QQ", offset, length))

    def write(self, offset, data, fua=False):
        return self.call("WRITE_FUA" if fua else "WRITE", struct.pack(">Q", offset) + data)

    # --- modern

    def hello(self, caps=ALL_CAPS, machine=b"m" * 16, host="host", max_length=LENGTH_MAX):
        payload = struct.pack(">QII", caps, max_length, 0) + machine + b"b" * 16 + padded(host, 32)
        reply = self.call("HELLO", payload)
        # What both sides have seen until here, for scram.py.
        self.transcript = hashlib.sha256(self.session).digest()
        for part in (self.greeting.payload, payload, reply.payload):
            self.transcript = hashlib.sha256(self.transcript + part).digest()
        return reply

    def attach_lease(self, image, read_only=False, steal=False):
        return self.call("ATTACH_LEASE", struct.pack(">II", read_only | steal << 1, 0) + padded(image, 256))

    def resume(self, image, token, generation, read_only=False):
        return self.call("RESUME", struct.pack(">II", int(read_only), 0) + token + struct.pack(">QQ", generation, 0) +
                         padded(image, 256))

    def fence(self, token, generation):
        return self.call("FENCE", token + struct.pack(">Q", generation))

    def detach(self):
        return self.call("DETACH")

    def create(self, image, size, preallocate=False, checksums=False, as_job=False):
        flags = preallocate | checksums << 1 | as_job << 2
        return self.call("CREATE_IMAGE", struct.pack(">QII", size, flags, 0) + padded(image, 256))

    def begin_preallocation(self, image, size, checksums=False):
        """The reply, and the job's id or None."""
        reply = self.create(image, size, True, checksums, as_job=True)
        return reply, reply.payload[:16] if reply.status == "OK" and any(reply.payload[:16]) else None

    def remove(self, image, uuid=b"\0" * 16, snapshots=False):
        return self.call("REMOVE_IMAGE", struct.pack(">II", snapshots, 0) + uuid + padded(image, 256))

    # --- an image's life

    @staticmethod
    def change(image, snapshot="", new_name="", uuid=b"\0" * 16, flags=0):
        return struct.pack(">II", flags, 0) + uuid + padded(image, 256) + padded(snapshot, 256) + padded(new_name, 256)

    def rename(self, image, new_name, uuid=b"\0" * 16):
        return self.call("RENAME_IMAGE", self.change(image, "", new_name, uuid))

    def remove_snapshot(self, image, snapshot, uuid=b"\0" * 16):
        return self.call("REMOVE_SNAPSHOT", self.change(image, snapshot, "", uuid))

    def begin_copy(self, op, image, snapshot, new_name="", uuid=b"\0" * 16):
        """SNAPSHOT, CLONE_IMAGE or ROLL_BACK: the reply, and the job's id or None."""
        reply = self.call(op, self.change(image, snapshot, new_name, uuid))
        job = reply.payload[:16] if reply.status == "OK" and any(reply.payload[:16]) else None
        return reply, job

    def copy(self, op, image, snapshot, new_name="", uuid=b"\0" * 16):
        """... waits for the job, too; returns the status of what came of it."""
        reply, job = self.begin_copy(op, image, snapshot, new_name, uuid)
        return self.wait_job(job).status if job else reply.status

    def job_status(self, job):
        reply = self.call("JOB_STATUS", job)
        return Job(reply.payload) if reply.status == "OK" else reply

    def wait_job(self, job, seconds=60):
        end = time.monotonic() + seconds
        while True:
            found = self.job_status(job)
            if found.state != "running" or time.monotonic() > end:
                return found
            time.sleep(0.002)

    def snapshots(self, image, after="", limit=256):
        """The snapshots by name; or the status when there is no list."""
        found = {}
        while True:
            reply = self.call("LIST_SNAPSHOTS", struct.pack(">II", limit, 0) + padded(image, 256) + padded(after, 256))
            if reply.status != "OK":
                return reply.status
            count, more = struct.unpack(">II", reply.payload[:8])
            at = 8
            for _ in range(count):
                uuid = reply.payload[at:at + 16]
                size, used, created, flags, n, _ = struct.unpack(">QQQIHH", reply.payload[at + 16:at + 48])
                after = reply.payload[at + 48:at + 48 + n].decode()
                found[after] = {"uuid": uuid, "size": size, "used": used, "created": created, "attached": bool(flags & 1)}
                at += 48 + n
            assert at == len(reply.payload), "bytes behind the last snapshot"
            if not more:
                return found

    def resize(self, image, size, shrink=False, uuid=b"\0" * 16):
        return self.call("RESIZE_IMAGE", struct.pack(">QII", size, int(shrink), 0) + uuid + padded(image, 256))

    def flush(self):
        return self.call("FLUSH")

    def trim(self, offset, length):
        return self.call("TRIM", struct.pack(">QQ", offset, length))

    def write_zeroes(self, offset, length, fua=False, no_hole=False):
        return self.call("WRITE_ZEROES", struct.pack(">QQII", offset, length, fua | no_hole << 1, 0))

    def list_page(self, after="", limit=256):
        reply = self.call("LIST_IMAGES", struct.pack(">II", limit, 0) + padded(after, 256))
        assert reply.status == "OK", reply
        count, more = struct.unpack(">II", reply.payload[:8])
        images, at = [], 8
        for _ in range(count):
            uuid = reply.payload[at:at + 16]
            size, used, flags, n, _ = struct.unpack(">QQIHH", reply.payload[at + 16:at + 40])
            name = reply.payload[at + 40:at + 40 + n].decode()
            images.append({"name": name, "uuid": uuid, "size": size, "used": used, "attached": bool(flags & 1)})
            at += 40 + n
        assert at == len(reply.payload), "bytes behind the last image"
        return images, bool(more)

    def list(self):
        images, more = self.list_page()
        while more:
            page, more = self.list_page(images[-1]["name"])
            images += page
        return {image["name"]: image for image in images}


class Lease:
    """The reply to ATTACH_LEASE and RESUME."""

    def __init__(self, payload):
        self.size, self.flags, self.block_size = struct.unpack(">QII", payload[:16])
        self.uuid, self.token = payload[16:32], payload[32:48]
        self.generation, = struct.unpack(">Q", payload[48:56])
        self.size_epoch, = struct.unpack(">Q", payload[56:64])
        self.boot_id, self.store_uuid = payload[64:80], payload[80:96]
        self.mount_instance, self.error_epoch = struct.unpack(">QQ", payload[96:112])
        self.identity = payload[64:112]
        self.read_only = bool(self.flags & 1)


class Job:
    """The reply to JOB_STATUS; status: OK when it is done."""

    def __init__(self, payload):
        state, status, self.done, self.total = struct.unpack(">IIQQ", payload[:24])
        self.state = {1: "running", 2: "done", 3: "failed", 4: "cancelled"}[state]
        self.status = self.state if self.state in ("running", "cancelled") else STATUSES.get(status, status)
        self.uuid = payload[24:40]
        self.elapsed, = struct.unpack(">Q", payload[40:48])


class Identity:
    def __init__(self, payload):
        self.boot_id, self.store_uuid = payload[:16], payload[16:32]
        self.mount_instance, self.error_epoch = struct.unpack(">QQ", payload[32:48])
        self.bytes = payload[:48]


def proxies(payload):
    """The addresses of a LIST_PROXIES payload."""
    assert payload[:8] == b"IVBSPRX1", payload[:8]
    count, = struct.unpack(">I", payload[8:12])
    found, at = [], 16
    for _ in range(count):
        n, priority, _ = struct.unpack(">HHI", payload[at:at + 8])
        found.append((priority, payload[at + 8:at + 8 + n].decode()))
        at += 8 + n
    assert at == len(payload)
    return found
