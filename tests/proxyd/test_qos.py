# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of images, caps of users, fairness, and scrubs, as clients see them. What is asserted is what was let through and in which order, not how long it took."""

import struct
import threading
import time

from case import Case
from client import padded
from proxy import CEPH_CONF, needs_files
from test_checksums import MiB, BLOCK, flip, warm_up
from test_hold import Pair, until

SCRUB_STATES = {0: "never", 1: "running", 2: "done", 3: "failed", 4: "cancelled"}


def set_limits(client, image, iops=0, bandwidth=0, burst=1000000):
    return client.call("SET_LIMITS", b"\0" * 24 + padded(image, 256) + struct.pack(">QQQ", iops, bandwidth, burst))


def care(client, image):
    reply = client.call("GET_CARE", b"\0" * 8 + padded(image, 256))
    assert reply.status == "OK", reply
    names = ("flags", "state", "iops", "bandwidth", "burst", "began", "updated", "done", "size", "damaged", "unknown")
    found = dict(zip(names, struct.unpack(">IIQQQQQQQQQ", reply.payload[:80])))
    n = struct.unpack(">I", reply.payload[80:84])[0]
    found["offsets"] = list(struct.unpack(f">{n}Q", reply.payload[88:88 + 8 * n]))
    found["state"] = SCRUB_STATES[found["state"]]
    return found


def answer(client):
    """The next that is none of what the proxy says unasked."""
    while True:
        reply = client.receive()
        if reply.sequence != 0:
            return reply


def scrub(client, image):
    return client.call("SCRUB", b"\0" * 24 + padded(image, 256))


class Limits(Case):
    def test_requests(self):
        """Of 200 requests at once those that fit into the burst and half a second are done, the others are told to come later, and do."""
        self.proxy.create("slow")
        with self.proxy.modern() as c, self.proxy.modern() as admin:
            c.attach_lease("slow")
            self.assertStatus(set_limits(admin, "slow", iops=100, burst=100000), "OK")
            found = care(admin, "slow")
            self.assertEqual((found["iops"], found["bandwidth"], found["burst"], found["flags"]), (100, 0, 100000, 2 if CEPH_CONF else 0))
            until(lambda: self.burst(c, 200) < 200, "the limit")
            # No number of tries gets more than the rate; flushes are not counted.
            began = time.monotonic()
            done = sum(self.burst(c, 100) for _ in range(5))
            self.assertLessEqual(done, 100 * (time.monotonic() - began + 0.5) + 12)
            self.assertStatus(c.flush(), "OK")
            # Lifted while it is attached.
            self.assertStatus(set_limits(admin, "slow"), "OK")
            until(lambda: self.burst(c, 200) == 200, "the end of the limit")

    @staticmethod
    def burst(client, n):
        """How many of n are done; all others are TEMPORARY_ERROR."""
        for i in range(n):
            client.send("READ", struct.pack(">QQ", i * 512, 512))
        status = [answer(client).status for _ in range(n)]
        assert set(status) <= {"OK", "TEMPORARY_ERROR"}, status
        return status.count("OK")

    def test_refused_write_is_not_there(self):
        self.proxy.create("width")
        with self.proxy.modern() as c:
            self.assertStatus(set_limits(c, "width", bandwidth=10000, burst=1000), "OK")
            c.attach_lease("width")
            self.assertStatus(c.write(0, b"a" * 500000), "OK")
            self.assertStatus(c.write(0, b"b" * 500000), "TEMPORARY_ERROR")
            self.assertStatus(set_limits(c, "width"), "OK")
            until(lambda: c.read(0, 1).status == "OK", "the end of the limit")
            self.assertEqual(c.read(0, 4).payload, b"aaaa")

    def test_who_may(self):
        self.proxy.create("vm-limited")
        with self.proxy.modern() as c:
            self.assertStatus(set_limits(c, "nothing", iops=1), "NOT_FOUND")
            self.assertStatus(set_limits(c, "vm-limited", iops=1 << 51), "INVALID_REQUEST")
        with self.proxy.connect() as c:
            c.hello()
            self.assertStatus(c.login("writer", "w"), "OK")
            self.assertStatus(set_limits(c, "vm-limited", iops=1), "PERMISSION_DENIED")
            self.assertStatus(c.call("GET_CARE", b"\0" * 8 + padded("other", 256)), "PERMISSION_DENIED")

    def test_detach_while_waiting(self):
        """Who goes while his requests wait leaves nothing behind."""
        self.proxy.create("leaving")
        with self.proxy.modern() as admin:
            set_limits(admin, "leaving", iops=10, burst=1000)
            for _ in range(3):
                c = self.proxy.modern()
                c.attach_lease("leaving")
                for i in range(5):
                    c.send("WRITE", struct.pack(">Q", i * 512) + b"x" * 512)
                c.close()
            with self.proxy.modern() as c:
                self.assertStatus(c.attach_lease("leaving", steal=True), "OK")
                self.assertStatus(c.detach(), "OK")


class LimitsElsewhere(Pair):
    def test_set_at_another_proxy(self):
        """A limit belongs to the image: it is told to one proxy, and holds at the others."""
        self.proxy.create("far")
        with self.proxy.modern() as c, self.other.modern() as admin:
            c.attach_lease("far")
            self.assertEqual(Limits.burst(c, 100), 100)
            self.assertStatus(set_limits(admin, "far", iops=10, burst=1000), "OK")
            until(lambda: Limits.burst(c, 100) < 100, "the limit at the other proxy")


class Caps(Case):
    settings = {"user-clients-max": 4, "user-images-max": 2}

    def test_connections(self):
        with self.proxy.modern(), self.proxy.modern(), self.proxy.modern(), self.proxy.modern():
            with self.proxy.connect() as c:
                c.hello()
                self.assertStatus(c.login(), "TEMPORARY_ERROR")
            with self.proxy.connect() as c:
                c.hello()
                self.assertStatus(c.login("writer", "w"), "OK")
        def again():
            with self.proxy.connect() as c:
                c.hello()
                return c.login().status == "OK"
        until(again, "room for one more")

    def test_images(self):
        with self.proxy.modern() as a, self.proxy.modern() as b, self.proxy.modern() as c:
            for name in ("one", "two", "three"):
                self.assertStatus(a.create(name, MiB), "OK")
            token = a.attach_lease("one").payload[32:48]
            self.assertStatus(b.attach_lease("two"), "OK")
            self.assertStatus(c.attach_lease("three"), "TEMPORARY_ERROR")
            # The same image once more is none more, and who comes back is not sent away.
            self.assertStatus(c.resume("one", token, 1), "OK")
            self.assertStatus(c.detach(), "OK")
            self.assertStatus(b.detach(), "OK")
            self.assertStatus(c.attach_lease("three"), "OK")


class Fairness(Case):
    def test_greedy_beside_small_ones(self):
        """One client has as many large reads in hand as it may; ten others read one block each. None of them waits until the large ones are over."""
        self.proxy.create("greedy", 64 * MiB)
        small = []
        with self.proxy.modern() as greedy:
            greedy.attach_lease("greedy")
            for i in range(64):
                self.assertStatus(greedy.write(i * MiB, b"g" * MiB), "OK")
            for i in range(10):
                self.proxy.create(f"small{i}")
                client = self.proxy.modern()
                self.addCleanup(client.close)
                client.attach_lease(f"small{i}")
                small.append(client)
            # It does not read its answers yet: what is served to others is served beside it.
            for i in range(200):
                greedy.send("READ", struct.pack(">QQ", i % 64 * MiB, MiB))
            for client in small:
                client.send("READ", struct.pack(">QQ", 0, BLOCK))
            for client in small:
                self.assertStatus(answer(client), "OK")
            for _ in range(200):
                self.assertStatus(answer(greedy), "OK")


class Overload(Case):
    """More than it can do, from all sides at once: each request has an answer, if only that it is to come later, and the proxy stays."""

    settings = {"memory": "64M", "client-memory": "64M", "user-images-max": 8}

    def test_everything_at_once(self):
        self.proxy.create("limited", 8 * MiB)
        self.proxy.create("busy", 8 * MiB)
        clients = []
        for i in range(32):
            client = self.proxy.modern()
            self.addCleanup(client.close)
            self.assertStatus(client.attach_lease("limited" if i % 2 else "busy", read_only=True), "OK")
            clients.append(client)
        with self.proxy.modern() as admin:
            self.assertStatus(set_limits(admin, "limited", iops=1, burst=1000000), "OK")
        # In a cluster it comes to who has the image open by a message.
        until(lambda: clients[1].read(0, BLOCK).status == "TEMPORARY_ERROR", "the limit")
        counts = [{"OK": 0, "TEMPORARY_ERROR": 0} for _ in clients]

        def load(client, count):
            for i in range(100):
                client.send("READ", struct.pack(">QQ", i % 8 * MiB, 256 * 1024))
            for _ in range(100):
                count[answer(client).status] += 1

        # More of each than the proxy takes at a time, and more data than it has memory for.
        threads = [threading.Thread(target=load, args=pair) for pair in zip(clients, counts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, count in enumerate(counts):
            self.assertEqual(count["OK"] + count["TEMPORARY_ERROR"], 100)
            if i % 2 == 0:
                self.assertEqual(count["TEMPORARY_ERROR"], 0)
            else:
                self.assertGreater(count["TEMPORARY_ERROR"], 0)
        # So many images, and the next one is to come later.
        for i in range(7):
            self.proxy.create(f"one{i}")
            client = self.proxy.modern()
            self.addCleanup(client.close)
            status = client.attach_lease(f"one{i}").status
            self.assertEqual(status, "OK" if i < 6 else "TEMPORARY_ERROR")
        self.assertIsNone(self.proxy.process.poll())
        with self.proxy.modern() as c:
            self.assertIn("busy", c.list())


class Scrub(Case):
    settings = {"scrub-rate": "1M"}

    @classmethod
    def setUpClass(cls):
        needs_files("Ceph has checksums of its own, see test_ceph")
        super().setUpClass()
        warm_up(cls)

    def finish(self, client, reply):
        self.assertStatus(reply, "OK")
        job = reply.payload[:16]
        return client.wait_job(job).state if any(job) else "done"

    def test_finds_damage_beside_a_writer(self):
        with self.proxy.modern() as c, self.proxy.modern() as admin:
            self.assertStatus(c.create("scrubbed", 2 * MiB, checksums=True), "OK")
            c.attach_lease("scrubbed")
            self.assertEqual(care(admin, "scrubbed")["state"], "never")
            self.assertStatus(c.write(0, b"x" * MiB), "OK")
            self.assertStatus(c.flush(), "OK")
            self.assertEqual(self.finish(admin, scrub(admin, "scrubbed")), "done")
            found = care(admin, "scrubbed")
            self.assertEqual((found["state"], found["damaged"], found["flags"], found["done"]), ("done", 0, 1, 2 * MiB))

            flip(self.proxy, "scrubbed", 33 * BLOCK + 1)
            reply = scrub(admin, "scrubbed")
            self.assertStatus(c.write(0, b"y" * BLOCK), "OK")
            self.assertEqual(self.finish(admin, reply), "done")
            found = care(admin, "scrubbed")
            self.assertEqual((found["damaged"], found["offsets"]), (1, [33 * BLOCK]))
            self.assertIn(f"The block at byte {33 * BLOCK} of scrubbed does not agree", self.proxy.log())

    def test_cancel(self):
        """At 1 MiB a second, 64 MiB take long enough to change one's mind."""
        with self.proxy.modern() as c:
            self.assertStatus(c.create("long", 64 * MiB, checksums=True), "OK")
            c.attach_lease("long")
            for i in range(64):
                self.assertStatus(c.write(i * MiB, b"x" * MiB), "OK")
            reply = scrub(c, "long")
            self.assertStatus(reply, "OK")
            job = reply.payload[:16]
            self.assertTrue(any(job))
            self.assertEqual(c.job_status(job).state, "running")
            self.assertEqual(care(c, "long")["state"], "running")
            self.assertStatus(c.call("JOB_CANCEL", job), "OK")
            self.assertEqual(c.wait_job(job).state, "cancelled")
            self.assertEqual(care(c, "long")["state"], "cancelled")

    def test_nothing_to_compare_with(self):
        self.proxy.create("plain")
        with self.proxy.modern() as c:
            self.assertStatus(scrub(c, "plain"), "NO_CHECKSUMS")
            self.assertStatus(scrub(c, "nothing"), "NOT_FOUND")
