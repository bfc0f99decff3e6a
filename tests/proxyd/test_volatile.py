# SPDX-License-Identifier: LGPL-2.1-or-later
"""What needs a store that loses power, that fails a sync once, or that keeps a change in hand: durability, its identity, and the ghost write of a cut session."""

import select
import struct

from case import Case
from client import Identity, Lease

BLOCK = 4096


class Volatile(Case):
    store_type = "volatile"

    def lease(self, client, name):
        reply = client.attach_lease(name)
        self.assertStatus(reply, "OK")
        return Lease(reply.payload)

    def held(self, offset, length):
        """Changes of that range stay in hand until the end of the test, or release()."""
        self.proxy.inject("hold-writes", f"{offset} {length}")
        self.holding = True
        self.addCleanup(self.release)

    def release(self):
        if self.holding:
            self.proxy.stop_injecting("hold-writes")
        self.holding = False

    def silent(self, client):
        """What is asked behind something that waits gets no answer either; another session shows that the proxy lives."""
        with self.proxy.modern() as other:
            self.assertStatus(other.call("KEEPALIVE"), "OK")
        while select.select([client.socket], [], [], 0.2)[0]:
            reply = client.receive()
            self.assertEqual(reply.sequence, 0, reply)

    def test_power_cut(self):
        self.proxy.create("power")
        with self.proxy.modern() as c:
            before = self.lease(c, "power")
            self.assertStatus(c.write(0, b"a" * BLOCK), "OK")
            self.assertStatus(c.write(BLOCK, b"b" * 100), "OK")
            self.assertStatus(c.write_zeroes(3 * BLOCK, BLOCK), "OK")
            self.assertStatus(c.flush(), "OK")
            for offset, data in ((0, b"A" * BLOCK), (BLOCK + 50, b"B" * 100), (2 * BLOCK, b"C" * BLOCK)):
                self.assertStatus(c.write(offset, data), "OK")
            self.assertStatus(c.write(2 * BLOCK + 10, b"fua", fua=True), "OK")
            self.assertStatus(c.write(3 * BLOCK, b"D"), "OK")
            self.assertEqual(c.read(0, BLOCK + 150).payload, b"A" * BLOCK + b"b" * 50 + b"B" * 100)
            self.assertEqual(c.read(2 * BLOCK, BLOCK).payload, b"C" * 10 + b"fua" + b"C" * (BLOCK - 13))
            self.proxy.power_cut()
        with self.proxy.modern() as c:
            after = Lease(c.resume("power", before.token, before.generation).payload)
            self.assertEqual(c.read(0, 2 * BLOCK).payload, b"a" * BLOCK + b"b" * 100 + bytes(BLOCK - 100))
            self.assertEqual(c.read(2 * BLOCK, 2 * BLOCK).payload, bytes(10) + b"fua" + bytes(2 * BLOCK - 13))
            self.assertNotEqual(after.boot_id, before.boot_id)
            self.assertNotEqual(after.mount_instance, before.mount_instance)
            self.assertEqual(after.store_uuid, before.store_uuid)
            self.assertEqual(c.greeting.payload[32:48], after.boot_id)
            self.assertEqual(c.flush().payload, after.identity)

    def test_a_stop_is_no_power_cut(self):
        self.proxy.create("stopped")
        with self.proxy.leased("stopped") as c:
            self.assertStatus(c.write(0, b"s" * BLOCK), "OK")
        self.assertEqual(self.proxy.stop(), 0)
        self.proxy.start()
        with self.proxy.leased("stopped") as c:
            self.assertEqual(c.read(0, BLOCK).payload, b"s" * BLOCK)

    def test_failed_flush(self):
        self.proxy.create("failing")
        with self.proxy.modern() as c:
            lease = self.lease(c, "failing")
            self.assertStatus(c.write(0, b"kept"), "OK")
            self.proxy.inject("fail-flush", "2")
            self.assertStatus(c.flush(), "OK")
            self.assertStatus(c.write(0, b"lost"), "OK")
            reply = c.flush()
            self.assertStatus(reply, "PERMANENT_ERROR")
            failed = Identity(reply.payload)
            self.assertEqual(failed.error_epoch, lease.error_epoch + 1)
            self.assertEqual((failed.boot_id, failed.store_uuid, failed.mount_instance),
                             (lease.boot_id, lease.store_uuid, lease.mount_instance))
            # As the kernel does it: reported once, still to be read, and not on the disk.
            self.assertEqual(c.read(0, 4).payload, b"lost")
            reply = c.flush()
            self.assertStatus(reply, "OK")
            self.assertEqual(reply.payload, failed.bytes)
        self.proxy.power_cut()
        with self.proxy.modern() as c:
            after = self.lease(c, "failing")
            self.assertEqual(after.error_epoch, failed.error_epoch)
            self.assertEqual(c.read(0, 4).payload, b"kept")

    def test_failed_durable_write(self):
        self.proxy.create("failing-fua")
        with self.proxy.modern() as c:
            lease = self.lease(c, "failing-fua")
            for write in (lambda: c.write(0, b"fua" * 100, fua=True), lambda: c.write_zeroes(0, BLOCK, fua=True)):
                self.proxy.inject("fail-fua")
                reply = write()
                self.assertStatus(reply, "PERMANENT_ERROR")
                self.assertEqual(Identity(reply.payload).error_epoch, lease.error_epoch + 1)
                lease.error_epoch += 1
                self.assertStatus(write(), "OK")

    def test_ghost_write(self):
        """W1 is stuck in the proxy, its session is cut; the fence is not answered while it could still land over W2."""
        self.proxy.create("ghost")
        with self.proxy.modern() as cut, self.proxy.modern() as heir:
            lease = self.lease(cut, "ghost")
            self.assertStatus(heir.resume("ghost", lease.token, lease.generation), "OK")
            self.held(0, BLOCK)
            cut.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            cut.send("WRITE_FUA", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(cut.call("KEEPALIVE"), "OK")
            cut.close()
            fence = heir.send("FENCE", lease.token + struct.pack(">Q", lease.generation))
            self.silent(heir)
            self.assertEqual(self.proxy.record("ghost")["generation"], lease.generation + 1)
            self.release()
            self.assertStatus(heir.wait(fence), "OK")
            self.assertEqual(heir.read(0, BLOCK).payload, b"1" * BLOCK)
            self.assertStatus(heir.write(0, b"2" * BLOCK, fua=True), "OK")
            self.assertEqual(heir.read(0, BLOCK).payload, b"2" * BLOCK)

    def test_ghost_write_of_a_living_sister(self):
        self.proxy.create("frozen")
        with self.proxy.modern() as frozen, self.proxy.modern() as heir:
            lease = self.lease(frozen, "frozen")
            self.assertStatus(heir.resume("frozen", lease.token, lease.generation), "OK")
            self.held(0, BLOCK)
            ghost = frozen.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(frozen.call("KEEPALIVE"), "OK")
            fence = heir.send("FENCE", lease.token + struct.pack(">Q", lease.generation))
            self.silent(heir)
            # It wants back, with what it has in hand: that has to be over first, or the fence would lose sight of it.
            again = frozen.send("RESUME", struct.pack(">II", 0, 0) + lease.token +
                                struct.pack(">QQ", lease.generation + 1, 0) + b"frozen".ljust(256, b"\0"))
            self.silent(frozen)
            self.silent(heir)
            self.release()
            self.assertStatus(frozen.wait(ghost), "OK")
            self.assertStatus(heir.wait(fence), "OK")
            self.assertStatus(frozen.wait(again), "OK")

    def test_its_own_changes_do_not_hold_a_fence_up(self):
        self.proxy.create("busy")
        with self.proxy.modern() as c:
            lease = self.lease(c, "busy")
            self.held(0, BLOCK)
            stuck = c.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(c.fence(lease.token, lease.generation), "OK")
            self.release()
            self.assertStatus(c.wait(stuck), "OK")

    def test_resume_waits_for_a_cut_session(self):
        self.proxy.create("cut")
        with self.proxy.modern() as cut, self.proxy.modern() as heir:
            lease = self.lease(cut, "cut")
            self.held(0, BLOCK)
            cut.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(cut.call("KEEPALIVE"), "OK")
            connected = self.proxy.descriptors()
            cut.close()
            connected.remove("socket:")
            self.assertEqual(self.proxy.wait_descriptors(connected), connected)
            again = heir.send("RESUME", struct.pack(">II", 0, 0) + lease.token +
                              struct.pack(">QQ", lease.generation, 0) + b"cut".ljust(256, b"\0"))
            self.silent(heir)
            self.release()
            self.assertStatus(heir.wait(again), "OK")

    def test_who_fences_goes_away(self):
        self.proxy.create("left")
        with self.proxy.modern() as cut, self.proxy.modern() as gone, self.proxy.modern() as heir:
            lease = self.lease(cut, "left")
            self.assertStatus(gone.resume("left", lease.token, lease.generation), "OK")
            self.held(0, BLOCK)
            cut.send("WRITE", struct.pack(">Q", 0) + b"1" * BLOCK)
            self.assertStatus(cut.call("KEEPALIVE"), "OK")
            gone.send("FENCE", lease.token + struct.pack(">Q", lease.generation))
            self.silent(gone)
            gone.close()
            cut.close()
            self.assertStatus(heir.resume("left", lease.token, lease.generation), "EXPIRED")
            again = heir.send("RESUME", struct.pack(">II", 0, 0) + lease.token +
                              struct.pack(">QQ", lease.generation + 1, 0) + b"left".ljust(256, b"\0"))
            self.silent(heir)
            self.release()
            self.assertStatus(heir.wait(again), "OK")
