# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a classic client sees, which has never heard of HELLO."""

import os
import struct

from case import Case
from client import Closed, DATA_MAX, padded, proxies


class Classic(Case):
    def test_session(self):
        self.proxy.create("classic", 1 << 20)
        with self.proxy.connect() as c:
            self.assertEqual(len(c.session), 32)
            self.assertNotEqual(c.session, b"\0" * 32)
            self.assertStatus(c.login(), "OK")
            reply = c.attach("classic")
            self.assertStatus(reply, "OK")
            self.assertEqual(reply.payload[:256], padded("classic", 256))
            self.assertEqual(struct.unpack(">Q", reply.payload[256:264])[0], 1 << 20)
            self.assertEqual(c.read(0, 4096).payload, bytes(4096))
            data = os.urandom(12345)
            reply = c.write(1000, data)
            self.assertStatus(reply, "OK")
            self.assertEqual(reply.payload, b"")
            self.assertEqual(c.read(1000, 12345).payload, data)
            self.assertEqual(c.read(0, 1001).payload, bytes(1000) + data[:1])
            self.assertStatus(c.call("KEEPALIVE"), "OK")

    def test_session_ids_differ(self):
        with self.proxy.connect() as a, self.proxy.connect() as b:
            self.assertNotEqual(a.session, b.session)

    def test_proxies_are_pushed_after_attach(self):
        self.proxy.create("pushed")
        with self.proxy.logged_in() as c:
            self.assertStatus(c.attach("pushed"), "OK")
            host, port = self.proxy.address
            self.assertEqual(proxies(c.wait_pushed("LIST_PROXIES").payload),
                             [(0, f"{host}:{port}"), (1, "10.9.8.7:11417"), (2, "[fd00::1]:11418")])
            # ... and again at the interval, which is short here.
            c.wait_pushed("LIST_PROXIES")

    def test_many_in_flight(self):
        self.proxy.create("many")
        with self.proxy.logged_in() as c:
            c.attach("many")
            blocks = [os.urandom(4096) for _ in range(200)]
            sent = [c.packet("WRITE", struct.pack(">Q", i * 4096) + block) for i, block in enumerate(blocks)]
            first = c.sequence - len(sent) + 1
            c.send_raw(b"".join(sent))
            for i in range(len(blocks)):
                self.assertStatus(c.wait(first + i), "OK")
            sent = [c.packet("READ", struct.pack(">QQ", i * 4096, 4096)) for i in range(len(blocks))]
            first = c.sequence - len(sent) + 1
            c.send_raw(b"".join(sent))
            for i, block in enumerate(blocks):
                self.assertEqual(c.wait(first + i).payload, block)

    def test_large_requests(self):
        self.proxy.create("large", 2 * DATA_MAX)
        with self.proxy.logged_in() as c:
            c.attach("large")
            data = os.urandom(1 << 20) * 32
            self.assertStatus(c.write(4096, data), "OK")
            self.assertEqual(c.read(4096, DATA_MAX).payload, data)
            self.assertStatus(c.read(0, DATA_MAX + 1), "INVALID_REQUEST")
            # Many of them, more than fit in memory at once.
            wanted = [c.send("READ", struct.pack(">QQ", 4096, DATA_MAX)) for _ in range(8)]
            for sequence in wanted:
                self.assertEqual(c.wait(sequence).payload, data)

    def test_two_clients_share_an_image(self):
        self.proxy.create("shared")
        with self.proxy.logged_in() as a, self.proxy.logged_in() as b:
            a.attach("shared")
            b.attach("shared")
            a.write(0, b"from a")
            self.assertEqual(b.read(0, 6).payload, b"from a")

    def test_wrong_password(self):
        with self.proxy.connect() as c:
            self.assertStatus(c.login("alice", "wrong"), "PERMISSION_DENIED")
            self.assertStatus(c.login("nobody", "secret"), "PERMISSION_DENIED")
            self.assertStatus(c.attach("classic"), "NOT_LOGGEDIN")
            self.assertStatus(c.login(), "OK")

    def test_three_wrong_passwords(self):
        with self.proxy.connect() as c:
            for _ in range(3):
                self.assertStatus(c.login("alice", "wrong"), "PERMISSION_DENIED")
            c.wait_closed()

    def test_unknown_image(self):
        with self.proxy.logged_in() as c:
            self.assertStatus(c.attach("no such image"), "NOT_FOUND")
            self.assertStatus(c.read(0, 512), "INVALID_REQUEST")

    def test_rights(self):
        self.proxy.create("open-1")
        self.proxy.create("vm-1")
        self.proxy.create("hidden-1")
        with self.proxy.logged_in("reader") as c:
            self.assertStatus(c.attach("vm-1"), "PERMISSION_DENIED")
            self.assertStatus(c.attach("hidden-1"), "PERMISSION_DENIED")
            self.assertStatus(c.attach("hidden-no-such"), "PERMISSION_DENIED")
            self.assertStatus(c.attach("open-1"), "OK")
            self.assertStatus(c.read(0, 512), "OK")
            self.assertStatus(c.write(0, bytes(512)), "READ_ONLY")
            self.assertStatus(c.write(0, bytes(1 << 19)), "READ_ONLY")
            self.assertStatus(c.read(0, 512), "OK")
        with self.proxy.logged_in("writer") as c:
            self.assertStatus(c.attach("vm-1"), "OK")
            self.assertStatus(c.write(0, bytes(512)), "OK")

    def test_out_of_range(self):
        size = 1 << 20
        self.proxy.create("range", size)
        with self.proxy.logged_in() as c:
            c.attach("range")
            for offset, length in ((size, 1), (size - 1, 2), (0, size + 1), (0, 0), ((1 << 64) - 1, 1),
                                   ((1 << 64) - 1, (1 << 64) - 1), (1, (1 << 64) - 1), (size, 0)):
                self.assertStatus(c.read(offset, length), "INVALID_REQUEST")
            for offset, length in ((size, 1), (size - 1, 2), ((1 << 64) - 1, 1), (size - 4096, 300000)):
                self.assertStatus(c.write(offset, b"x" * length), "INVALID_REQUEST")
            self.assertStatus(c.write(size - 1, b"x"), "OK")
            self.assertEqual(c.read(size - 1, 1).payload, b"x")
        self.assertEqual(os.path.getsize(self.proxy.data_path("range")), size)

    def test_added_ops_need_hello(self):
        self.proxy.create("plain")
        with self.proxy.logged_in() as c:
            c.attach("plain")
            self.assertStatus(c.flush(), "INVALID_REQUEST")
            self.assertStatus(c.trim(0, 4096), "INVALID_REQUEST")
            self.assertStatus(c.write_zeroes(0, 4096), "INVALID_REQUEST")
            self.assertStatus(c.write(0, b"xx", fua=True), "INVALID_REQUEST")
            self.assertStatus(c.create("other", 4096), "INVALID_REQUEST")
            self.assertStatus(c.detach(), "INVALID_REQUEST")
            self.assertStatus(c.call("LIST_PROXIES"), "INVALID_REQUEST")
            self.assertStatus(c.read(0, 512), "OK")

    def test_held_image_is_refused(self):
        self.proxy.create("held")
        with self.proxy.leased("held"):
            with self.proxy.logged_in() as c:
                self.assertStatus(c.attach("held"), "NOT_READY")
        self.proxy.create("open-held")
        with self.proxy.leased("open-held"), self.proxy.logged_in("reader") as c:
            self.assertStatus(c.attach("open-held"), "OK")

    def test_lease_ends_a_classic_writer(self):
        self.proxy.create("taken")
        with self.proxy.logged_in() as old, self.proxy.modern() as new:
            old.attach("taken")
            self.assertStatus(old.write(0, b"old"), "OK")
            reply = new.attach_lease("taken")
            self.assertStatus(reply, "HELD")
            self.assertEqual(len(reply.payload), 72)
            self.assertStatus(new.attach_lease("taken", steal=True), "OK")
            self.assertStatus(old.write(0, b"late"), "EXPIRED")
            self.assertEqual(new.read(0, 4).payload, b"old\0")

    def test_classic_after_hello_is_no_downgrade(self):
        self.proxy.create("down")
        with self.proxy.modern() as c:
            self.assertStatus(c.attach("down"), "INVALID_REQUEST")
        with self.proxy.modern(caps=1) as c:
            self.assertStatus(c.attach("down"), "OK")
            self.assertStatus(c.flush(), "OK")
            self.assertStatus(c.trim(0, 4096), "INVALID_REQUEST")

    def test_other_session_id(self):
        with self.proxy.connect() as c:
            c.send("KEEPALIVE", session=b"x" * 32)
            with self.assertRaises(Closed):
                c.receive()
