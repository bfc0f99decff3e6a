#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-worker.py WORKER [CASE...]: proxies that lie, beside honest ones of the same store.

Three things are held of each lie. Alone, it is refused, in words that name it: by the worker's end when nothing was ever attached, and by I/O that waits (and does not fail) when
something was. Beside an honest proxy it costs nothing: I/O goes on there, with the right data. And nothing is told to a liar that it has no right to.
"""

import os
import random
import select
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
from ivbs import GREETING, KEEPALIVE, LOGIN, PERMISSION_DENIED, READ as IVBS_READ, Packet  # noqa: E402
from nbd import READ, WRITE, Nbd  # noqa: E402
from proxies import ATTACH_LEASE, CAP_TRIM, CAPS, HELLO, LOGIN_TICKET, RESUME, Away, Connection, Proxy, Store  # noqa: E402
from worker_rig import Rig, wait_until  # noqa: E402

BLOCK = 4096
NO_PROXY = 69  # the worker's exit status, see docs/dbus.md
# A proxy here is a thread of an interpreter, which is not always run at once. Who has to be given up is given up sooner.
PATIENCE = {"connect-timeout": "2s", "login-timeout": "2s", "dead-time": "2s"}
IMPATIENCE = {"connect-timeout": "500ms", "login-timeout": "500ms", "dead-time": "500ms", "attach-timeout": "3s"}


# Lies before there is an image.


class Silent(Connection):
    def serve(self):
        self.until_closed()


class GreetsForEver(Connection):
    def serve(self):
        while True:
            self.greet()


class EndlessGreeting(Connection):
    """One greeting, a byte at a time: there is always something new to hear."""

    def serve(self):
        greeting = Packet(GREETING, self.greeting() + bytes(1 << 20), session=self.session).encode()
        for byte in greeting:
            self.connection.sendall(bytes([byte]))
            time.sleep(0.02)


class HugeGreeting(Connection):
    def greet(self):
        self.connection.sendall(self.session + struct.pack(">IIII", GREETING, 0, (1 << 32) - 1, 0))
        self.until_closed()


class AnotherProtocol(Connection):
    def serve(self):
        self.connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" * 8)
        self.until_closed()


def silent_at(*ops):
    class SilentAt(Connection):
        def answer(self, packet):
            if packet.op in ops:
                # Its other connections have something to say meanwhile.
                self.store.lock.release()
                try:
                    self.until_closed()
                finally:
                    self.store.lock.acquire()
            else:
                super().answer(packet)

    return SilentAt


def foreign_at(*ops):
    """Answers questions that nobody asked."""

    class ForeignAt(Connection):
        def reply(self, packet, payload=b"", status=0):
            if packet.op in ops:
                packet.sequence += 1000
            super().reply(packet, payload, status)

    return ForeignAt


class HugeTickets(Connection):
    def ticket(self):
        return super().ticket() * 60


class Forgetful(Connection):
    """Knows none of its own tickets."""

    def on_ticket(self, packet):
        self.reply(packet, status=PERMISSION_DENIED)


# Lies about an image that is attached.


class Shrunken(Connection):
    def lease_reply(self):
        reply = super().lease_reply()
        return struct.pack(">Q", self.store.size - BLOCK) + reply[8:]


class Grown(Connection):
    def lease_reply(self):
        reply = super().lease_reply()
        return struct.pack(">Q", self.store.size + BLOCK) + reply[8:]


class AnotherImage(Connection):
    """A new one under the old name."""

    def lease_reply(self):
        reply = super().lease_reply()
        return reply[:16] + bytes(15) + b"\1" + reply[32:]


class LessCapable(Connection):
    caps = CAPS & ~CAP_TRIM


class Classic(Connection):
    caps = 0

    def greeting(self):
        return b""


def start(rig, *proxies, **settings):
    rig.configure([proxy.address for proxy in proxies], **{**PATIENCE, **settings})


def exercise(client, fill):
    """Data that were written are read back. What is there at the end: blocks 0 and 1."""
    client.write(0, fill * BLOCK)
    client.write(BLOCK, fill * BLOCK)
    assert client.read(0, 2 * BLOCK) == fill * 2 * BLOCK


def before_attach(kind, pattern):
    """A lie that is told to whoever comes."""

    def case(rig):
        store = Store()
        liar, honest = Proxy(store, kind), Proxy(store)

        start(rig, liar, **IMPATIENCE)
        rig.start_worker(ready=False)
        # Said while it tries; at the end as well, unless the last of its tries came to nothing sooner.
        rig.wait_said(f"STATUS=(attaching|failed).*{pattern}")
        rig.wait_ended(NO_PROXY, "No proxy could be reached")
        assert liar.connections

        start(rig, liar, honest)
        client = Nbd(rig.start_worker())
        exercise(client, b"b")
        client.close()
        rig.stop_worker()
        return liar, honest

    return case


def after_attach(kind, pattern, told=()):
    """A lie that is told to whoever comes back."""

    def case(rig):
        store = Store()
        liar, honest = Proxy(store), Proxy(store, Away)
        start(rig, liar, honest)
        client = Nbd(rig.start_worker())
        exercise(client, b"a")

        since = rig.n_said()
        liar.become(kind)
        write, read = client.start(WRITE, 0, data=b"A" * BLOCK), client.start(READ, BLOCK, BLOCK)
        rig.wait_said(pattern, since)
        assert not select.select([client.connection], [], [], 0)[0], "I/O was answered with nobody there"
        for served in liar.of_kind(kind):
            assert set(served.seen) <= {HELLO, KEEPALIVE, *told}, f"it was told {served.seen}"

        honest.become(Connection)
        assert client.finish(write)[0] == 0, "a write was lost"
        assert client.finish(read) == (0, b"a" * BLOCK)
        exercise(client, b"c")

        # And when the honest one is cut, with the other one still there to be asked first.
        n = len(honest.connections)
        honest.become(Connection)
        exercise(client, b"d")
        wait_until(lambda: len(honest.connections) > n, "the image comes back to the honest proxy")
        client.close()
        rig.stop_worker()
        assert store.data[: 2 * BLOCK] == b"d" * 2 * BLOCK
        return liar, honest

    return case


def during_io(kind, pattern):
    """One that attaches, and then does no I/O."""

    def case(rig):
        store = Store()
        liar, honest = Proxy(store, kind), Proxy(store, Away)
        store.data[:BLOCK] = b"o" * BLOCK
        start(rig, liar, honest)
        client = Nbd(rig.start_worker())
        read = client.start(READ, 0, BLOCK)
        rig.wait_said(pattern)
        assert not select.select([client.connection], [], [], 0)[0], "a lie was passed on"

        honest.become(Connection)
        assert client.finish(read) == (0, b"o" * BLOCK)
        exercise(client, b"e")
        client.close()
        rig.stop_worker()
        return liar, honest

    return case


def tickets(kind, ops):
    """Tickets that are no good cost a login with the password, on the same connection."""

    def case(rig):
        store = Store()
        proxy = Proxy(store, kind)
        start(rig, proxy)
        client = Nbd(rig.start_worker())
        exercise(client, b"t")
        before = list(proxy.connections)
        proxy.become(kind)
        exercise(client, b"u")
        again = [c.seen for c in proxy.connections if c not in before and c.lease]
        # One that comes later may know already that the ticket is no good.
        assert ops in [seen[: len(ops)] for seen in again], again
        assert all(LOGIN in seen or LOGIN_TICKET in seen for seen in again), again
        client.close()
        rig.stop_worker()
        return (proxy,)

    return case


# Lists of proxies.


def proxy_list(addresses, count=None):
    entries = b"".join(struct.pack(">HHI", len(a), 200, 0) + a for a in (address.encode() for address in addresses))
    return b"IVBSPRX1" + struct.pack(">II", len(addresses) if count is None else count, 0) + entries


def nobody(n):
    """Addresses on this machine at which nobody listens."""
    return f"127.{1 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}:9"


def lists(make):
    """The only proxy that is configured announces the lists that make(its address, another's) gives, and goes away: the image goes on through the other."""

    def case(rig):
        store = Store()
        configured, announced = Proxy(store), Proxy(store)
        start(rig, configured)
        client = Nbd(rig.start_worker())
        exercise(client, b"f")
        connection = next(c for c in configured.connections if c.lease)
        for payload in make(configured.address, announced.address):
            with store.lock:  # not between the parts of an answer
                connection.announce(payload)
        exercise(client, b"g")

        configured.become(Away)
        write = client.start(WRITE, 0, data=b"h" * BLOCK)
        assert client.finish(write)[0] == 0
        assert client.read(0, 2 * BLOCK) == b"h" * BLOCK + b"g" * BLOCK
        assert any(c.lease for c in announced.connections)
        client.close()
        rig.stop_worker()
        return configured, announced

    return case


def garbage(own, other):
    dice = random.Random(11417)
    yield b""
    yield b"IVBSPRX1"
    yield proxy_list([])
    yield os.urandom(1000)
    yield proxy_list([other], count=(1 << 32) - 1)[:-1]  # cut short
    for _ in range(50):
        yield proxy_list([bytes(dice.choices(range(256), k=dice.randrange(1, 255))).decode("latin-1") for _ in range(64)])[: dice.randrange(2000)]
    yield proxy_list(["", ":", "0", "x:0", "x:65536", "[::1", "a b:1", "\n", "%s%n:1", "x" * 255, other, "../../etc:1"])


def duplicates(own, other):
    yield proxy_list([nobody(1)] * 20 + [other] * 20 + [nobody(1)] * 20)
    yield proxy_list([other] * 64)


def itself(own, other):
    port = own.rpartition(":")[2]
    yield proxy_list([own, f"localhost:{port}", f"LOCALHOST:{port}", f"127.0.0.2:{port}", other, own])


def ten_thousand(own, other):
    yield proxy_list([nobody(n) for n in range(10000)])  # in one message
    for first in range(0, 10000, 64):  # and one after the other
        yield proxy_list([nobody(n) for n in range(first, first + 64)])
    yield proxy_list([nobody(n) for n in range(10000, 10031)] + [other])


CASES = {
    "accepts and says nothing": before_attach(Silent, "no (connection|greeting|answer)"),
    "greets for ever": before_attach(GreetsForEver, "broke the protocol"),
    "a greeting without end": before_attach(EndlessGreeting, "no (connection|greeting|answer)|broke the protocol"),
    "a greeting of 4 GiB": before_attach(HugeGreeting, "broke the protocol"),
    "another protocol": before_attach(AnotherProtocol, "broke the protocol"),
    "silent at login": before_attach(silent_at(LOGIN), "no answer .*login"),
    "silent at attach": before_attach(silent_at(ATTACH_LEASE), "no answer .*attaching"),
    "shrinks": after_attach(Shrunken, "with another size", {LOGIN, LOGIN_TICKET, RESUME}),
    "grows": after_attach(Grown, "with another size", {LOGIN, LOGIN_TICKET, RESUME}),
    "another image": after_attach(AnotherImage, "another image under the same name", {LOGIN, LOGIN_TICKET, RESUME}),
    "less capable": after_attach(LessCapable, "cannot do what the device was promised", {LOGIN, LOGIN_TICKET, RESUME}),
    "modern once and classic later": after_attach(Classic, "classic server"),
    "tickets": tickets(Connection, [HELLO, LOGIN_TICKET, RESUME]),
    "tickets that are too long": before_attach(HugeTickets, "broke the protocol"),
    "tickets that are refused": tickets(Forgetful, [HELLO, LOGIN_TICKET, LOGIN, RESUME]),
    "foreign sequence numbers at attach": before_attach(foreign_at(ATTACH_LEASE), "broke the protocol"),
    "foreign sequence numbers at login": before_attach(foreign_at(LOGIN, LOGIN_TICKET), "broke the protocol"),
    "foreign sequence numbers": during_io(foreign_at(IVBS_READ), "broke the protocol"),
    "silent at I/O": during_io(silent_at(IVBS_READ), "silent for"),
    "a list of garbage": lists(garbage),
    "a list of duplicates": lists(duplicates),
    "a list of itself": lists(itself),
    "a list of ten thousand": lists(ten_thousand),
}


def main():
    for name in sys.argv[2:] or CASES:
        print(name, flush=True)
        with Rig(sys.argv[1]) as rig:
            for proxy in CASES[name](rig):
                assert not proxy.complaints, proxy.complaints


main()
