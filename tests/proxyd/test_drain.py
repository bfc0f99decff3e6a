# SPDX-License-Identifier: LGPL-2.1-or-later
"""DRAIN and its undo, and the stop: clients are sent away, what is in hand is finished."""

import signal
import struct
import time
import unittest

from case import Case
from client import ALL_CAPS, CAP_DRAIN, CAP_NOTICE, Lease
from proxy import CEPH_CONF, Proxy, needs_files

BLOCK = 4096
# One that holds writes back when it is told to; a cluster does not, and those tests that need it are left out there.
NEEDS_HOLDING = "a cluster holds no single write back; test_ceph has frozen OSDs for that"
STORE_TYPE = "file" if CEPH_CONF else "volatile"


def notice(client):
    kind, _, value = struct.unpack(">IIQ", client.wait_pushed("NOTICE").payload)
    return kind, value


class Drain(Case):
    store_type = STORE_TYPE

    def drain(self, client, undo=False):
        return client.call("DRAIN", struct.pack(">II", undo, 0))

    def tearDown(self):
        with self.proxy.modern() as c:
            self.assertStatus(self.drain(c, undo=True), "OK")

    def test_sends_away_and_takes_back(self):
        self.proxy.create("drained")
        with self.proxy.modern() as admin, self.proxy.modern() as a, self.proxy.modern() as idle:
            lease = Lease(a.attach_lease("drained").payload)
            self.assertStatus(a.write(0, b"before"), "OK")
            self.assertStatus(self.drain(admin), "OK")
            self.assertEqual(notice(a), (1, 0))
            for new in (a.write(0, b"new"), a.write(0, b"new" * 100000), a.read(0, 512), a.flush(), a.trim(0, 512),
                        a.write_zeroes(0, 512), a.write(0, b"new", fua=True), a.fence(lease.token, lease.generation),
                        a.resume("drained", lease.token, lease.generation)):
                self.assertStatus(new, "USE_ANOTHER_PROXY")
            for op in (idle.attach_lease("drained"), idle.attach_lease("drained", read_only=True),
                       idle.resume("drained", lease.token, lease.generation)):
                self.assertStatus(op, "USE_ANOTHER_PROXY")
            # Each of these was told why, before the refusal.
            self.assertEqual([p.payload for p in idle.pushed if p.op == 1002], [struct.pack(">IIQ", 1, 0, 0)] * 3)
            idle.pushed.clear()
            with self.proxy.logged_in() as classic:
                self.assertStatus(classic.attach("drained"), "USE_ANOTHER_PROXY")
            # All else goes on.
            self.assertStatus(idle.call("KEEPALIVE"), "OK")
            self.assertIn("drained", idle.list())
            self.assertEqual([p for p in idle.pushed if p.op == 1002], [])
            # Twice is once.
            self.assertStatus(self.drain(idle), "OK")
            self.assertStatus(a.call("KEEPALIVE"), "OK")
            self.assertEqual([p for p in a.pushed if p.op == 1002], [])

            self.assertStatus(self.drain(admin, undo=True), "OK")
            self.assertStatus(self.drain(admin, undo=True), "OK")
            self.assertStatus(a.resume("drained", lease.token, lease.generation), "OK")
            self.assertEqual(a.read(0, 6).payload, b"before")
            self.assertStatus(a.write(0, b"after"), "OK")

    def test_who_comes_is_told(self):
        """By HELLO's reply, before anything is asked of the proxy."""
        def told():
            with self.proxy.connect() as c:
                return struct.unpack(">QII", c.hello().payload)[1:]

        self.assertEqual(told(), (0, 0))
        with self.proxy.modern() as admin:
            self.assertStatus(self.drain(admin), "OK")
            self.assertEqual(told(), (1, 0))
            self.assertStatus(self.drain(admin, undo=True), "OK")
        self.assertEqual(told(), (0, 0))

    def test_what_is_in_hand_is_finished(self):
        needs_files(NEEDS_HOLDING)
        self.proxy.create("in-hand")
        with self.proxy.modern() as a, self.proxy.modern() as admin:
            self.assertStatus(a.attach_lease("in-hand"), "OK")
            self.proxy.inject("hold-writes", f"0 {BLOCK}")
            in_hand = a.send("WRITE", struct.pack(">Q", 0) + b"h" * BLOCK)
            # This one has not come in whole.
            half = a.packet("WRITE", struct.pack(">Q", 8 * BLOCK) + b"n" * BLOCK)
            arriving = a.sequence
            a.send_raw(half[:1000])
            self.assertStatus(self.drain(admin), "OK")
            self.assertEqual(notice(a), (1, 0))
            a.send_raw(half[1000:])
            self.assertStatus(a.wait(arriving), "USE_ANOTHER_PROXY")
            self.assertNotIn(in_hand, a.unmatched)
            self.proxy.stop_injecting("hold-writes")
            self.assertStatus(a.wait(in_hand), "OK")
        with open(self.proxy.data_path("in-hand"), "rb") as file:
            end = time.monotonic() + 20
            while file.read(BLOCK) != b"h" * BLOCK and time.monotonic() < end:
                file.seek(0)
            file.seek(0)
            self.assertEqual(file.read(BLOCK), b"h" * BLOCK)
            file.seek(8 * BLOCK)
            self.assertEqual(file.read(BLOCK), bytes(BLOCK))

    def test_a_fence_that_waits_is_answered(self):
        needs_files(NEEDS_HOLDING)
        self.proxy.create("fencing")
        with self.proxy.modern() as cut, self.proxy.modern() as heir, self.proxy.modern() as admin:
            lease = Lease(cut.attach_lease("fencing").payload)
            self.assertStatus(heir.resume("fencing", lease.token, 1), "OK")
            self.proxy.inject("hold-writes", f"0 {BLOCK}")
            cut.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(cut.call("KEEPALIVE"), "OK")
            cut.close()
            fence = heir.send("FENCE", lease.token + struct.pack(">Q", 1))
            end = time.monotonic() + 20
            while self.proxy.record("fencing")["generation"] == 1:
                self.assertLess(time.monotonic(), end)
            self.assertStatus(self.drain(admin), "OK")
            self.assertEqual(notice(heir), (1, 0))
            self.assertNotIn(fence, heir.unmatched)
            self.proxy.stop_injecting("hold-writes")
            reply = heir.wait(fence)
            self.assertStatus(reply, "OK")
            self.assertEqual(reply.payload, struct.pack(">Q", 2))
            self.assertStatus(heir.write(0, b"2"), "USE_ANOTHER_PROXY")
        with Proxy(store=self.proxy.store, store_type=STORE_TYPE).start() as other, other.modern() as c:
            self.assertStatus(c.resume("fencing", lease.token, 1), "EXPIRED")
            self.assertStatus(c.resume("fencing", lease.token, 2), "OK")
            self.assertEqual(c.read(0, BLOCK).payload, b"1" * BLOCK)

    def test_moves_to_another_proxy(self):
        self.proxy.create("moving")
        with Proxy(store=self.proxy.store, store_type=STORE_TYPE).start() as other, self.proxy.modern() as a, \
                other.modern() as b, self.proxy.modern() as admin:
            lease = Lease(a.attach_lease("moving").payload)
            self.assertStatus(a.write(0, b"before"), "OK")
            self.assertStatus(self.drain(admin), "OK")
            self.assertEqual(notice(a), (1, 0))
            # The first session is still there: it need not leave for the image to be let go.
            self.assertStatus(b.resume("moving", lease.token, lease.generation), "OK")
            self.assertEqual(b.read(0, 6).payload, b"before")
            self.assertStatus(b.write(0, b"after "), "OK")
            self.assertStatus(a.write(0, b"late"), "USE_ANOTHER_PROXY")
            # And back.
            self.assertStatus(self.drain(admin, undo=True), "OK")
            self.assertStatus(a.write(0, b"late"), "USE_ANOTHER_PROXY")
            self.assertStatus(a.resume("moving", lease.token, lease.generation), "OK")
            self.assertEqual(a.read(0, 6).payload, b"after ")
            self.assertStatus(a.write(0, b"again"), "OK")
            self.assertStatus(b.write(0, b"late"), "USE_ANOTHER_PROXY")

    def test_needs_an_administrator(self):
        with self.proxy.modern("writer") as c:
            self.assertStatus(self.drain(c), "PERMISSION_DENIED")
            self.assertStatus(self.drain(c, undo=True), "PERMISSION_DENIED")
        with self.proxy.connect() as c:
            c.hello()
            self.assertStatus(self.drain(c), "NOT_LOGGEDIN")
        with self.proxy.modern(caps=ALL_CAPS & ~CAP_DRAIN) as c:
            self.assertStatus(self.drain(c), "INVALID_REQUEST")
        with self.proxy.modern() as c:
            self.assertStatus(c.call("DRAIN", bytes(7)), "INVALID_REQUEST")
            self.assertStatus(c.attach_lease("no such"), "NOT_FOUND")

    def test_who_may_not_hear_it_finds_out(self):
        self.proxy.create("deaf")
        with self.proxy.modern(caps=ALL_CAPS & ~CAP_NOTICE) as a, self.proxy.logged_in() as b, \
                self.proxy.modern() as admin:
            self.assertStatus(a.attach_lease("deaf", read_only=True), "OK")
            self.assertStatus(self.drain(admin), "OK")
            self.assertStatus(a.read(0, 1), "USE_ANOTHER_PROXY")
            self.assertStatus(b.call("KEEPALIVE"), "OK")
            self.assertEqual([p for p in a.pushed if p.op == 1002], [])
            self.assertStatus(a.detach(), "OK")

    def test_status_says_so(self):
        with self.proxy.modern() as c:
            self.assertStatus(self.drain(c), "OK")
            end = time.monotonic() + 20
            while not self.proxy.wait_notified("STATUS=").startswith("drained: "):
                self.assertLess(time.monotonic(), end)


class Stop(unittest.TestCase):
    def setUp(self):
        self.proxy = Proxy(store_type=STORE_TYPE, **{"drain-limit": "1h"}).start()

    def tearDown(self):
        if self.proxy.process.poll() is None:
            self.proxy.kill()
        self.proxy.notify.close()
        self.proxy.remove()

    def test_ends_when_the_clients_have_gone(self):
        """Not when a time is up: that would be an hour."""
        needs_files(NEEDS_HOLDING)
        self.proxy.create("stop")
        a, standby, classic = self.proxy.modern(), self.proxy.modern(), self.proxy.logged_in()
        half_way = self.proxy.connect()
        self.assertEqual(a.attach_lease("stop").status, "OK")
        self.proxy.inject("hold-writes", f"0 {BLOCK}")
        in_hand = a.send("WRITE", struct.pack(">Q", 0) + b"h" * BLOCK)
        self.assertEqual(a.call("KEEPALIVE").status, "OK")
        self.proxy.process.send_signal(signal.SIGTERM)
        self.assertEqual(notice(a), (1, 3600000))
        self.assertEqual(a.read(0, 1).status, "USE_ANOTHER_PROXY")
        # Who has nothing attached is told, and let go.
        self.assertEqual(notice(standby), (1, 3600000))
        for client in (standby, classic, half_way):
            client.wait_closed()
        self.assertIsNone(self.proxy.process.poll())
        self.proxy.stop_injecting("hold-writes")
        self.assertEqual(a.wait(in_hand).status, "OK")
        a.close()
        self.assertEqual(self.proxy.process.wait(20), 0)

    def test_ends_after_the_last_detach(self):
        self.proxy.create("detached")
        with self.proxy.leased("detached") as a:
            self.proxy.process.send_signal(signal.SIGTERM)
            notice(a)
            self.assertEqual(a.detach().status, "OK")
            a.wait_closed()
            self.assertEqual(self.proxy.process.wait(20), 0)

    def test_after_a_drain(self):
        self.proxy.create("both")
        with self.proxy.leased("both") as a:
            self.assertEqual(a.call("DRAIN", bytes(8)).status, "OK")
            self.assertEqual(notice(a), (1, 0))
            self.proxy.process.send_signal(signal.SIGTERM)
            self.assertEqual(notice(a), (1, 3600000))
        self.assertEqual(self.proxy.process.wait(20), 0)
