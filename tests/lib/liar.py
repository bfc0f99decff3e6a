# SPDX-License-Identifier: LGPL-2.1-or-later
"""A worker that lies: speaks D-Bus by hand on the supervisor's private socket, so that it can
send what no library would. Little-endian; only the types that the link uses.

Run as the main process of an image@ unit, whose name the supervisor goes by:

  python3 liar.py REPORT

writes one line per lie to REPORT, "name: what came of it", and ends with "done".
"""

import array
import os
import socket
import struct
import sys

SUPERVISOR = "/run/blockstore/supervisor"


class Closed(Exception):
    pass


def pad(data, alignment):
    return data + bytes(-len(data) % alignment)


def put_string(data, text):
    raw = text.encode()
    return pad(data, 4) + struct.pack("<I", len(raw)) + raw + b"\0"


def put_signature(data, text):
    return data + bytes([len(text)]) + text.encode() + b"\0"


def put_variant(data, signature, value):
    data = put_signature(data, signature)
    if signature in "sog":
        return put_string(data, value)
    size, code = {"t": (8, "Q"), "u": (4, "I"), "b": (4, "I"), "h": (4, "I")}[signature]
    return pad(data, size) + struct.pack("<" + code, value)


def call(member, signature, body, fds=0, serial=1, no_reply=False, claimed_fds=None):
    """A method call to the supervisor's object; claimed_fds overrides the header's number of descriptors."""
    fields = b""
    header = [(1, "o", "/org/blockstore/supervisor"), (2, "s", "org.blockstore.Supervisor"), (3, "s", member)]
    for code, kind, value in header:
        fields = put_string(put_signature(pad(fields, 8) + bytes([code]), kind), value)
    if signature:
        fields = put_signature(put_signature(pad(fields, 8) + bytes([8]), "g"), signature)
    claimed = fds if claimed_fds is None else claimed_fds
    if claimed:
        fields = put_variant(pad(fields, 8) + bytes([9]), "u", claimed)
    start = struct.pack("<BBBBIII", ord("l"), 1, 1 if no_reply else 0, 1, len(body), serial, len(fields))
    return pad(start + fields, 8) + body


class Link:
    def __init__(self, authenticate=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(8)
        self.socket.connect(SUPERVISOR)
        self.serial = 0
        if authenticate:
            uid = str(os.getuid()).encode().hex().encode()
            self.socket.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
            answers = b""
            while answers.count(b"\r\n") < 2:
                answers += self.take(1)
            assert b"OK " in answers and b"AGREE_UNIX_FD" in answers, answers

    def take(self, length):
        data = b""
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise Closed
            data += part
        return data

    def send(self, message, descriptors=()):
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sent = self.socket.sendmsg([message], ancillary)
        self.socket.sendall(message[sent:])

    def reply(self):
        """"OK", or the error's name without "org.blockstore.Error." in front."""
        start = self.take(16)
        kind, length, fields_length = start[1], *struct.unpack("<I4xI", start[4:16])
        fields = self.take(fields_length + -fields_length % 8)
        self.take(length)
        if kind == 3:
            i = fields.index(b"org.")
            return fields[i : fields.index(b"\0", i)].decode().replace("org.blockstore.Error.", "")
        return "OK"

    def call(self, member, signature="", body=b"", descriptors=(), **options):
        self.serial += 1
        try:
            self.send(call(member, signature, body, len(descriptors), self.serial, **options), descriptors)
            return "sent" if options.get("no_reply") else self.reply()
        except (Closed, ConnectionError):
            return "closed"
        except socket.timeout:
            return "no answer"

    def hello(self, version=1):
        return self.call("Hello", "u", struct.pack("<I", version))

    def connect_device(self, descriptor, size=1 << 20, block_size=4096, flags=0, uuid="0" * 8 + "-0000-4000-8000-" + "0" * 12):
        body = struct.pack("<I4xQII", 0, size, block_size, flags)
        return self.call("ConnectDevice", "htuus", put_string(body, uuid), [descriptor] if descriptor >= 0 else [])

    def update(self, entries):
        body = b""
        for key, kind, value in entries:
            body = put_variant(put_string(pad(body, 8), key), kind, value)
        return self.call("Update", "a{sv}", struct.pack("<I4x", len(body)) + body, no_reply=True)

    def close(self):
        self.socket.close()


def descriptors():
    """Each kind that is not the end of a pair of Unix stream sockets."""
    yield "a file", os.open("/usr/bin/true", os.O_RDONLY)
    yield "a directory", os.open("/", os.O_RDONLY)
    yield "/dev/null", os.open("/dev/null", os.O_RDWR)
    yield "a pipe", os.pipe()[0]
    yield "a TCP socket", socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach()
    yield "a datagram pair", socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].detach()
    yield "a packet pair", socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].detach()
    yield "an unconnected socket", socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).detach()
    yield "an eventfd", os.eventfd(0)


def lies(report):
    link = Link()
    report("hello", link.hello())
    link.close()
    link = Link()
    report("version 0", link.hello(0))
    link.close()
    link = Link()
    report("a device before hello", link.connect_device(os.open("/dev/null", os.O_RDWR)))
    link.close()

    for what, descriptor in descriptors():
        link = Link()
        link.hello()
        report(f"{what} for a device", link.connect_device(descriptor))
        link.close()
    link = Link()
    link.hello()
    report("no descriptor at all", link.connect_device(-1))
    link.close()

    for what, options in (
        ("size 0", {"size": 0}),
        ("size 2^63", {"size": 1 << 63}),
        ("size 2^64-1", {"size": (1 << 64) - 1}),
        ("block size 0", {"block_size": 0}),
        ("block size 3", {"block_size": 3}),
        ("block size 2^31", {"block_size": 1 << 31}),
        ("no UUID", {"uuid": ""}),
        ("a path for a UUID", {"uuid": "../../../../etc/passwd"}),
        ("a long UUID", {"uuid": "0" * 5000}),
    ):
        link = Link()
        link.hello()
        pair = socket.socketpair()
        report(what, link.connect_device(pair[0].fileno(), **options))
        link.close()

    # As many descriptors as one message can carry, again and again, where none belongs.
    link = Link()
    link.hello()
    null = os.open("/dev/null", os.O_RDWR)
    outcome = "sent"
    for _ in range(8):
        if outcome in ("closed", "no answer"):
            break
        outcome = link.call("Hello", "u", struct.pack("<I", 1), [null] * 253)
    report("two thousand descriptors", outcome)
    link.close()
    link = Link()
    link.hello()
    report("descriptors that never come", link.call("Hello", "u", struct.pack("<I", 1), claimed_fds=200))
    link.close()

    link = Link()
    link.hello()
    outcome = link.update([("State", "u", 7), ("Size", "s", "big"), ("Nonsense", "s", "x"), ("State", "s", "levitating")])
    report("wrong types in an update", link.hello() if outcome == "sent" else outcome)
    link.close()
    link = Link()
    link.hello()
    outcome = link.update([("StateReason", "s", "x" * 100000), ("UUID", "s", "\x1b[2J"), ("Failure", "u", 4000000)])
    report("long strings in an update", link.hello() if outcome == "sent" else outcome)
    link.close()
    link = Link()
    link.hello()
    for i in range(2000):
        outcome = link.update([("InFlight", "u", i)])
        if outcome != "sent":
            break
    report("two thousand updates", link.hello() if outcome == "sent" else outcome)
    link.close()

    link = Link()
    report("a call of an unknown method", link.call("Reboot"))
    link.close()
    link = Link(authenticate=False)
    link.socket.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
    try:
        link.take(1 << 20)
    except Closed:
        report("another protocol", "closed")
    except socket.timeout:
        report("another protocol", "no answer")
    link.close()
    link = Link()
    try:
        link.socket.sendall(struct.pack("<BBBBIII", ord("l"), 1, 0, 1, 0xFFFFFFF0, 1, 0xFFFFFFF0) + bytes(4096))
        link.take(1 << 20)
    except (Closed, ConnectionError):
        report("a message of 4 GiB", "closed")
    except socket.timeout:
        report("a message of 4 GiB", "no answer")
    link.close()

    # Silence, in numbers.
    crowd = []
    for _ in range(300):
        try:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.settimeout(0.5)
            one.connect(SUPERVISOR)
            crowd.append(one)
        except OSError:
            one.close()
            break
    report("silent connections", "tried")
    for one in crowd:
        one.close()


def main():
    with open(sys.argv[1], "w") as out:

        def report(name, outcome):
            print(f"{name}: {outcome}", file=out, flush=True)

        try:
            lies(report)
        except Exception as error:  # the case reads it
            report("the liar itself", repr(error))
        report("the end", "done")


if __name__ == "__main__":
    main()
