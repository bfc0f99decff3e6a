# SPDX-License-Identifier: LGPL-2.1-or-later
"""Renames, snapshots, clones and roll backs: over the wire, beside writers and beside other proxies, cancelled, and with the proxy killed at each named point of them."""

import json
import os
import struct
import subprocess
import threading
import time
import unittest

from case import Case
from client import Lease
from proxy import CEPH_CONF, DEADLINE, Proxy, namespace_of, needs_files, padded, rbd
from test_hold import until
from test_points import has_points

MiB = 1 << 20


def block(number):
    return struct.pack(">Q", number) * 512


def again(act, what):
    """Until act says that it was there in the middle of a copy; on a slow machine that may be over before anybody comes."""
    end = time.monotonic() + DEADLINE
    while not act():
        if time.monotonic() > end:
            raise AssertionError(f"never in the middle: {what}")


def write_all(client, size, byte):
    """Data everywhere, so that copying takes its time."""
    for offset in range(0, size, 8 * MiB):
        assert client.write(offset, byte * min(8 * MiB, size - offset)).status == "OK"


class Lifecycle(Case):
    def leftovers(self):
        return self.proxy.hidden()

    def content(self, name, offset=0, length=4096, proxy=None):
        with (proxy or self.proxy).modern() as c:
            self.assertStatus(c.attach_lease(name, read_only=True), "OK")
            return c.read(offset, length).payload

    def test_preallocated(self):
        with self.proxy.modern() as c:
            if CEPH_CONF:
                self.assertStatus(c.create("thick", 4 * MiB, preallocate=True), "NOT_SUPPORTED")
                self.assertStatus(c.begin_preallocation("thick", 4 * MiB, checksums=True)[0], "NOT_SUPPORTED")
                self.assertNotIn("thick", c.list())
                return
            reply, job = c.begin_preallocation("thick-1", 4 * MiB)
            self.assertStatus(reply, "OK")
            self.assertIsNone(job)
            self.assertEqual(reply.payload[16:32], c.list()["thick-1"]["uuid"])
            self.assertStatus(c.create("thick", 4 * MiB, preallocate=True), "OK")
            self.assertGreaterEqual(c.list()["thick"]["used"], 4 * MiB)
            self.assertIn(c.create("too-thick", 1 << 50, preallocate=True).status, ("NO_SPACE",))
            self.assertNotIn("too-thick", c.list())
            self.assertEqual(self.leftovers(), [])

    @unittest.skipUnless(CEPH_CONF, "files have their space at once")
    def test_preallocated_in_a_cluster(self):
        size = 40 * MiB + 512
        with self.proxy.modern() as c, self.proxy.modern() as other:
            reply, job = c.begin_preallocation("thick", size)
            self.assertStatus(reply, "OK")
            done = c.wait_job(job) if job else None
            if done:
                self.assertEqual((done.status, done.total), ("OK", size))
                self.assertEqual(done.uuid, c.list()["thick"]["uuid"])
            else:
                self.assertEqual(reply.payload[16:32], c.list()["thick"]["uuid"])
            self.assertEqual(c.list()["thick"]["used"], size)
            # Not only in the map: its objects are there, as large as they get.
            pool = ("--conf", CEPH_CONF, "--pool", "blockstore", "--namespace", namespace_of(self.proxy.store))
            prefix = json.loads(rbd("info", "--format", "json", f"blockstore/{namespace_of(self.proxy.store)}/thick"))["block_name_prefix"]
            found = subprocess.run(("rados",) + pool + ("stat", f"{prefix}.{9:016x}"), check=True, stdout=subprocess.PIPE, text=True)
            self.assertIn(f"size {4 * MiB}", found.stdout)
            self.assertStatus(c.begin_preallocation("thick", MiB)[0], "ALREADY_EXISTS")
            self.assertStatus(c.attach_lease("thick"), "OK")
            self.assertEqual(c.read(size - 4096, 4096).payload, bytes(4096))
            self.assertStatus(c.write(0, block(1)), "OK")
            self.assertStatus(c.detach(), "OK")
            self.assertStatus(c.remove("thick"), "OK")
            self.assertNotIn("thick", c.list())

            # Cancelled in the middle; nobody has seen it.
            reply, job = c.begin_preallocation("thick-2", 1 << 40)
            self.assertStatus(reply, "OK")
            until(lambda: c.job_status(job).done > 0, "the beginning")
            running = c.job_status(job)
            self.assertEqual((running.state, running.total), ("running", 1 << 40))
            self.assertLess(running.done, 1 << 40)
            self.assertNotIn("thick-2", other.list())
            self.assertStatus(other.attach_lease("thick-2"), "NOT_FOUND")
            # The name is still free, and whoever is first has it.
            self.assertStatus(other.create("thick-2", MiB), "OK")
            self.assertStatus(c.call("JOB_CANCEL", job), "OK")
            self.assertEqual(c.wait_job(job).state, "cancelled")
            self.assertEqual(c.list()["thick-2"]["size"], MiB)
            self.assertEqual(self.leftovers(), [])

    @unittest.skipUnless(CEPH_CONF, "about RBD's objects")
    def test_half_a_rename(self):
        """A crash in the middle of RBD's rename leaves two ways to one image: the directory tells which counts."""
        pool = ("rados", "--conf", CEPH_CONF, "--pool", "blockstore", "--namespace", namespace_of(self.proxy.store))
        self.proxy.create("whole")
        found = subprocess.run(pool + ("get", "rbd_id.whole", "-"), check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(pool + ("put", "rbd_id.half", "-"), check=True, input=found)
        with self.proxy.modern() as c:
            self.assertStatus(c.attach_lease("half"), "NOT_FOUND")
            self.assertNotIn("half", c.list())
            self.assertStatus(c.remove("half"), "NOT_FOUND")
            self.assertStatus(c.create("half", MiB), "ALREADY_EXISTS")
            self.assertStatus(c.rename("whole", "half"), "ALREADY_EXISTS")
            subprocess.run(pool + ("rm", "rbd_id.half"), check=True)
            self.assertStatus(c.rename("whole", "half"), "OK")
            self.assertIn("half", c.list())
            self.assertNotIn("whole", c.list())
            self.assertStatus(c.attach_lease("half"), "OK")

    def test_names(self):
        with self.proxy.modern() as c:
            self.assertStatus(c.create("a@b", MiB), "INVALID_REQUEST")
            self.assertStatus(c.create("names", MiB), "OK")
            self.assertStatus(c.rename("names", "a@b"), "INVALID_REQUEST")
            for snapshot in ("", "a@b", ".x", "a/b", "s" * 255):
                self.assertStatus(c.begin_copy("SNAPSHOT", "names", snapshot)[0], "INVALID_REQUEST")
            self.assertEqual(c.copy("SNAPSHOT", "names", "s" * 249), "OK")
            self.assertStatus(c.attach_lease("names@" + "s" * 249, read_only=True), "OK")
            self.assertStatus(c.call("SNAPSHOT", c.change("names", "t", flags=1)), "INVALID_REQUEST")
            self.assertStatus(c.call("SNAPSHOT", b"short"), "INVALID_REQUEST")

    def test_rename(self):
        self.proxy.create("old")
        self.proxy.create("other")
        with self.proxy.leased("old") as writer, self.proxy.modern() as c:
            uuid = c.list()["old"]["uuid"]
            self.assertStatus(writer.write(0, block(7)), "OK")
            self.assertStatus(c.rename("old", "new"), "IN_USE")
            self.assertStatus(writer.detach(), "OK")
            self.assertStatus(c.rename("old", "other"), "ALREADY_EXISTS")
            self.assertStatus(c.rename("old", "new", b"x" * 16), "NOT_FOUND")
            self.assertStatus(c.rename("old", "new", uuid), "OK")
            self.assertStatus(c.rename("old", "new"), "NOT_FOUND")
            self.assertEqual(c.list()["new"]["uuid"], uuid)
            # A lease that was not given back is an attachment, too.
            self.assertStatus(writer.attach_lease("new"), "OK")
        with self.proxy.modern() as c:
            self.assertStatus(c.rename("new", "newer"), "IN_USE")
        self.assertEqual(self.content("new"), block(7))

    def test_snapshot_clone_roll_back(self):
        self.proxy.create("vm", 8 * MiB)
        with self.proxy.leased("vm") as writer, self.proxy.modern() as c:
            self.assertStatus(writer.write(0, block(1)), "OK")
            self.assertEqual(c.copy("SNAPSHOT", "vm", "one"), "OK")
            self.assertEqual(c.copy("SNAPSHOT", "vm", "one"), "ALREADY_EXISTS")
            self.assertEqual(c.copy("SNAPSHOT", "none", "one"), "NOT_FOUND")
            self.assertEqual(c.copy("SNAPSHOT", "vm", "two", uuid=b"x" * 16), "NOT_FOUND")
            self.assertStatus(writer.write(0, block(2)), "OK")
            self.assertEqual(c.copy("ROLL_BACK", "vm", "one"), "IN_USE")
            found = c.snapshots("vm")
            self.assertEqual(list(found), ["one"])
            self.assertEqual(found["one"]["size"], 8 * MiB)
            self.assertFalse(found["one"]["attached"])
            self.assertEqual(c.snapshots("none"), "NOT_FOUND")

            self.assertEqual(c.copy("CLONE_IMAGE", "vm", "one", "copy"), "OK")
            self.assertEqual(c.copy("CLONE_IMAGE", "vm", "one", "copy"), "ALREADY_EXISTS")
            self.assertEqual(c.copy("CLONE_IMAGE", "vm", "none", "copy2"), "NOT_FOUND")
            self.assertNotEqual(c.list()["copy"]["uuid"], c.list()["vm"]["uuid"])
            self.assertEqual(self.content("copy"), block(1))
            self.assertEqual(self.content("vm@one"), block(1))
            self.assertEqual(self.content("vm"), block(2))
            self.assertStatus(writer.detach(), "OK")

            self.assertStatus(c.remove("vm"), "HAS_SNAPSHOTS")
            self.assertEqual(c.copy("ROLL_BACK", "vm", "one"), "OK")
            self.assertEqual(self.content("vm"), block(1))
            with self.proxy.leased("vm") as again:
                self.assertStatus(again.write(4096, block(3)), "OK")
                self.assertStatus(again.flush(), "OK")
                self.assertStatus(again.detach(), "OK")
            self.assertEqual(self.content("vm@one", 4096), bytes(4096))
            self.assertStatus(c.remove("vm", snapshots=True), "OK")
            self.assertStatus(c.remove("copy"), "OK")
            self.assertEqual(self.leftovers(), [])

    def test_attached_snapshot(self):
        self.proxy.create("shown")
        with self.proxy.modern() as c, self.proxy.modern() as reader, self.proxy.logged_in() as classic:
            self.assertEqual(c.copy("SNAPSHOT", "shown", "s"), "OK")
            self.assertStatus(reader.attach_lease("shown@s"), "READ_ONLY")
            self.assertStatus(reader.attach_lease("shown@none", read_only=True), "NOT_FOUND")
            reply = reader.attach_lease("shown@s", read_only=True)
            self.assertStatus(reply, "OK")
            self.assertTrue(Lease(reply.payload).read_only)
            self.assertEqual(Lease(reply.payload).uuid, c.snapshots("shown")["s"]["uuid"])
            self.assertStatus(reader.write(0, block(1)), "READ_ONLY")
            self.assertStatus(reader.trim(0, 4096), "READ_ONLY")
            self.assertStatus(reader.flush(), "OK")
            self.assertStatus(classic.attach("shown@s"), "OK")
            self.assertStatus(classic.write(0, block(1)), "READ_ONLY")
            self.assertStatus(classic.read(0, 4096), "OK")
            self.assertTrue(c.snapshots("shown")["s"]["attached"])
            self.assertStatus(c.remove_snapshot("shown", "s"), "IN_USE")
            self.assertStatus(c.remove("shown", snapshots=True), "IN_USE")
            self.assertStatus(c.rename("shown", "hidden"), "IN_USE")
            classic.close()
            self.assertStatus(reader.detach(), "OK")
            until(lambda: c.remove_snapshot("shown", "s").status == "OK", "the snapshot's end")
            self.assertEqual(c.snapshots("shown"), {})

    def test_rights(self):
        for name in ("vm-r", "open-r", "shut-r"):
            self.proxy.create(name)
        with self.proxy.modern() as admin, self.proxy.modern("writer") as writer, self.proxy.modern("reader") as reader:
            self.assertEqual(writer.copy("SNAPSHOT", "vm-r", "s"), "OK")
            self.assertEqual(writer.copy("SNAPSHOT", "open-r", "s"), "PERMISSION_DENIED")
            for name in ("open-r", "shut-r"):
                self.assertEqual(admin.copy("SNAPSHOT", name, "s"), "OK")
            self.assertEqual(reader.copy("CLONE_IMAGE", "open-r", "s", "open-2"), "PERMISSION_DENIED")
            self.assertEqual(writer.copy("CLONE_IMAGE", "open-r", "s", "vm-2"), "OK")
            self.assertEqual(writer.copy("CLONE_IMAGE", "shut-r", "s", "vm-3"), "PERMISSION_DENIED")
            self.assertEqual(writer.copy("ROLL_BACK", "open-r", "s"), "PERMISSION_DENIED")
            self.assertStatus(writer.rename("vm-2", "open-2"), "PERMISSION_DENIED")
            self.assertStatus(writer.rename("vm-2", "vm-4"), "OK")
            self.assertStatus(writer.remove_snapshot("open-r", "s"), "PERMISSION_DENIED")
            self.assertEqual(list(reader.snapshots("open-r")), ["s"])
            self.assertEqual(reader.snapshots("vm-r"), "PERMISSION_DENIED")
            self.assertStatus(reader.attach_lease("open-r@s", read_only=True), "OK")
            self.assertStatus(writer.attach_lease("shut-r@s", read_only=True), "PERMISSION_DENIED")
            self.assertStatus(writer.attach_lease("vm-r@s", read_only=True), "OK")

    def test_crash_consistent_beside_a_writer(self):
        """Two blocks, at the two ends, written one after the other: the snapshot has the second only with the first. And the writer goes on while the snapshot is copied."""
        size, rounds = 96 * MiB, []
        self.proxy.create("busy", size)
        with self.proxy.leased("busy") as writer, self.proxy.modern() as c:
            write_all(writer, size, b"x")
            stop = threading.Event()

            def write():
                number = 0
                while not stop.is_set():
                    number += 1
                    assert writer.write(size - 4096, block(number)).status == "OK"
                    assert writer.write(0, block(number)).status == "OK"
                    middle = number * 7919 % (size // MiB - 2) * MiB + MiB
                    assert writer.write_zeroes(middle, 4096).status == "OK"
                    if number % 16 == 0:
                        assert writer.flush().status == "OK"
                    rounds.append(number)

            def beside_the_writer(name):
                """Makes a snapshot; whether something was written meanwhile."""
                before = len(rounds)
                reply, job = c.begin_copy("SNAPSHOT", "busy", name)
                self.assertStatus(reply, "OK")
                if not job:
                    return True  # there was nothing to wait for
                self.assertEqual(c.wait_job(job).status, "OK")
                if len(rounds) == before:
                    self.assertStatus(c.remove_snapshot("busy", name), "OK")
                return len(rounds) > before

            thread = threading.Thread(target=write)
            thread.start()
            try:
                until(lambda: rounds, "a first round")
                for i in range(4):
                    again(lambda: beside_the_writer(f"s{i}"), "a write while it is copied")
            finally:
                stop.set()
                thread.join()
            previous = 0
            for i in range(4):
                first, = struct.unpack(">Q", self.content(f"busy@s{i}", size - 4096)[:8])
                second, = struct.unpack(">Q", self.content(f"busy@s{i}", 0)[:8])
                self.assertIn(first - second, (0, 1), f"snapshot {i}")
                self.assertGreaterEqual(second, previous)
                previous = second
                # What was written later is not in it.
                with self.proxy.modern() as reader:
                    self.assertStatus(reader.attach_lease(f"busy@s{i}", read_only=True), "OK")
                    for offset in range(MiB, size - MiB, 8 * MiB):
                        data = reader.read(offset + 8192, MiB).payload
                        self.assertEqual(set(data[:MiB - 8192]), {ord("x")})
            self.assertStatus(writer.detach(), "OK")
            self.assertStatus(c.remove("busy", snapshots=True), "OK")

    def test_cancel(self):
        size = 192 * MiB
        self.proxy.create("long", size)
        with self.proxy.leased("long") as writer, self.proxy.modern() as c:
            write_all(writer, size, b"y")
            job = None

            def cancel():
                nonlocal job
                reply, job = c.begin_copy("SNAPSHOT", "long", "s")
                self.assertStatus(reply, "OK")
                if not job:
                    self.skipTest("nothing is copied: the store shares storage")
                running = c.job_status(job)
                # One at a time.
                second, other = c.begin_copy("SNAPSHOT", "long", "t")
                cancelled = c.call("JOB_CANCEL", job)
                if c.wait_job(job).status == "OK":
                    if other:
                        c.wait_job(other)
                    for name in c.snapshots("long"):
                        self.assertStatus(c.remove_snapshot("long", name), "OK")
                    return False
                self.assertEqual((running.state, running.total), ("running", size))
                self.assertLess(running.done, size)
                self.assertStatus(second, "NOT_READY")
                self.assertStatus(cancelled, "OK")
                self.assertEqual(c.job_status(job).state, "cancelled")
                return True

            again(cancel, "a snapshot that is cancelled")
            self.assertEqual(c.snapshots("long"), {})
            self.assertEqual(self.leftovers(), [])
            self.assertStatus(writer.write(0, block(1)), "OK")
            self.assertEqual(c.job_status(b"j" * 16).status, "NOT_FOUND")
            self.assertStatus(c.call("JOB_CANCEL", b"j" * 16), "NOT_FOUND")
            with self.proxy.modern("reader") as other:
                self.assertEqual(other.job_status(job).status, "NOT_FOUND")
            self.assertEqual(c.copy("SNAPSHOT", "long", "t"), "OK")
            self.assertStatus(writer.detach(), "OK")

            def cancel_a_clone():
                reply, job = c.begin_copy("CLONE_IMAGE", "long", "t", "long-2")
                self.assertStatus(reply, "OK")
                removed = c.remove_snapshot("long", "t")
                cancelled = c.call("JOB_CANCEL", job)
                if c.wait_job(job).status == "OK":
                    if removed.status == "OK":
                        self.assertEqual(c.copy("SNAPSHOT", "long", "t"), "OK")
                    self.assertStatus(c.remove("long-2"), "OK")
                    return False
                self.assertStatus(removed, "IN_USE")
                self.assertStatus(cancelled, "OK")
                self.assertEqual(c.job_status(job).state, "cancelled")
                return True

            again(cancel_a_clone, "a clone that is cancelled")
            self.assertNotIn("long-2", c.list())

            def come_in_between():
                _, job = c.begin_copy("ROLL_BACK", "long", "t")
                self.assertStatus(writer.attach_lease("long"), "OK")
                status = c.wait_job(job).status
                if status == "OK":
                    self.assertStatus(writer.detach(), "OK")
                    return False
                self.assertEqual(status, "IN_USE")
                return True

            again(come_in_between, "a roll back")
            self.assertEqual(writer.read(0, 4096).payload, block(1))
            self.assertEqual(self.leftovers(), [])
            self.assertStatus(writer.detach(), "OK")
            self.assertStatus(c.remove("long", snapshots=True), "OK")

    def test_several_proxies(self):
        other = Proxy(store=self.proxy.store).start()
        self.addCleanup(other.remove)
        self.addCleanup(other.stop)
        self.proxy.create("shared")
        with self.proxy.modern() as c, other.modern() as there, other.modern() as reader:
            self.assertEqual(c.copy("SNAPSHOT", "shared", "s"), "OK")
            # Who only reads is known to the other proxies, too.
            self.assertStatus(reader.attach_lease("shared@s", read_only=True), "OK")
            self.assertStatus(c.remove_snapshot("shared", "s"), "IN_USE")
            self.assertStatus(reader.detach(), "OK")
            self.assertStatus(reader.attach_lease("shared", read_only=True), "OK")
            self.assertStatus(c.remove("shared", snapshots=True), "IN_USE")
            self.assertStatus(c.rename("shared", "renamed"), "IN_USE")
            self.assertEqual(c.copy("ROLL_BACK", "shared", "s"), "IN_USE")
            self.assertStatus(reader.detach(), "OK")
            until(lambda: c.rename("shared", "renamed").status == "OK", "the reader's end")
            self.assertIn("renamed", there.list())
            self.assertEqual(list(there.snapshots("renamed")), ["s"])
            self.assertStatus(there.attach_lease("renamed"), "OK")
            self.assertStatus(there.detach(), "OK")

    def test_made_by_the_holder(self):
        """Asked of another proxy than the one that the image is written through: the writer notices nothing."""
        size = 64 * MiB
        other = Proxy(store=self.proxy.store).start()
        self.addCleanup(other.remove)
        self.addCleanup(other.stop)
        self.proxy.create("held", size)
        with self.proxy.leased("held") as writer, other.modern() as c, other.modern("reader") as stranger:
            write_all(writer, size, b"h")
            self.assertStatus(writer.write(0, block(1)), "OK")
            self.assertEqual(c.copy("SNAPSHOT", "held", "s"), "OK")
            self.assertStatus(writer.write(0, block(2)), "OK")
            self.assertEqual(c.copy("SNAPSHOT", "held", "s"), "ALREADY_EXISTS")
            self.assertEqual(list(c.snapshots("held")), ["s"])
            self.assertEqual(self.content("held@s", proxy=other), block(1))
            self.assertEqual(stranger.copy("SNAPSHOT", "held", "t"), "PERMISSION_DENIED")
            self.assertEqual(self.proxy.log().count("taken over"), 0)

            if CEPH_CONF:
                return  # It is over as soon as it has begun.
            # Hanging up is how it is cancelled.
            c.send("SNAPSHOT", c.change("held", "t"))
            until(lambda: self.leftovers() or os.path.exists(
                os.path.join(self.proxy.store, "images", "held", "snapshots", "t")), "the copy's beginning")
            other.kill()
            until(lambda: not self.leftovers(), "the end of what nobody wants")
            self.assertStatus(writer.write(0, block(3)), "OK")
            self.assertStatus(writer.detach(), "OK")

    def test_holder_dies(self):
        needs_files("nothing is copied in a cluster: a snapshot is made at one moment, by any proxy")
        holder = Proxy(store=self.proxy.store).start()
        self.addCleanup(holder.remove)
        self.addCleanup(holder.notify.close)
        self.addCleanup(holder.kill)
        holder.create("dying", 192 * MiB)
        with holder.leased("dying") as writer, self.proxy.modern() as c:
            write_all(writer, 192 * MiB, b"d")
            c.send("SNAPSHOT", c.change("dying", "s"))
            sequence = c.sequence
            until(lambda: self.leftovers() or os.path.exists(
                os.path.join(self.proxy.store, "images", "dying", "snapshots", "s")), "the copy's beginning")
            holder.kill()
            reply = c.wait(sequence)
            job = reply.payload[:16] if reply.status == "OK" and any(reply.payload[:16]) else None
            status = c.wait_job(job).status if job else reply.status
            self.assertIn(status, ("OK", "USE_ANOTHER_PROXY"))
            self.assertEqual("s" in c.snapshots("dying"), status == "OK")

    def test_another_proxy_takes_the_image(self):
        """The clients' I/O goes first: a snapshot that is being copied is given up."""
        size = 192 * MiB
        other = Proxy(store=self.proxy.store).start()
        self.addCleanup(other.remove)
        self.addCleanup(other.stop)
        self.proxy.create("moving", size)
        with self.proxy.modern() as writer, self.proxy.modern() as c, other.modern() as next_writer:
            lease = Lease(writer.attach_lease("moving").payload)
            write_all(writer, size, b"z")

            def move():
                _, job = c.begin_copy("SNAPSHOT", "moving", "s")
                if not job:
                    self.skipTest("nothing is copied: the store shares storage")
                self.assertStatus(next_writer.resume("moving", lease.token, lease.generation), "OK")
                self.assertStatus(next_writer.write(0, block(9)), "OK")
                status = c.wait_job(job).status
                if status == "OK":
                    self.assertStatus(c.remove_snapshot("moving", "s"), "OK")
                    self.assertStatus(writer.resume("moving", lease.token, lease.generation), "OK")
                    return False
                self.assertEqual(status, "USE_ANOTHER_PROXY")
                return True

            again(move, "a snapshot that is given up")
            self.assertEqual(c.snapshots("moving"), {})
            self.assertEqual(self.leftovers(), [])
            self.assertStatus(next_writer.detach(), "OK")


class Stop(unittest.TestCase):
    def test_while_copying(self):
        """What is under way has never been."""
        proxy = Proxy().start()
        self.addCleanup(proxy.remove)
        proxy.create("image", 192 * MiB)
        with proxy.leased("image") as writer:
            write_all(writer, 192 * MiB, b"w")
            self.assertEqual(writer.copy("SNAPSHOT", "image", "s"), "OK")
            self.assertEqual(writer.detach().status, "OK")
        with proxy.modern() as c:
            _, job = c.begin_copy("CLONE_IMAGE", "image", "s", "clone")
            _, job = c.begin_copy("ROLL_BACK", "image", "s")
        self.assertEqual(proxy.stop(), 0, proxy.log()[-3000:])
        if job:
            self.assertEqual(proxy.hidden(), [])


def make_old(proxy, name):
    """As if the image had been made at the beginning of 1970."""
    namespace = namespace_of(proxy.store)
    header = "rbd_header." + json.loads(rbd("info", "--format", "json", f"blockstore/{namespace}/{name}"))["id"]
    subprocess.run(["rados", "--conf", CEPH_CONF, "--pool", "blockstore", "--namespace", namespace, "setomapval", header, "create_timestamp"],
                   input=bytes(8), check=True, timeout=DEADLINE)  # fmt: skip


def end_watches(proxy, name):
    """Of clients that died. By itself Ceph waits half a minute for them."""
    found = json.loads(rbd("status", "--format", "json", f"blockstore/{namespace_of(proxy.store)}/{name}"))["watchers"]
    for watcher in found:
        subprocess.run(["ceph", "--conf", CEPH_CONF, "osd", "blocklist", "add", watcher["address"]], check=True, timeout=DEADLINE,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


@unittest.skipUnless(has_points(), "this build has no fault points")
class Killed(unittest.TestCase):
    """At each named point, by another proxy that was there before, and by one that starts after."""

    def proxy(self, **more):
        proxy = Proxy(**more).start()
        self.addCleanup(proxy.remove)
        self.addCleanup(proxy.notify.close)
        self.addCleanup(proxy.kill)
        return proxy

    def one(self, point, op, done):
        other = self.proxy()
        other.create("image")
        with other.leased("image") as c:
            self.assertEqual(c.write(0, block(1)).status, "OK")
            self.assertEqual(c.copy("SNAPSHOT", "image", "s"), "OK")
            self.assertEqual(c.write(0, block(2)).status, "OK")
            self.assertEqual(c.detach().status, "OK")
        victim = self.proxy(store=other.store, environment={"BLOCKSTORE_FAULT_POINT": f"{point}=kill"})
        with victim.modern() as c:
            c.send(op, c.change("image", "" if op == "RENAME_IMAGE" else "t" if op == "SNAPSHOT" else "s",
                                "new" if op in ("RENAME_IMAGE", "CLONE_IMAGE") else ""))
            victim.process.wait(DEADLINE)

        def state(proxy):
            with proxy.modern() as c:
                images = c.list()
                name = "image" if "image" in images else "new"
                status = c.attach_lease(name, read_only=True).status
                if CEPH_CONF and status == "TEMPORARY_ERROR":
                    # For half a minute the one that has died is taken for being about it.
                    until(lambda: c.attach_lease(name, read_only=True).status == "OK", "the end of the roll back")
                else:
                    self.assertEqual(status, "OK")
                content = c.read(0, 4096).payload
                return sorted(images), sorted(c.snapshots(name)), struct.unpack(">Q", content[:8])[0]

        before = (["image"], ["s"], 2)
        after = {"SNAPSHOT": (["image"], ["s", "t"], 2), "CLONE_IMAGE": (["image", "new"], ["s"], 2),
                 "ROLL_BACK": (["image"], ["s"], 1), "RENAME_IMAGE": (["new"], ["s"], 2)}[op]
        self.assertEqual(state(other), after if done else before, f"{op} at {point}")
        third = self.proxy(store=other.store)
        self.assertEqual(state(third), after if done else before, f"{op} at {point}")
        return other

    def test_all(self):
        needs_files("a cluster has points of its own, see below")
        for op, points in (("SNAPSHOT", {"life-begun": False, "life-synced": False, "life-committed": True}),
                           ("CLONE_IMAGE", {"life-begun": False, "life-synced": False, "life-committed": True}),
                           ("ROLL_BACK", {"life-begun": False, "life-synced": False, "life-intended": True,
                                          "life-replaced": True, "life-committed": True}),
                           ("RENAME_IMAGE", {"life-renamed": True})):
            for point, done in points.items():
                with self.subTest(op=op, point=point):
                    self.assertEqual(self.one(point, op, done).hidden(), [])

    @unittest.skipUnless(CEPH_CONF, "the points of a store in a cluster")
    def test_in_a_cluster(self):
        """What a crash leaves there is hidden, and is removed when it is old: an hour, which is made to have passed."""
        for op, point, done in (("CLONE_IMAGE", "rbd-copy-made", False), ("SNAPSHOT", "rbd-copy-made", False),
                                ("ROLL_BACK", "rbd-rolled-back", True)):
            with self.subTest(op=op, point=point):
                proxy = self.one(point, op, done)
                left = proxy.hidden()
                self.assertEqual(len(left), op in ("CLONE_IMAGE", "SNAPSHOT"), left)
                if op != "CLONE_IMAGE":
                    continue
                # As long as it may be somebody's work it stays.
                self.proxy(store=proxy.store)
                with proxy.modern() as c:
                    self.assertEqual(c.copy("CLONE_IMAGE", "image", "s", "new"), "OK")
                self.assertEqual(proxy.hidden(), left)
                make_old(proxy, left[0])
                self.proxy(store=proxy.store)
                until(lambda: proxy.hidden() == [], "the end of what was left behind")
                with proxy.modern() as c:
                    self.assertEqual(sorted(c.list()), ["image", "new"])
        for op, point, done in (("SNAPSHOT", "rbd-committed", True), ("CLONE_IMAGE", "rbd-committed", True)):
            with self.subTest(op=op, point=point):
                self.assertEqual(self.one(point, op, done).hidden(), [])

    @unittest.skipUnless(CEPH_CONF, "the points of a store in a cluster")
    def test_resize_in_a_cluster(self):
        """The old size or the new one, and what was cut off does not come back."""
        other = self.proxy()
        other.create("image", 8 * MiB)
        with other.leased("image") as c:
            self.assertEqual(c.write(6 * MiB, block(6)).status, "OK")
            self.assertEqual(c.detach().status, "OK")

        def size_after(point, size):
            victim = self.proxy(store=other.store, environment={"BLOCKSTORE_FAULT_POINT": f"{point}=kill"})
            with victim.modern() as c:
                c.send("RESIZE_IMAGE", struct.pack(">QII", size, 1, 0) + bytes(16) + padded("image", 256))
                victim.process.wait(DEADLINE)
            end_watches(other, "image")
            with other.modern() as c:
                return c.list()["image"]["size"]

        self.assertEqual(size_after("rbd-grown", 16 * MiB), 8 * MiB)
        with other.modern() as c:
            until(lambda: c.resize("image", 12 * MiB).status == "OK", "another size")
        self.assertEqual(size_after("rbd-shrunk", 4 * MiB), 4 * MiB)
        with other.modern() as c:
            until(lambda: c.resize("image", 8 * MiB).status == "OK", "another size")
            self.assertEqual(c.attach_lease("image").status, "OK")
            self.assertEqual(c.read(6 * MiB, 4096).payload, bytes(4096))

    @unittest.skipUnless(CEPH_CONF, "the points of a store in a cluster")
    def test_create_and_remove_in_a_cluster(self):
        """Each of them has been done or has not."""
        def dies(point, act):
            victim = self.proxy(store=other.store, environment={"BLOCKSTORE_FAULT_POINT": f"{point}=kill"})
            with victim.modern() as c:
                act(c)
                victim.process.wait(DEADLINE)
            with other.modern() as c:
                return sorted(c.list())

        def preallocate(c):
            c.send("CREATE_IMAGE", struct.pack(">QII", 24 * MiB, 5, 0) + padded("new", 256))

        other = self.proxy()
        other.create("old", 4 * MiB)
        with other.leased("old") as c:
            self.assertEqual(c.write(0, block(1)).status, "OK")
            self.assertEqual(c.detach().status, "OK")
        self.assertEqual(dies("rbd-created", lambda c: c.send("CREATE_IMAGE", struct.pack(">QII", MiB, 0, 0) + padded("new", 256))), ["old"])
        self.assertEqual(dies("rbd-thick-made", preallocate), ["old"])
        self.assertEqual(dies("rbd-piece-written", preallocate), ["old"])
        left = other.hidden()
        self.assertEqual(sorted(name[:11] for name in left if "thick" in name), [".new-thick-"] * 2)
        self.assertEqual(len(left), 3)
        # The name is as free as before.
        self.assertEqual(dies("rbd-committed", preallocate), ["new", "old"])
        with other.modern() as c:
            self.assertEqual(c.list()["new"]["used"], 24 * MiB)
            end_watches(other, "new")
            until(lambda: c.remove("new").status == "OK", "the end of the dead proxy's watch")

        self.assertEqual(dies("rbd-gone", lambda c: c.send("REMOVE_IMAGE", bytes(24) + padded("old", 256))), [])
        for name in left:
            make_old(other, name)
            end_watches(other, name)
        # A proxy that starts completes all of it; what was open when its proxy died is not touched until Ceph has noticed.
        third = self.proxy(store=other.store)
        with third.modern() as c:
            self.assertEqual(c.create("old", MiB).status, "OK")
            self.assertEqual(c.attach_lease("old").status, "OK")
            self.assertEqual(c.read(0, 4096).payload, bytes(4096))
        until(lambda: third.hidden() == [], "the end of what was left behind")
