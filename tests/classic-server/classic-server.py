#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A classic IVBS server that insists on its protocol.

It was written from the protocol's description alone and shares no line with the programs that it judges. It knows what
the old servers knew: GREETING, KEEPALIVE, LOGIN, ATTACH_TO_IMAGE, LIST_PROXIES (pushed, in a layout of its own), READ and
WRITE; no flush, no lease, nothing negotiated. A client that breaks a rule is told why on stderr, counted as a violation
and dropped:

  - packets come in the order login, attach, I/O; KEEPALIVE is welcome at any time;
  - each carries the session id of GREETING and status 0, a payload of the right size, and, while it is unanswered, a
    sequence of its own;
  - anything else, the ops of newer servers included, is unknown.

A wrong password, an unknown image or a range beyond the end is no violation: it is answered with its status.

With --shuffle, unanswered requests are executed and answered in an order that the seed decides, as the protocol allows: a
client that cares about the order of two of its requests has to wait for the first. The last line of stdout is
"listening on PORT" once connections are accepted; SIGTERM and SIGINT end the server with status 0.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import random
import signal
import struct
import sys
from pathlib import Path

HEADER = struct.Struct(">32sIIII")  # session id, op, status, payload length, sequence
GREETING, KEEPALIVE, LOGIN, ATTACH, LIST_PROXIES, READ, WRITE = 1, 2, 100, 200, 211, 300, 301
OK, NOT_FOUND, PERMISSION_DENIED, READ_ONLY, INVALID_REQUEST = 0, 1, 4, 5, 13
PAYLOAD_MAX = 64 << 20
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Violation(Exception):
    """The client has broken a rule of the protocol."""


class MemoryImage:
    def __init__(self, size):
        self.size, self.data = size, bytearray(size)

    def read(self, offset, length):
        return bytes(self.data[offset : offset + length])

    def write(self, offset, data):
        self.data[offset : offset + len(data)] = data


class FileImage:
    """A sparse file, which outlives the server."""

    def __init__(self, path, size):
        self.size, self.fd = size, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.fd, size)

    def read(self, offset, length):
        return os.pread(self.fd, length, offset)

    def write(self, offset, data):
        while data:
            n = os.pwrite(self.fd, data, offset)
            offset, data = offset + n, data[n:]


class Session:
    """One connection: the reader takes packets one by one, the answerer executes what is pending."""

    def __init__(self, server, reader, writer):
        self.server, self.reader, self.writer = server, reader, writer
        self.id = os.urandom(32)
        self.user = self.image = None
        self.pending = []  # READ and WRITE that are not answered yet
        self.arrived = asyncio.Event()
        self.in_payload = False

    def send(self, op, payload=b"", status=OK, sequence=0):
        self.writer.write(HEADER.pack(self.id, op, status, len(payload), sequence) + payload)

    async def run(self):
        tasks = [asyncio.create_task(self.answer()), asyncio.create_task(self.push())]
        try:
            self.send(GREETING, self.server.options.greeting.encode())
            while True:
                await self.take()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if self.in_payload or getattr(error, "partial", b""):
                self.server.note_violation("the connection ended within a packet")
        except asyncio.TimeoutError:
            self.server.count("idle_drops")
        except Violation as violation:
            self.server.note_violation(str(violation))
        finally:
            for task in tasks:
                task.cancel()
            self.writer.close()

    async def take(self):
        idle = self.server.options.idle or None
        header = await asyncio.wait_for(self.reader.readexactly(HEADER.size), idle)
        session_id, op, status, length, sequence = HEADER.unpack(header)
        if session_id != self.id:
            raise Violation("a packet carries another session id")
        if status != 0:
            raise Violation(f"a client's packet has status {status}")
        if length > PAYLOAD_MAX:
            raise Violation(f"a packet of op {op} announces {length} bytes")
        handler = {KEEPALIVE: self.keepalive, LOGIN: self.login, ATTACH: self.attach, READ: self.io, WRITE: self.io}.get(op)
        if handler is None:
            raise Violation(f"op {op} is unknown")
        self.in_payload = True
        payload = await asyncio.wait_for(self.reader.readexactly(length), idle)
        self.in_payload = False
        handler(op, payload, sequence)
        await self.writer.drain()

    def keepalive(self, _op, payload, sequence):
        if payload:
            raise Violation(f"KEEPALIVE carries {len(payload)} bytes")
        self.server.count("keepalives")
        self.server.write_state()
        if self.server.options.keepalive == "echo":
            self.send(KEEPALIVE, sequence=sequence)

    def login(self, _op, payload, sequence):
        if len(payload) != 160:
            raise Violation(f"LOGIN carries {len(payload)} bytes")
        if self.user is not None:
            raise Violation("LOGIN comes twice")
        name, secret = payload[:32], payload[32:]
        user = name.rstrip(b"\0")
        if not user or b"\0" in user:
            raise Violation("LOGIN's user name is empty or badly padded")
        if secret.strip(b"0123456789abcdef"):
            raise Violation("LOGIN's password is not lower-case hex")
        if user != self.server.options.user.encode() or not hmac.compare_digest(secret, self.server.secret):
            self.server.count("logins_refused")
            self.send(LOGIN, status=PERMISSION_DENIED, sequence=sequence)
            return
        self.user = user
        self.server.count("logins")
        self.send(LOGIN, sequence=sequence)

    def attach(self, _op, payload, sequence):
        if len(payload) != 256:
            raise Violation(f"ATTACH_TO_IMAGE carries {len(payload)} bytes")
        if self.user is None:
            raise Violation("ATTACH_TO_IMAGE comes before LOGIN")
        if self.image is not None:
            raise Violation("ATTACH_TO_IMAGE comes twice")
        name = payload.rstrip(b"\0")
        if not name or b"\0" in name:
            raise Violation("ATTACH_TO_IMAGE's name is empty or badly padded")
        self.image = self.server.images.get(name.decode(errors="replace"))
        if self.image is None:
            self.send(ATTACH, status=NOT_FOUND, sequence=sequence)
            return
        self.server.count("attaches")
        self.send(ATTACH, payload + struct.pack(">Q", self.image.size), sequence=sequence)

    def io(self, op, payload, sequence):
        if self.image is None:
            raise Violation(f"op {op} comes before ATTACH_TO_IMAGE")
        if op == READ and len(payload) != 16:
            raise Violation(f"READ carries {len(payload)} bytes")
        if op == WRITE and len(payload) < 9:
            raise Violation(f"WRITE carries {len(payload)} bytes")
        if any(sequence == other for _, _, other in self.pending):
            raise Violation(f"sequence {sequence} is used again before its reply")
        self.pending.append((op, payload, sequence))
        self.server.count_most("most_pending", len(self.pending))
        self.arrived.set()

    def execute(self, op, payload, sequence):
        offset = struct.unpack_from(">Q", payload)[0]
        length = struct.unpack_from(">Q", payload, 8)[0] if op == READ else len(payload) - 8
        if length == 0 or length > PAYLOAD_MAX or offset + length > self.image.size:
            self.send(op, status=INVALID_REQUEST, sequence=sequence)
        elif op == READ:
            self.server.count("reads")
            self.send(READ, self.image.read(offset, length), sequence=sequence)
        elif self.server.options.read_only:
            self.send(WRITE, status=READ_ONLY, sequence=sequence)
        else:
            self.server.count("writes")
            self.image.write(offset, payload[8:])
            self.send(WRITE, sequence=sequence)

    async def answer(self):
        options = self.server.options
        while True:
            await self.arrived.wait()
            if options.delay:
                await asyncio.sleep(options.delay / 1000)
            elif self.server.random:
                # What is on its way may join in.
                await asyncio.sleep(0.001)
            chosen = self.server.random.randrange(len(self.pending)) if self.server.random else 0
            if chosen != 0:
                self.server.count("overtaken")
            self.execute(*self.pending.pop(chosen))
            if not self.pending:
                self.arrived.clear()
            await self.writer.drain()

    async def push(self):
        """Once attached, what old servers send unasked. No public source says what is in LIST_PROXIES."""
        while self.server.options.push:
            await asyncio.sleep(self.server.options.push / 1000)
            if self.image is not None:
                self.send(LIST_PROXIES, b"proxy-1;proxy-2\0" * 3)
                self.send(KEEPALIVE)
                await self.writer.drain()


class Server:
    def __init__(self, options):
        self.options = options
        password = Path(options.password_file).read_bytes().removesuffix(b"\n")
        self.secret = hashlib.sha512(password).hexdigest().encode()
        self.random = random.Random(options.shuffle) if options.shuffle is not None else None
        self.state = {"violations": []}
        self.connections = set()
        self.images = {}
        for name, size in options.image:
            image = FileImage(Path(options.directory) / name, size) if options.directory else MemoryImage(size)
            self.images[name] = image

    def count(self, what):
        self.state[what] = self.state.get(what, 0) + 1

    def count_most(self, what, value):
        self.state[what] = max(self.state.get(what, 0), value)

    def note_violation(self, text):
        print(f"violation: {text}", file=sys.stderr, flush=True)
        self.state["violations"].append(text)

    def write_state(self):
        if self.options.state_file:
            path = Path(self.options.state_file)
            new = path.with_name(path.name + ".new")
            new.write_text(json.dumps(self.state, indent=8) + "\n")
            new.rename(path)

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.connections.add(task)
        self.count("connections")
        try:
            await Session(self, reader, writer).run()
        except asyncio.CancelledError:
            # Not handed on: the loop's own callback would call a connection cut at the end a defect.
            pass
        finally:
            self.connections.discard(task)
            self.write_state()

    async def run(self):
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        listener = await asyncio.start_server(self.serve, self.options.listen, self.options.port, limit=1 << 20)
        print(f"listening on {listener.sockets[0].getsockname()[1]}", flush=True)
        await stop.wait()
        listener.close()
        for task in list(self.connections):
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        self.write_state()


def image_argument(text):
    name, equals, size = text.rpartition("=")
    unit = size[-1:] if size[-1:] in SIZES and size[-1:].isalpha() else ""
    number = size.removesuffix(unit)
    if not equals or not 0 < len(name.encode()) < 256 or "/" in name or name.startswith(".") or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"expected NAME=SIZE, found {text!r}")
    return name, int(number) * SIZES[unit]


def main():
    parser = argparse.ArgumentParser(description="A strict classic IVBS server.")
    parser.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=11417, help="0: any that is free")
    parser.add_argument("--image", type=image_argument, action="append", required=True, metavar="NAME=SIZE",
                        help="bytes, or with K, M, G, T; may be repeated")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", required=True, metavar="FILE", help="a line break at its end is left out")
    parser.add_argument("--directory", metavar="DIR", help="keep images in sparse files there instead of in memory")
    parser.add_argument("--state-file", metavar="FILE",
                        help="JSON: what was counted, and violations; written at a keepalive, when a connection ends, and at exit")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="execute and answer in another order")
    parser.add_argument("--delay", type=float, default=0, metavar="MS", help="before each reply to READ and WRITE")
    parser.add_argument("--idle", type=float, default=30, metavar="S", help="drop clients silent for so long; 0: never")
    parser.add_argument("--keepalive", choices=("ignore", "echo"), default="ignore")
    parser.add_argument("--push", type=float, default=0, metavar="MS", help="push LIST_PROXIES and KEEPALIVE so often")
    parser.add_argument("--greeting", default="", metavar="TEXT", help="payload of GREETING")
    parser.add_argument("--read-only", action="store_true", help="answer WRITE with READ_ONLY")
    asyncio.run(Server(parser.parse_args()).run())


main()
