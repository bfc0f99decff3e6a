# SPDX-License-Identifier: LGPL-2.1-or-later
"""RESIZE_IMAGE, and what sessions of a resized image may reach."""

import os
import struct
import threading

from case import Case
from client import ALL_CAPS, CAP_NOTICE, CAP_RESIZE, Lease
from proxy import CEPH_CONF, Proxy

MIB = 1 << 20


def sizes(reply):
    return struct.unpack(">QQ", reply.payload)


class Resize(Case):
    def session(self, **hello):
        client = self.proxy.modern(**hello)
        self.addCleanup(client.close)
        return client

    def check_record(self, name, size, epoch):
        if not CEPH_CONF:
            record = self.proxy.record(name)
            self.assertEqual((record["size"], record["size-epoch"]), (size, epoch))

    def check_file_size(self, name, size):
        if not CEPH_CONF:
            self.assertEqual(os.stat(self.proxy.data_path(name)).st_size, size)

    def notice(self, client):
        return struct.unpack(">IIQQ", client.wait_pushed("NOTICE").payload)

    def test_unattached(self):
        self.proxy.create("free", MIB)
        c = self.session()
        reply = c.resize("free", 4 * MIB)
        self.assertStatus(reply, "OK")
        self.assertEqual(sizes(reply), (4 * MIB, 1))
        self.assertEqual(c.list()["free"]["size"], 4 * MIB)
        self.check_record("free", 4 * MIB, 1)
        # Again: nothing to do.
        self.assertEqual(sizes(c.resize("free", 4 * MIB)), (4 * MIB, 1))
        self.assertStatus(c.resize("free", MIB), "INVALID_REQUEST")
        self.assertEqual(sizes(c.resize("free", MIB, shrink=True)), (MIB, 2))
        self.check_file_size("free", MIB)

    def test_nonsense(self):
        self.proxy.create("nonsense", MIB)
        c = self.session()
        for size in (0, 1, 513, (1 << 63) - 1, 1 << 63, (1 << 64) - 512):
            self.assertStatus(c.resize("nonsense", size), "INVALID_REQUEST")
        self.assertStatus(c.resize("nonsense", (1 << 63) - 512), "NO_SPACE")
        self.assertStatus(c.resize("none", MIB), "NOT_FOUND")
        self.assertStatus(c.resize("nonsense", MIB, uuid=b"u" * 16), "NOT_FOUND")
        self.assertStatus(self.session(user="reader").resize("nonsense", MIB), "PERMISSION_DENIED")
        self.assertStatus(self.session(caps=ALL_CAPS & ~CAP_RESIZE).resize("nonsense", MIB), "INVALID_REQUEST")
        self.assertEqual(c.list()["nonsense"]["size"], MIB)

    def test_grow_under_a_session(self):
        self.proxy.create("grows", MIB)
        a, b = self.session(), self.session()
        lease = Lease(a.attach_lease("grows").payload)
        self.assertEqual((lease.size, lease.size_epoch), (MIB, 0))
        self.assertStatus(b.resume("grows", lease.token, lease.generation), "OK")
        old = self.session(caps=ALL_CAPS & ~CAP_RESIZE)
        self.assertStatus(old.attach_lease("grows", read_only=True), "OK")
        self.assertStatus(a.write(MIB, b"x"), "INVALID_REQUEST")

        self.assertStatus(self.session(machine=b"o" * 16).resize("grows", 2 * MIB), "OK")
        for client in (a, b):
            self.assertEqual(self.notice(client), (2, 0, 2 * MIB, 1))
            # Told, and not taken up.
            self.assertStatus(client.write(MIB, b"x"), "RESIZED")
            again = Lease(client.resume("grows", lease.token, lease.generation).payload)
            self.assertEqual((again.size, again.size_epoch, again.generation), (2 * MIB, 1, lease.generation))
            self.assertStatus(client.write(2 * MIB - 1, b"x"), "OK")
            self.assertStatus(client.write(2 * MIB - 1, b"xx"), "RESIZED")
        # Who knows of no epochs gets the shorter notice, and zero.
        self.assertEqual(struct.unpack(">IIQ", old.wait_pushed("NOTICE").payload), (2, 0, 2 * MIB))
        self.assertStatus(old.read(MIB, 512), "INVALID_REQUEST")

    def test_readers_follow(self):
        self.proxy.create("read", MIB)
        reader = self.session()
        self.assertStatus(reader.attach_lease("read", read_only=True), "OK")
        self.assertStatus(self.session().resize("read", 2 * MIB), "OK")
        self.notice(reader)
        reply = reader.resume("read", b"\0" * 16, 0, read_only=True)
        self.assertStatus(reply, "OK")
        self.assertEqual((Lease(reply.payload).size, Lease(reply.payload).read_only), (2 * MIB, True))
        self.assertEqual(reader.read(2 * MIB - 512, 512).payload, bytes(512))
        self.assertStatus(reader.resume("read", b"\0" * 16, 0), "INVALID_REQUEST")

    def test_shrink(self):
        self.proxy.create("shrinks", 2 * MIB)
        owner, stranger, sister = self.session(), self.session(machine=b"o" * 16), self.session()
        lease = Lease(owner.attach_lease("shrinks").payload)
        self.assertStatus(owner.write(2 * MIB - 1, b"x"), "OK")
        self.assertStatus(sister.resize("shrinks", MIB), "INVALID_REQUEST")
        self.assertStatus(stranger.resize("shrinks", MIB, shrink=True), "IN_USE")
        self.assertEqual(owner.list()["shrinks"]["size"], 2 * MIB)

        self.assertEqual(sizes(sister.resize("shrinks", MIB, shrink=True)), (MIB, 1))
        self.assertEqual(self.notice(owner), (2, 0, MIB, 1))
        self.assertStatus(owner.write(MIB, b"late"), "RESIZED")
        self.assertStatus(owner.write(MIB - 1, b"y"), "OK")
        # Larger again: a request of before is still refused, and what was cut off is zero.
        self.assertEqual(sizes(stranger.resize("shrinks", 2 * MIB)), (2 * MIB, 2))
        self.assertStatus(owner.write(MIB, b"late"), "RESIZED")
        again = Lease(owner.resume("shrinks", lease.token, lease.generation).payload)
        self.assertEqual((again.size, again.size_epoch), (2 * MIB, 2))
        self.assertEqual(owner.read(2 * MIB - 512, 512).payload, bytes(512))

    def test_shrink_of_a_classic_clients_image(self):
        self.proxy.create("classic", 2 * MIB)
        with self.proxy.logged_in() as classic:
            self.assertStatus(classic.attach("classic"), "OK")
            self.assertStatus(self.session().resize("classic", MIB, shrink=True), "IN_USE")
            # It may grow, of which the client hears when it attaches anew.
            self.assertStatus(self.session().resize("classic", 4 * MIB), "OK")
            self.assertStatus(classic.write(2 * MIB, b"x"), "INVALID_REQUEST")
            self.assertStatus(classic.write(2 * MIB - 1, b"x"), "OK")

    def test_shrink_under_load(self):
        """What is let through before is over before the data are cut; what comes later is refused."""
        self.proxy.create("load", 8 * MIB)
        writer, other = self.session(), self.session()
        writer.attach_lease("load")
        ends, stop = set(), threading.Event()

        def write():
            while not stop.is_set():
                batch = [writer.send("WRITE", struct.pack(">Q", i * MIB) + bytes([i + 1]) * 65536) for i in range(8)]
                for i, sequence in enumerate(batch):
                    ends.add((i, writer.wait(sequence).status))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for size in (4, 8, 4, 8, 4):
                self.assertStatus(other.resize("load", size * MIB, shrink=True), "OK")
                self.check_file_size("load", size * MIB)
        finally:
            stop.set()
            thread.join(20)
        self.check_file_size("load", 4 * MIB)
        self.assertTrue({status for _, status in ends} <= {"OK", "RESIZED", "TEMPORARY_ERROR"}, ends)
        self.assertFalse(any(status == "RESIZED" for i, status in ends if i < 4), ends)
        self.assertIn((7, "RESIZED"), ends)

    def test_through_another_proxy(self):
        self.proxy.create("two", MIB)
        with Proxy(store=self.proxy.store).start() as other:
            here = self.session()
            lease = Lease(here.attach_lease("two").payload)
            with other.modern(machine=b"o" * 16) as there:
                self.assertEqual(sizes(there.resize("two", 2 * MIB)), (2 * MIB, 1))
                self.assertEqual(self.notice(here), (2, 0, 2 * MIB, 1))
                self.assertStatus(here.resume("two", lease.token, lease.generation), "OK")
                self.assertStatus(here.write(2 * MIB - 1, b"x"), "OK")
                self.assertStatus(there.resize("two", MIB, shrink=True), "IN_USE")
            # The same machine may; the image is taken over for it, and given back by whoever asks next.
            with other.modern() as there:
                self.assertEqual(sizes(there.resize("two", MIB, shrink=True)), (MIB, 2))
            self.assertStatus(here.write(0, b"x"), "USE_ANOTHER_PROXY")
            again = Lease(here.resume("two", lease.token, lease.generation).payload)
            self.assertEqual((again.size, again.size_epoch), (MIB, 2))
            self.assertStatus(here.write(MIB - 1, b"x"), "OK")

    def test_without_notices(self):
        self.proxy.create("deaf", MIB)
        deaf = self.session(caps=ALL_CAPS & ~CAP_NOTICE)
        lease = Lease(deaf.attach_lease("deaf").payload)
        self.assertStatus(self.session().resize("deaf", 2 * MIB), "OK")
        self.assertStatus(deaf.write(MIB, b"x"), "RESIZED")
        self.assertStatus(deaf.resume("deaf", lease.token, lease.generation), "OK")
        self.assertStatus(deaf.write(MIB, b"x"), "OK")
        self.assertEqual([p for p in deaf.pushed if p.op == 1002], [])

    def test_snapshots(self):
        self.proxy.create("life", MIB)
        c = self.session()
        self.assertEqual(c.copy("SNAPSHOT", "life", "small"), "OK")
        self.assertStatus(c.resize("life", 2 * MIB), "OK")
        self.assertNotEqual(c.resize("life@small", 2 * MIB).status, "OK")
        # The size comes back with the content, and is another one than before.
        self.assertEqual(c.copy("ROLL_BACK", "life", "small"), "OK")
        self.check_record("life", MIB, 2)
        lease = Lease(c.attach_lease("life").payload)
        self.assertEqual((lease.size, lease.size_epoch), (MIB, 2))
