# SPDX-License-Identifier: LGPL-2.1-or-later
"""What HELLO adds: capabilities, images, leases, flush and holes."""

import os
import struct
import threading

from case import Case
from client import ALL_CAPS, CAP_DURABILITY, Identity, Lease, LENGTH_MAX, padded, password_hex, proxies
from proxy import CEPH_CONF, needs_files


class Hello(Case):
    def test_greeting(self):
        with self.proxy.connect() as c:
            data = c.greeting.payload
            self.assertEqual(data[:8], b"IVBSCAP1")
            caps, max_length, idle_ms, layout, _ = struct.unpack(">QIIII", data[8:32])
            self.assertEqual(caps, ALL_CAPS)
            self.assertEqual(max_length, LENGTH_MAX)
            self.assertEqual(idle_ms, 30000)
            self.assertEqual(layout, 64)
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                self.assertEqual(data[32:48].hex(), file.read().strip().replace("-", ""))
            self.assertNotEqual(data[48:64], bytes(16))

    def test_grant_is_the_intersection(self):
        with self.proxy.connect() as c:
            reply = c.hello(caps=5 | 1 << 40)
            self.assertStatus(reply, "OK")
            self.assertEqual(struct.unpack(">Q", reply.payload[:8])[0], 5)

    def test_hello_once_and_first(self):
        with self.proxy.connect() as c:
            self.assertStatus(c.hello(), "OK")
            self.assertStatus(c.hello(), "INVALID_REQUEST")
            self.assertStatus(c.login(), "OK")
            self.assertStatus(c.hello(), "INVALID_REQUEST")

    def test_longer_hello_is_understood(self):
        with self.proxy.connect() as c:
            payload = struct.pack(">QII", 1, LENGTH_MAX, 0) + b"m" * 16 + b"b" * 16 + padded("h", 32) + b"later" * 9
            self.assertStatus(c.call("HELLO", payload), "OK")

    def test_list_proxies_on_request(self):
        with self.proxy.modern() as c:
            reply = c.call("LIST_PROXIES")
            self.assertStatus(reply, "OK")
            self.assertEqual(len(proxies(reply.payload)), 3)


class Images(Case):
    def test_create_list_remove(self):
        with self.proxy.modern() as c:
            reply = c.create("first", 1 << 30)
            self.assertStatus(reply, "OK")
            uuid = reply.payload
            self.assertEqual(len(uuid), 16)
            self.assertStatus(c.create("first", 1 << 20), "ALREADY_EXISTS")
            self.assertEqual(c.list()["first"],
                             {"name": "first", "uuid": uuid, "size": 1 << 30, "used": 0, "attached": False})
            self.assertStatus(c.remove("first", b"x" * 16), "NOT_FOUND")
            self.assertStatus(c.remove("first", uuid), "OK")
            self.assertNotIn("first", c.list())
            self.assertStatus(c.remove("first"), "NOT_FOUND")
        if CEPH_CONF:
            return
        self.assertFalse([n for n in os.listdir(os.path.join(self.proxy.store, "images")) if n.startswith(".")])

    def test_used_bytes(self):
        self.proxy.create("used", 1 << 24)
        with self.proxy.leased("used") as c:
            c.write(0, os.urandom(1 << 20))
            c.flush()
            self.assertGreaterEqual(c.list()["used"]["used"], 1 << 20)
            self.assertLessEqual(c.list()["used"]["used"], 1 << 22)

    def test_sizes(self):
        with self.proxy.modern() as c:
            for size in (0, 1 << 63, (1 << 64) - 1, 1000):
                self.assertStatus(c.create("size", size), "INVALID_REQUEST")
            self.assertNotIn("size", c.list())
            self.assertIn(c.create("enormous", (1 << 63) - 512).status, ("NO_SPACE", "OK"))
            self.assertStatus(c.create("small", 512), "OK")

    def test_names(self):
        good = ["a", "x" * 255, "with space", "dot.in.it", "Größe", "-dash", "~", "a\\b", "*", "\u00e9" * 127]
        bad = ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x", "tab\there", "new\nline", "\x7f", "\x01",
               b"x" * 256, b"\xff\xfe", b"zero\0behind", b"\xc0\x80"]
        with self.proxy.modern() as c:
            for name in bad:
                self.assertStatus(c.create(name, 4096), "INVALID_REQUEST")
                self.assertStatus(c.remove(name), "INVALID_REQUEST")
                self.assertStatus(c.attach_lease(name), "INVALID_REQUEST")
                self.assertStatus(c.resume(name, b"t" * 16, 1), "INVALID_REQUEST")
            for name in good:
                self.assertStatus(c.create(name, 4096), "OK")
            self.assertLessEqual(set(good), set(c.list()))
            for name in good:
                self.assertStatus(c.remove(name), "OK")
        if CEPH_CONF:
            return
        self.assertEqual(sorted(os.listdir(self.proxy.store)),
                         [".store.json.spare", "images", "proxies", "store.json", "tickets.key"])

    def test_pages(self):
        names = [f"page-{i:03}" for i in range(30)]
        with self.proxy.modern() as c:
            for name in names:
                self.assertStatus(c.create(name, 4096), "OK")
            page, more = c.list_page("page-", 10)
            self.assertEqual([i["name"] for i in page], names[:10])
            self.assertTrue(more)
            page, more = c.list_page(names[-11], 10)
            self.assertEqual([i["name"] for i in page], names[-10:])
            self.assertEqual([n for n in c.list() if n.startswith("page-")], names)
            for limit in (0, 257, 1 << 31):
                self.assertStatus(c.call("LIST_IMAGES", struct.pack(">II", limit, 0) + bytes(256)), "INVALID_REQUEST")

    def test_list_fits_the_client(self):
        with self.proxy.modern(max_length=4096 + 8) as c:
            for i in range(30):
                c.create(f"fit-{i:03}", 4096)
            reply = c.call("LIST_IMAGES", struct.pack(">II", 256, 0) + bytes(256))
            self.assertLessEqual(len(reply.payload), 4096 + 8)
            self.assertEqual(len([n for n in c.list() if n.startswith("fit-")]), 30)

    def test_rights(self):
        self.proxy.create("open-list")
        self.proxy.create("secret-list")
        with self.proxy.modern("reader") as c:
            found = c.list()
            self.assertIn("open-list", found)
            self.assertNotIn("secret-list", found)
            self.assertStatus(c.create("open-mine", 4096), "PERMISSION_DENIED")
            self.assertStatus(c.remove("open-list"), "PERMISSION_DENIED")
        with self.proxy.modern("writer") as c:
            self.assertStatus(c.create("vm-mine", 4096), "OK")
            self.assertStatus(c.create("mine", 4096), "PERMISSION_DENIED")
            self.assertStatus(c.remove("vm-mine"), "OK")

    def test_attached_image_stays(self):
        self.proxy.create("busy")
        with self.proxy.leased("busy") as a, self.proxy.modern() as b:
            self.assertTrue(b.list()["busy"]["attached"])
            self.assertStatus(b.remove("busy"), "IN_USE")
            self.assertStatus(a.detach(), "OK")
            self.assertFalse(b.list()["busy"]["attached"])
            self.assertStatus(b.attach_lease("busy", read_only=True), "OK")
            self.assertTrue(a.list()["busy"]["attached"])
            self.assertStatus(a.remove("busy"), "IN_USE")
            self.assertStatus(b.detach(), "OK")
            self.assertStatus(b.remove("busy"), "OK")

    def test_lease_outlives_its_connection(self):
        self.proxy.create("outlived")
        self.proxy.leased("outlived").close()
        with self.proxy.modern() as c:
            self.assertStatus(c.remove("outlived"), "IN_USE")


class Leases(Case):
    def test_attach(self):
        self.proxy.create("lease", 1 << 21)
        with self.proxy.modern() as c:
            reply = c.attach_lease("lease")
            self.assertStatus(reply, "OK")
            lease = Lease(reply.payload)
            self.assertEqual(lease.size, 1 << 21)
            self.assertEqual(lease.generation, 1)
            self.assertFalse(lease.read_only)
            self.assertEqual(lease.block_size, 4096)
            self.assertNotEqual(lease.token, bytes(16))
            self.assertEqual(lease.uuid, c.list()["lease"]["uuid"])
            self.assertNotEqual(lease.store_uuid, bytes(16))
            record = self.proxy.record("lease")
            self.assertEqual(record["generation"], 1)
            self.assertNotIn(lease.token.hex(), str(record))

    def test_another_host_is_refused(self):
        self.proxy.create("other")
        with self.proxy.leased("other", host="first"), self.proxy.modern(machine=b"n" * 16) as c:
            reply = c.attach_lease("other")
            self.assertStatus(reply, "HELD")
            self.assertEqual(reply.payload[:16], b"m" * 16)
            self.assertEqual(reply.payload[40:], padded("first", 32))
            # Reading needs no lease.
            self.assertStatus(c.attach_lease("other", read_only=True), "OK")
            self.assertStatus(c.write(0, b"x"), "READ_ONLY")
            self.assertStatus(c.trim(0, 512), "READ_ONLY")
            self.assertStatus(c.write_zeroes(0, 512), "READ_ONLY")
            self.assertStatus(c.read(0, 512), "OK")

    def test_steal(self):
        self.proxy.create("stolen")
        with self.proxy.leased("stolen") as old, self.proxy.modern(machine=b"n" * 16) as new:
            self.assertStatus(old.write(0, b"old"), "OK")
            reply = new.attach_lease("stolen", steal=True)
            self.assertStatus(reply, "OK")
            self.assertEqual(Lease(reply.payload).generation, 2)
            for late in (old.write(0, b"late"), old.write(0, b"late" * 100000), old.trim(0, 512), old.flush(),
                         old.write_zeroes(0, 512), old.write(0, b"late", fua=True), old.read(0, 512)):
                self.assertStatus(late, "EXPIRED")
            self.assertEqual(new.read(0, 4).payload, b"old\0")
            self.assertStatus(new.write(0, b"new"), "OK")

    def test_same_host_attaches_anew(self):
        self.proxy.create("anew")
        with self.proxy.leased("anew") as old, self.proxy.leased("anew") as new:
            self.assertStatus(old.write(0, b"x"), "EXPIRED")
            self.assertStatus(new.write(0, b"x"), "OK")

    def test_resume(self):
        self.proxy.create("resumed")
        with self.proxy.modern() as a, self.proxy.modern() as b, self.proxy.modern() as c:
            lease = Lease(a.attach_lease("resumed").payload)
            reply = b.resume("resumed", lease.token, lease.generation)
            self.assertStatus(reply, "OK")
            again = Lease(reply.payload)
            self.assertEqual((again.token, again.generation, again.uuid), (lease.token, lease.generation, lease.uuid))
            self.assertStatus(a.write(0, b"a"), "OK")
            self.assertStatus(b.write(1, b"b"), "OK")
            self.assertStatus(c.resume("resumed", b"x" * 16, lease.generation), "EXPIRED")
            self.assertStatus(c.resume("resumed", lease.token, lease.generation + 1), "EXPIRED")
            self.assertStatus(c.resume("resumed", lease.token, 0), "EXPIRED")
            self.assertStatus(c.resume("no such", lease.token, 1), "NOT_FOUND")

    def test_detach(self):
        self.proxy.create("detached")
        with self.proxy.modern() as a, self.proxy.modern() as b:
            lease = Lease(a.attach_lease("detached").payload)
            self.assertStatus(b.resume("detached", lease.token, lease.generation), "OK")
            # What is in flight is finished before the answer.
            writes = [a.send("WRITE", struct.pack(">Q", i * 4096) + b"w" * 4096) for i in range(50)]
            self.assertStatus(a.detach(), "OK")
            for sequence in writes:
                self.assertStatus(a.wait(sequence), "OK")
            self.assertStatus(a.write(0, b"x"), "INVALID_REQUEST")
            self.assertStatus(a.detach(), "INVALID_REQUEST")
            # The lease was both sessions'.
            self.assertStatus(b.write(0, b"x"), "EXPIRED")
            self.assertStatus(b.detach(), "EXPIRED")
            self.assertStatus(a.resume("detached", lease.token, lease.generation), "EXPIRED")
            self.assertNotIn("lease", self.proxy.record("detached"))
            reply = a.attach_lease("detached")
            self.assertEqual(Lease(reply.payload).generation, 2)

    def test_lease_survives_a_killed_proxy(self):
        self.proxy.create("survivor")
        with self.proxy.modern() as c:
            lease = Lease(c.attach_lease("survivor").payload)
        self.proxy.kill()
        self.proxy.notify.close()
        self.proxy.start()
        with self.proxy.modern(machine=b"n" * 16) as c:
            self.assertStatus(c.attach_lease("survivor"), "HELD")
        with self.proxy.modern() as c:
            self.assertStatus(c.resume("survivor", lease.token, lease.generation), "OK")
            self.assertStatus(c.write(0, b"back"), "OK")

    def test_races_for_a_lease(self):
        self.proxy.create("raced")
        held, results = [], []

        def race(i):
            c = self.proxy.modern(machine=bytes([i + 1]) * 16)
            held.append(c)
            results.append(c.attach_lease("raced").status)

        threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for c in held:
            c.close()
        self.assertEqual(sorted(results), ["HELD"] * 7 + ["OK"])

    def test_no_right_to_write(self):
        self.proxy.create("open-lease")
        with self.proxy.modern("reader") as c:
            self.assertStatus(c.attach_lease("open-lease"), "PERMISSION_DENIED")
            self.assertStatus(c.resume("open-lease", b"t" * 16, 1), "PERMISSION_DENIED")
            reply = c.attach_lease("open-lease", read_only=True)
            self.assertStatus(reply, "OK")
            self.assertTrue(Lease(reply.payload).read_only)
            self.assertStatus(c.write(0, b"x"), "READ_ONLY")


class Data(Case):
    def test_flush_and_fua(self):
        self.proxy.create("flushed")
        with self.proxy.leased("flushed") as c:
            self.assertStatus(c.write(0, b"f" * 4096, fua=True), "OK")
            self.assertStatus(c.write(4096, b"g" * 4096), "OK")
            flushes = [c.send("FLUSH") for _ in range(20)]
            for sequence in flushes:
                self.assertStatus(c.wait(sequence), "OK")
            self.assertEqual(c.read(0, 8192).payload, b"f" * 4096 + b"g" * 4096)

    def test_flush_tells_its_identity(self):
        self.proxy.create("vouched")
        with self.proxy.modern() as c:
            lease = Lease(c.attach_lease("vouched").payload)
            reply = c.flush()
            self.assertStatus(reply, "OK")
            self.assertEqual(reply.payload, lease.identity)
            identity = Identity(reply.payload)
            self.assertEqual(identity.boot_id, c.greeting.payload[32:48])
            self.assertEqual(identity.error_epoch, 0)
            self.assertEqual(c.write(0, b"x", fua=True).payload, b"")
        with self.proxy.modern(caps=ALL_CAPS & ~CAP_DURABILITY) as c:
            self.assertStatus(c.attach_lease("vouched"), "OK")
            self.assertEqual(c.flush().payload, b"")

    def test_identity_outlives_the_proxy(self):
        self.proxy.create("identical")
        with self.proxy.modern() as c:
            before = Lease(c.attach_lease("identical").payload).identity
        self.proxy.kill()
        self.proxy.notify.close()
        self.proxy.start()
        with self.proxy.modern() as c:
            self.assertEqual(Lease(c.attach_lease("identical").payload).identity, before)

    def test_trim(self):
        needs_files()
        self.proxy.create("trimmed", 1 << 22)
        with self.proxy.leased("trimmed") as c:
            c.write(0, b"t" * (1 << 20))
            c.flush()
            used = c.list()["trimmed"]["used"]
            self.assertStatus(c.trim(4096, (1 << 20) - 8192), "OK")
            self.assertLess(c.list()["trimmed"]["used"], used)
            self.assertEqual(c.read(0, 8192).payload, b"t" * 4096 + bytes(4096))
            # All of it, beyond what a data packet could carry.
            self.assertStatus(c.trim(0, 1 << 22), "OK")
            for offset, length in ((0, (1 << 22) + 1), (1 << 22, 1), (0, 0), ((1 << 64) - 1, 2)):
                self.assertStatus(c.trim(offset, length), "INVALID_REQUEST")
        self.assertEqual(os.path.getsize(self.proxy.data_path("trimmed")), 1 << 22)

    def test_trim_is_advisory(self):
        """On any store: what is beside it stays, and what was trimmed is what it was, or zero."""
        self.proxy.create("advised", 1 << 23)
        with self.proxy.leased("advised") as c:
            c.write(0, b"t" * (1 << 23))
            self.assertStatus(c.trim((1 << 22) - 4096, 1 << 22), "OK")
            data = c.read(0, 1 << 23).payload
            self.assertEqual(data[:(1 << 22) - 4096], b"t" * ((1 << 22) - 4096))
            self.assertEqual(data[(1 << 23) - 4096:], b"t" * 4096)
            self.assertLessEqual(set(data[(1 << 22) - 4096:(1 << 23) - 4096]), {0, ord("t")})

    def test_write_zeroes(self):
        self.proxy.create("zeroes", 1 << 22)
        with self.proxy.leased("zeroes") as c:
            for fua in (False, True):
                for no_hole in (False, True):
                    c.write(0, b"z" * (1 << 21))
                    self.assertStatus(c.write_zeroes(100, (1 << 21) - 200, fua, no_hole), "OK")
                    data = c.read(0, 1 << 21).payload
                    self.assertEqual(data, b"z" * 100 + bytes((1 << 21) - 200) + b"z" * 100)
            self.assertStatus(c.write_zeroes(0, (1 << 22) + 1), "INVALID_REQUEST")
            self.assertStatus(c.write_zeroes(0, 0), "INVALID_REQUEST")

    def test_no_hole_allocates(self):
        self.proxy.create("allocated", 1 << 22)
        with self.proxy.leased("allocated") as c:
            self.assertStatus(c.write_zeroes(0, 1 << 22, no_hole=True), "OK")
            self.assertGreaterEqual(c.list()["allocated"]["used"], 1 << 22)
            self.assertStatus(c.write_zeroes(0, 1 << 22), "OK")
            self.assertLess(c.list()["allocated"]["used"], 1 << 22)

    def test_data_survives_a_killed_proxy(self):
        self.proxy.create("kept")
        with self.proxy.leased("kept") as c:
            c.write(0, b"k" * 100000)
        self.proxy.kill()
        self.proxy.notify.close()
        self.proxy.start()
        with self.proxy.leased("kept") as c:
            self.assertEqual(c.read(0, 100000).payload, b"k" * 100000)


class Users(Case):
    def test_changed_users_count_at_the_next_login(self):
        users = dict(__import__("proxy").USERS)
        users["newcomer"] = {"password": "n", "read": ["*"], "write": [], "admin": False}
        with self.proxy.connect() as c:
            self.assertStatus(c.login("newcomer", "n"), "PERMISSION_DENIED")
            self.proxy.write_users(users)
            self.assertStatus(c.login("newcomer", "n"), "OK")

    def test_lost_rights_end_at_once(self):
        self.proxy.create("open-lost")
        users = dict(__import__("proxy").USERS)
        with self.proxy.logged_in("alice") as a, self.proxy.logged_in("reader") as r:
            self.assertStatus(a.attach("open-lost"), "OK")
            self.assertStatus(r.attach("open-lost"), "OK")
            self.assertStatus(a.write(0, b"x"), "OK")
            users["alice"] = dict(users["alice"], write=["elsewhere"])
            del users["reader"]
            self.proxy.write_users(users)
            self.proxy.process.send_signal(__import__("signal").SIGHUP)
            r.wait_closed()
            self.assertStatus(a.write(0, b"x"), "READ_ONLY")
            self.assertStatus(a.read(0, 1), "OK")
            # Given back, it counts from the next attach on, and that is asked for.
            users["alice"] = dict(users["alice"], write=["*"])
            self.proxy.write_users(users)
            self.proxy.process.send_signal(__import__("signal").SIGHUP)
            a.wait_closed()

    def test_a_broken_file_changes_nothing(self):
        with open(self.proxy.users_path, "w", encoding="utf-8") as file:
            file.write('{ "users": [')
        with self.proxy.connect() as c:
            self.assertStatus(c.login(), "OK")
        self.assertIn("The users stay as they were", self.proxy.log())

    def tearDown(self):
        self.proxy.write_users(__import__("proxy").USERS)

    def test_login_is_checked(self):
        for payload in (bytes(160), padded("alice", 32) + b"Z" * 128, bytes(32) + password_hex("x"),
                        padded(b"al\0ce", 32) + password_hex("secret"), padded(b"\x01", 32) + password_hex("x")):
            with self.proxy.connect() as c:
                self.assertStatus(c.call("LOGIN", payload), "INVALID_REQUEST")
                self.assertStatus(c.login(), "OK")
                self.assertStatus(c.login(), "INVALID_REQUEST")
