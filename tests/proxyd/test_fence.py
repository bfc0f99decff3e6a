# SPDX-License-Identifier: LGPL-2.1-or-later
"""FENCE, and how fenced sessions come back."""

import json
import os
import socket
import struct

from case import Case
from client import ALL_CAPS, CAP_FENCE, Lease

IMAGE = 1 << 22


class Fence(Case):
    def family(self, name, n):
        """An image that n sessions have attached under one lease."""
        self.proxy.create(name, IMAGE)
        first = self.proxy.modern()
        self.addCleanup(first.close)
        lease = Lease(first.attach_lease(name).payload)
        sessions = [first]
        for _ in range(n - 1):
            session = self.proxy.modern()
            self.addCleanup(session.close)
            self.assertStatus(session.resume(name, lease.token, lease.generation), "OK")
            sessions.append(session)
        return lease, sessions

    def fenced(self, session, lease, generation):
        reply = session.fence(lease.token, generation)
        self.assertStatus(reply, "OK")
        self.assertEqual(reply.payload, struct.pack(">Q", generation + 1))

    def test_sisters(self):
        lease, (a, b, c) = self.family("sisters", 3)
        self.fenced(a, lease, 1)
        self.assertEqual(self.proxy.record("sisters")["generation"], 2)
        self.assertStatus(a.write(0, b"a"), "OK")
        for sister in (b, c):
            for late in (sister.write(0, b"late"), sister.write(0, b"late", fua=True), sister.trim(0, 512),
                         sister.write_zeroes(0, 512), sister.read(0, 512), sister.flush()):
                self.assertStatus(late, "EXPIRED")
        # Only with the new generation, and on the connection that it has.
        self.assertStatus(b.resume("sisters", lease.token, 1), "EXPIRED")
        self.assertStatus(b.write(0, b"late"), "EXPIRED")
        reply = b.resume("sisters", lease.token, 2)
        self.assertStatus(reply, "OK")
        again = Lease(reply.payload)
        self.assertEqual((again.token, again.generation, again.identity), (lease.token, 2, lease.identity))
        self.assertStatus(b.write(1, b"b"), "OK")
        self.assertStatus(c.write(0, b"late"), "EXPIRED")
        self.assertEqual(a.read(0, 3).payload, b"ab\0")
        # And on.
        self.fenced(b, lease, 2)
        self.assertStatus(a.write(0, b"late"), "EXPIRED")
        self.assertStatus(c.resume("sisters", lease.token, 3), "OK")

    def test_what_was_on_its_way_does_not_land(self):
        lease, (cut, heir) = self.family("on-its-way", 2)
        # Half of a write's data is in the proxy's buffer, the rest comes after the fence; behind it, a whole one.
        data = struct.pack(">Q", 0) + b"g" * (1 << 20)
        half = cut.packet("WRITE", data)
        cut.send_raw(half[:1 << 19])
        # What is answered has been looked at: the half has been taken as a request by then, or waits in the socket. Both must do.
        self.fenced(heir, lease, 1)
        self.assertStatus(heir.write(0, b"n" * 4096), "OK")
        cut.send_raw(half[1 << 19:])
        second = cut.send("WRITE", struct.pack(">Q", 0) + b"G" * 4096)
        self.assertStatus(cut.wait(cut.sequence - 1), "EXPIRED")
        self.assertStatus(cut.wait(second), "EXPIRED")
        self.assertEqual(heir.read(0, 1 << 20).payload, b"n" * 4096 + bytes((1 << 20) - 4096))

    def test_writes_of_a_cut_session(self):
        """Whatever of them landed was there when the fence was answered."""
        lease, sessions = self.family("cut", 9)
        heir = sessions.pop()
        for round_, cut in enumerate(sessions):
            for i in range(64):
                cut.send("WRITE", struct.pack(">Q", i * 65536) + bytes([round_ + 1]) * 65536)
            cut.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if round_ % 2:
                cut.close()
            self.fenced(heir, lease, round_ + 1)
            then = heir.read(0, IMAGE).payload
            cut.close()
            for i in range(0, 64, 7):
                self.assertStatus(heir.write(i * 65536, b"w" * 512), "OK")
                then = then[:i * 65536] + b"w" * 512 + then[i * 65536 + 512:]
            self.assertStatus(heir.flush(), "OK")
            self.assertEqual(heir.read(0, IMAGE).payload, then)
            for left in sessions[round_ + 1:]:
                self.assertStatus(left.resume("cut", lease.token, round_ + 2), "OK")

    def test_wrong_token_or_generation(self):
        lease, (a, b) = self.family("wrong", 2)
        for token, generation in ((b"x" * 16, 1), (lease.token, 0), (lease.token, 2), (lease.token, (1 << 64) - 1),
                                  (bytes(16), 1)):
            self.assertStatus(a.fence(token, generation), "EXPIRED")
        self.assertEqual(self.proxy.record("wrong")["generation"], 1)
        self.assertStatus(a.write(0, b"a"), "OK")
        self.assertStatus(b.write(0, b"b"), "OK")
        for length in (0, 23):
            self.assertStatus(a.call("FENCE", bytes(length)), "INVALID_REQUEST")
        self.assertStatus(a.call("FENCE", lease.token + struct.pack(">Q", 1) + b"later"), "OK")

    def test_where_it_has_no_place(self):
        self.proxy.create("placeless")
        with self.proxy.modern() as c:
            self.assertStatus(c.fence(b"t" * 16, 1), "INVALID_REQUEST")
            self.assertStatus(c.attach_lease("placeless", read_only=True), "OK")
            self.assertStatus(c.fence(b"t" * 16, 1), "INVALID_REQUEST")
            self.assertStatus(c.resume("placeless", b"t" * 16, 1), "INVALID_REQUEST")
        with self.proxy.connect() as c:
            self.assertStatus(c.fence(b"t" * 16, 1), "INVALID_REQUEST")
        with self.proxy.modern(caps=ALL_CAPS & ~CAP_FENCE) as c:
            lease = Lease(c.attach_lease("placeless").payload)
            self.assertStatus(c.fence(lease.token, 1), "INVALID_REQUEST")

    def test_fenced_host_comes_back(self):
        """It was robbed while it was away: nothing that it knows helps."""
        lease, (old, asleep) = self.family("robbed", 2)
        with self.proxy.modern(machine=b"n" * 16) as new:
            taken = Lease(new.attach_lease("robbed", steal=True).payload)
            self.assertEqual(taken.generation, 2)
            self.assertStatus(new.write(0, b"new"), "OK")
            self.assertStatus(old.fence(lease.token, 1), "EXPIRED")
            for generation in (1, 2, 3):
                self.assertStatus(old.resume("robbed", lease.token, generation), "EXPIRED")
                self.assertStatus(asleep.fence(lease.token, generation), "EXPIRED")
                with self.proxy.modern() as fresh:
                    self.assertStatus(fresh.resume("robbed", lease.token, generation), "EXPIRED")
            self.assertStatus(old.write(0, b"old"), "EXPIRED")
            self.assertStatus(asleep.write(0, b"old"), "EXPIRED")
            self.assertEqual(new.read(0, 3).payload, b"new")
            self.fenced(new, taken, 2)

    def test_expired_session_has_to_come_back_first(self):
        lease, (a, b) = self.family("order", 2)
        self.fenced(a, lease, 1)
        self.assertStatus(b.fence(lease.token, 2), "EXPIRED")
        self.assertStatus(b.resume("order", lease.token, 2), "OK")
        self.fenced(b, lease, 2)

    def test_concurrent(self):
        lease, sessions = self.family("concurrent", 8)
        sent = [s.send("FENCE", lease.token + struct.pack(">Q", 1)) for s in sessions]
        replies = [s.wait(n) for s, n in zip(sessions, sent)]
        self.assertEqual(sorted(r.status for r in replies), ["EXPIRED"] * 7 + ["OK"])
        self.assertEqual(self.proxy.record("concurrent")["generation"], 2)
        winner = next(s for s, r in zip(sessions, replies) if r.status == "OK")
        for s in sessions:
            self.assertStatus(s.write(0, b"x"), "OK" if s is winner else "EXPIRED")
        for s in sessions:
            self.assertStatus(s.resume("concurrent", lease.token, 2), "OK")
            self.assertStatus(s.write(0, b"x"), "OK")

    def test_unanswered(self):
        """Its connection ends before the answer: RESUME finds out which generation holds."""
        lease, sessions = self.family("unanswered", 5)
        generation = 1
        for cut in sessions:
            cut.send("FENCE", lease.token + struct.pack(">Q", generation))
            cut.close()
            with self.proxy.modern() as c:
                status = c.resume("unanswered", lease.token, generation).status
                if status == "EXPIRED":
                    generation += 1
                    status = c.resume("unanswered", lease.token, generation).status
                # The fence may still come.
                elif c.write(0, b"x").status == "EXPIRED":
                    generation += 1
                    status = c.resume("unanswered", lease.token, generation).status
                self.assertEqual(status, "OK")
                for left in sessions[sessions.index(cut) + 1:]:
                    left.resume("unanswered", lease.token, self.proxy.record("unanswered")["generation"])
                generation = self.proxy.record("unanswered")["generation"]

    def test_durable(self):
        lease, (a,) = self.family("durable", 1)
        self.fenced(a, lease, 1)
        self.proxy.kill()
        self.proxy.notify.close()
        self.proxy.start()
        with self.proxy.modern() as c:
            self.assertStatus(c.resume("durable", lease.token, 1), "EXPIRED")
            self.assertStatus(c.resume("durable", lease.token, 2), "OK")

    def test_resume_waits_for_its_own_requests(self):
        lease, (a, b) = self.family("own", 2)
        writes = [b.send("WRITE", struct.pack(">Q", i * 65536) + b"b" * 65536) for i in range(60)]
        again = b.send("RESUME", struct.pack(">II", 0, 0) + lease.token + struct.pack(">QQ", 1, 0) +
                       b"own".ljust(256, b"\0"))
        self.assertStatus(b.wait(again), "OK")
        for sequence in writes:
            self.assertIn(sequence, b.unmatched)
            self.assertStatus(b.wait(sequence), "OK")
        self.assertStatus(b.resume("other", lease.token, 1), "INVALID_REQUEST")
        self.assertStatus(b.resume("own", lease.token, 1, read_only=True), "INVALID_REQUEST")
        self.assertStatus(b.write(0, b"b"), "OK")
        self.assertStatus(a.detach(), "OK")
        self.assertStatus(b.resume("own", lease.token, 1), "EXPIRED")

    def test_generations_end(self):
        lease, (a,) = self.family("overflow", 1)
        a.close()
        path = os.path.join(self.proxy.image_path("overflow"), "record.json")
        record = self.proxy.record("overflow")
        last = (1 << 63) - 1
        record["generation"] = last - 1
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        with self.proxy.modern() as c:
            self.assertStatus(c.resume("overflow", lease.token, last - 1), "OK")
            self.fenced(c, lease, last - 1)
            self.assertStatus(c.fence(lease.token, last), "PERMANENT_ERROR")
            self.assertEqual(self.proxy.record("overflow")["generation"], last)
            self.assertStatus(c.write(0, b"x"), "OK")

    def test_removed_image(self):
        lease, (a, b) = self.family("gone", 2)
        os.rename(self.proxy.image_path("gone"), os.path.join(self.proxy.directory, "gone"))
        self.assertStatus(a.fence(lease.token, 1), "EXPIRED")
        self.assertStatus(b.resume("gone", lease.token, 1), "EXPIRED")
