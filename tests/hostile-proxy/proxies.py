# SPDX-License-Identifier: LGPL-2.1-or-later
"""Proxies of one store, in memory, written from docs/protocol.md and not from the tree's codec: one thread listens, one more serves each connection. They are honest;
whoever wants one to lie gives it another kind of connection, at any time.

    store = Store()
    a, b = Proxy(store), Proxy(store, Silent)
    ...
    a.become(Classic)    # and ends the connections that it has
"""

import hashlib
import os
import socket
import struct
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
from ivbs import ATTACH, EXPIRED, GREETING, INVALID_REQUEST, KEEPALIVE, LIST_PROXIES, LOGIN, NOT_FOUND, OK  # noqa: E402
from ivbs import PERMISSION_DENIED, READ, WRITE, Closed, Packet, receive  # noqa: E402
from worker_rig import PASSWORD, USER  # noqa: E402

HELLO, LOGIN_TICKET, ATTACH_LEASE, RESUME, FENCE, DETACH = 1001, 1100, 1200, 1201, 1202, 1203
FLUSH, TRIM, WRITE_ZEROES, WRITE_FUA = 1300, 1301, 1302, 1303
CAP_FLUSH, CAP_FUA, CAP_TRIM, CAP_WRITE_ZEROES, CAP_LEASE, CAP_FENCE, CAP_DURABILITY, CAP_TICKET = (1 << bit for bit in (0, 1, 2, 3, 5, 6, 7, 9))
CAPS = CAP_FLUSH | CAP_FUA | CAP_TRIM | CAP_WRITE_ZEROES | CAP_LEASE | CAP_FENCE | CAP_DURABILITY | CAP_TICKET


class Store:
    """One image, with its lease."""

    def __init__(self, name="disk1", size=8 << 20):
        self.lock = threading.RLock()
        self.name, self.size, self.uuid, self.data = name, size, os.urandom(16), bytearray(size)
        self.token, self.generation = bytes(16), 0
        self.identity = os.urandom(48)
        self.tickets = set()


class Connection:
    """An honest one."""

    caps = CAPS

    def __init__(self, proxy, connection):
        self.proxy, self.store, self.connection = proxy, proxy.store, connection
        self.session, self.granted, self.has_logged_in = os.urandom(32), 0, False
        self.lease = None  # token and generation of an attachment
        self.seen = []  # ops, in the order in which they came

    def serve(self):
        self.greet()
        while True:
            packet = receive(self.connection)
            assert packet.session == self.session, "another session's id"
            self.seen.append(packet.op)
            if packet.op == KEEPALIVE:
                self.reply(packet)
                continue
            with self.store.lock:
                self.answer(packet)

    def send(self, packet):
        packet.session = self.session
        self.connection.sendall(packet.encode())

    def reply(self, packet, payload=b"", status=OK):
        self.send(Packet(packet.op, payload, status, packet.sequence))

    def greet(self):
        self.send(Packet(GREETING, self.greeting()))

    def greeting(self):
        return b"IVBSCAP1" + struct.pack(">QIIII", self.caps, 32 << 20, 30000, 64, 0) + self.proxy.boot_id + self.proxy.instance

    def answer(self, packet):
        handlers = {
            HELLO: self.on_hello, LOGIN: self.on_login, LOGIN_TICKET: self.on_ticket, ATTACH: self.on_attach, ATTACH_LEASE: self.on_attach_lease, RESUME: self.on_resume,
            FENCE: self.on_fence, DETACH: self.on_detach, READ: self.on_read, WRITE: self.on_write, WRITE_FUA: self.on_write,
            FLUSH: self.on_flush, TRIM: self.on_zeroes, WRITE_ZEROES: self.on_zeroes,
        }  # fmt: skip
        if packet.op not in handlers:
            self.reply(packet, status=INVALID_REQUEST)
        elif self.lease and packet.op not in (RESUME, DETACH) and self.lease != (self.store.token, self.store.generation):
            self.reply(packet, status=EXPIRED)
        else:
            handlers[packet.op](packet)

    def on_hello(self, packet):
        self.granted = struct.unpack(">Q", packet.payload[:8])[0] & self.caps
        self.reply(packet, struct.pack(">QQ", self.granted, 0))

    def on_login(self, packet):
        secret = hashlib.sha512(PASSWORD.encode()).hexdigest().encode()
        self.has_logged_in = packet.payload == USER.encode().ljust(32, b"\0") + secret
        self.welcome(packet)

    def on_ticket(self, packet):
        self.has_logged_in = packet.payload in self.store.tickets
        self.welcome(packet)

    def welcome(self, packet):
        if self.has_logged_in:
            self.reply(packet, self.ticket() if self.granted & CAP_TICKET else b"")
        else:
            self.reply(packet, status=PERMISSION_DENIED)

    def ticket(self):
        ticket = os.urandom(90)
        self.store.tickets.add(ticket)
        return ticket

    def lease_reply(self):
        store = self.store
        return struct.pack(">QII16s16sQQ", store.size, 0, 4096, store.uuid, store.token, store.generation, 0) + store.identity

    def is_ours(self, name):
        return self.has_logged_in and name == self.store.name.encode().ljust(256, b"\0")

    def on_attach(self, packet):
        if not self.is_ours(packet.payload):
            self.reply(packet, status=NOT_FOUND)
            return
        self.reply(packet, packet.payload + struct.pack(">Q", self.store.size))

    def on_attach_lease(self, packet):
        if not self.is_ours(packet.payload[8:]):
            self.reply(packet, status=NOT_FOUND)
            return
        self.store.token = os.urandom(16)
        self.store.generation += 1
        self.lease = self.store.token, self.store.generation
        self.reply(packet, self.lease_reply())

    def on_resume(self, packet):
        lease = packet.payload[8:24], struct.unpack(">Q", packet.payload[24:32])[0]
        if not self.is_ours(packet.payload[40:]):
            self.reply(packet, status=NOT_FOUND)
        elif lease != (self.store.token, self.store.generation):
            self.reply(packet, status=EXPIRED)
        else:
            self.lease = lease
            self.reply(packet, self.lease_reply())

    def on_fence(self, packet):
        if packet.payload != self.store.token + struct.pack(">Q", self.store.generation):
            self.reply(packet, status=EXPIRED)
            return
        # Changes are made under the store's lock: nobody has one in hand.
        self.store.generation += 1
        self.lease = self.store.token, self.store.generation
        self.reply(packet, struct.pack(">Q", self.store.generation))

    def on_detach(self, packet):
        self.lease = None
        self.store.token = bytes(16)
        self.reply(packet)

    def on_read(self, packet):
        offset, length = struct.unpack(">QQ", packet.payload)
        self.reply(packet, bytes(self.store.data[offset : offset + length]))

    def on_write(self, packet):
        (offset,) = struct.unpack(">Q", packet.payload[:8])
        data = packet.payload[8:]
        assert offset + len(data) <= self.store.size
        self.store.data[offset : offset + len(data)] = data
        self.reply(packet)

    def on_zeroes(self, packet):
        offset, length = struct.unpack(">QQ", packet.payload[:16])
        assert offset + length <= self.store.size
        self.store.data[offset : offset + length] = bytes(length)
        self.reply(packet)

    def on_flush(self, packet):
        self.reply(packet, self.store.identity if self.granted & CAP_DURABILITY else b"")

    def announce(self, payload):
        self.send(Packet(LIST_PROXIES, payload))

    def until_closed(self):
        while self.connection.recv(65536):
            pass


class Away(Connection):
    """Nobody is there."""

    def serve(self):
        pass


class Proxy:
    def __init__(self, store, kind=Connection):
        self.store, self.kind = store, kind
        self.boot_id, self.instance = os.urandom(16), os.urandom(16)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections, self.complaints = [], []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            served = self.kind(self, connection)
            self.connections.append(served)
            threading.Thread(target=self.serve, args=(served,), daemon=True).start()

    def serve(self, served):
        try:
            served.serve()
        except (Closed, OSError):
            pass
        except Exception as error:  # main() looks at them; a thread's own end would go unseen
            self.complaints.append(f"{type(served).__name__}: {error!r}")
        finally:
            served.connection.close()

    def become(self, kind):
        self.kind = kind
        for served in self.connections:
            try:
                served.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def of_kind(self, kind):
        return [served for served in self.connections if type(served) is kind]
