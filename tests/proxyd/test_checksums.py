# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images with checksums: what was damaged on the disk is an error, and named, whoever asks for it."""

import os
import threading

from case import Case
from test_hold import Pair, TOKEN

BLOCK = 4096
MiB = 1 << 20
THREADS = 8  # FILE_SUM_THREADS
OLD_CAPS = 0x1FFF


def flip(proxy, image, offset):
    with open(os.path.join(proxy.store, "images", image, "data"), "r+b", buffering=0) as data:
        byte = os.pread(data.fileno(), 1, offset)
        os.pwrite(data.fileno(), bytes([byte[0] ^ 4]), offset)


def warm_up(cls):
    """The threads for checksums are made with the first request that needs them, and stay."""
    with cls.proxy.modern() as c:
        c.create("first", MiB, checksums=True)
        c.attach_lease("first")
        c.read(0, BLOCK)
        c.detach()
    cls.descriptors = sorted(cls.descriptors + ["anon_inode:"] * THREADS)


class Damage(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        warm_up(cls)

    def image(self, name, size=4 * MiB):
        with self.proxy.modern() as c:
            self.assertStatus(c.create(name, size, checksums=True), "OK")

    def test_damage_is_an_error(self):
        self.image("vm")
        with self.proxy.modern() as c:
            c.attach_lease("vm")
            self.assertStatus(c.write(0, b"x" * MiB), "OK")
            self.assertStatus(c.flush(), "OK")
            flip(self.proxy, "vm", 17 * BLOCK + 99)
            self.assertStatus(c.read(16 * BLOCK, 4 * BLOCK), "DAMAGED")
            self.assertEqual(c.read(16 * BLOCK, 4 * BLOCK).payload, b"")
            self.assertStatus(c.write(17 * BLOCK + 512, b"y" * 512), "DAMAGED")
            self.assertEqual(c.read(16 * BLOCK, BLOCK).payload, b"x" * BLOCK)
            self.assertIn(f"The block at byte {17 * BLOCK} of vm does not agree with its checksum", self.proxy.log())
            # A whole block is new.
            self.assertStatus(c.write(17 * BLOCK, b"z" * BLOCK, fua=True), "OK")
            self.assertEqual(c.read(17 * BLOCK, BLOCK).payload, b"z" * BLOCK)

    def test_who_has_never_heard_of_it(self):
        self.image("old")
        with self.proxy.logged_in() as c:
            c.attach("old")
            self.assertStatus(c.write(0, b"x" * BLOCK), "OK")
            flip(self.proxy, "old", 0)
            self.assertStatus(c.read(0, 1), "PERMANENT_ERROR")
        with self.proxy.modern(caps=OLD_CAPS) as c:
            self.assertStatus(c.create("never", MiB, checksums=True), "INVALID_REQUEST")

    def test_killed_while_writing(self):
        """Whatever was on its way is there or not, and no damage."""
        self.image("killed", 16 * MiB)
        for round in range(4):
            with self.proxy.modern() as c:
                c.attach_lease("killed", steal=True)
                for i in range(40):
                    c.send("WRITE", (i * 300000 + round * 512).to_bytes(8, "big") + bytes([round + 1]) * 200000)
                self.proxy.process.kill()
                self.proxy.process.wait()
            self.proxy.start()
            with self.proxy.modern() as c:
                c.attach_lease("killed", steal=True)
                for i in range(16):
                    self.assertStatus(c.read(i * MiB, MiB), "OK")
                self.assertStatus(c.write(0, b"n" * 16 * MiB), "OK")
                self.assertStatus(c.flush(), "OK")
        flip(self.proxy, "killed", 5 * MiB)
        with self.proxy.modern() as c:
            c.attach_lease("killed", steal=True)
            self.assertStatus(c.read(5 * MiB, 512), "DAMAGED")


class Shared(Pair):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        warm_up(cls)

    def test_reader_at_another_proxy(self):
        """Reads there, while it is written here: never an error, and never half of a write."""
        with self.proxy.modern() as c:
            self.assertStatus(c.create("shared", MiB, checksums=True), "OK")
        writer = self.proxy.modern()
        self.addCleanup(writer.close)
        token = writer.attach_lease("shared").payload[TOKEN]
        self.assertStatus(writer.write(0, b"\1" * MiB), "OK")
        reader = self.other.modern()
        self.addCleanup(reader.close)
        self.assertStatus(reader.attach_lease("shared", read_only=True), "OK")
        stop = threading.Event()
        failed = []

        def write():
            n = 0
            while not stop.is_set():
                n += 1
                reply = writer.write(n % 64 * BLOCK, bytes([n % 255 + 1]) * 8 * BLOCK)
                if reply.status != "OK" or (n % 10 == 0 and writer.flush().status != "OK"):
                    failed.append(reply.status)

        thread = threading.Thread(target=write)
        thread.start()
        for i in range(200):
            reply = reader.read(i % 32 * BLOCK, 32 * BLOCK)
            if reply.status != "OK":
                failed.append(reply.status)
        stop.set()
        thread.join()
        self.assertEqual(failed, [])

        # It goes to the other proxy, and is what it was.
        self.assertStatus(writer.flush(), "OK")
        flip(self.proxy, "shared", 80 * BLOCK)
        client = self.other.modern()
        self.addCleanup(client.close)
        self.assertStatus(client.resume("shared", token, 1), "OK")
        self.assertStatus(client.read(80 * BLOCK, BLOCK), "DAMAGED")
        self.assertStatus(client.write(0, b"2" * MiB), "OK")
        self.assertStatus(client.read(80 * BLOCK, BLOCK), "OK")
