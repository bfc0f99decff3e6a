# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time, space and number: what ends, what is refused, what is said when the proxy cannot start."""

import ctypes
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
import unittest

from case import Case
from client import Client, Closed, padded
from proxy import BINARY, DEADLINE, Proxy, work_directory


class Idle(Case):
    settings = {"idle-limit": "300ms", "login-limit": "300ms", "proxies-interval": "100ms"}

    def in_time(self, act):
        """Whoever is not run for so long is dropped before it has said what it wanted: once more then."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return act()
            except (Closed, ConnectionError):
                self.assertLess(time.monotonic(), end, "never quick enough")

    def test_silent_client_is_dropped(self):
        # Where there is more time.
        with Proxy(store=self.proxy.store).start() as other:
            other.create("idle")

        def attached():
            c = self.proxy.logged_in()
            self.addCleanup(c.close)
            self.assertStatus(c.attach("idle"), "OK")
            return c

        self.in_time(attached).wait_closed()  # in spite of the proxies that are pushed to it

    def test_not_logged_in(self):
        with self.proxy.connect() as c:
            c.wait_closed()

    def test_half_a_packet(self):
        def half():
            c = self.proxy.logged_in()
            self.addCleanup(c.close)
            c.send_raw(c.packet("ATTACH_TO_IMAGE", padded("idle", 256))[:100])
            return c

        self.in_time(half).wait_closed()


class KeptAlive(Case):
    settings = {"idle-limit": "3s", "proxies-interval": "100ms"}

    def test_keepalive_keeps(self):
        """Pushed lists tell the time: ten a second, so sixty are twice the limit."""
        self.proxy.create("alive")
        with self.proxy.logged_in() as c:
            c.attach("alive")
            for _ in range(60):
                self.assertStatus(c.call("KEEPALIVE"), "OK")
                c.wait_pushed("LIST_PROXIES")


class LoginLimit(Case):
    settings = {"login-limit": "1s"}

    def test_login_has_its_time(self):
        """Keepalives do not help who never logs in."""
        with self.proxy.connect() as c, self.assertRaises((Closed, ConnectionError)):
            while True:
                c.call("KEEPALIVE")


class SystemdIsBusy(Case):
    settings = {"proxies-interval": "100ms"}

    def test_status_waits_for_nobody(self):
        """Nobody reads what the proxy tells systemd, and I/O goes on: for two seconds, by the lists that are pushed, in which the status is told several times."""
        self.proxy.create("busy")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s, self.assertRaises(BlockingIOError):
            while True:
                s.sendto(b"STATUS=full", self.proxy.notify.getsockname())
        with self.proxy.logged_in() as c:
            c.attach("busy")
            for _ in range(20):
                self.proxy.connect().close()
                c.wait_pushed("LIST_PROXIES")
            self.assertStatus(c.read(0, 4096), "OK")


class Number(Case):
    settings = {"clients-max": 3}

    def test_too_many_clients(self):
        clients = [self.proxy.logged_in() for _ in range(3)]
        with self.assertRaises(Closed):
            self.proxy.connect()
        self.assertStatus(clients[0].call("KEEPALIVE"), "OK")
        for c in clients:
            c.close()
        self.proxy.wait_clients(0)
        self.proxy.connect().close()
        self.proxy.wait_clients(0)


class Memory(Case):
    settings = {"memory": "64M", "client-memory": "64M"}

    def test_everybody_gets_a_turn(self):
        """Six clients that each want the whole memory in pieces, and one with small requests."""
        self.proxy.create("memory", 32 << 20)
        lengths = {}

        def want(name, length, n):
            with self.proxy.logged_in() as c:
                c.attach("memory")
                wanted = [c.send("READ", struct.pack(">QQ", 0, length)) for _ in range(n)]
                lengths[name] = [len(c.wait(sequence).payload) for sequence in wanted]

        clients = [threading.Thread(target=want, args=(i, 32 << 20, 3)) for i in range(6)]
        clients.append(threading.Thread(target=want, args=("small", 512, 100)))
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        self.assertEqual(lengths.pop("small"), [512] * 100)
        self.assertEqual(lengths, {i: [32 << 20] * 3 for i in range(6)})


    def test_who_takes_no_answers_is_dropped_when_others_wait(self):
        self.proxy.create("stuck", 32 << 20)
        stuck = [self.proxy.logged_in() for _ in range(3)]
        for c in stuck:
            c.attach("stuck")
            c.send("READ", struct.pack(">QQ", 0, 32 << 20))
        with self.proxy.logged_in() as c:
            c.attach("stuck")
            self.assertStatus(c.write(0, b"at last"), "OK")
        for c in stuck:
            c.close()


class FileLimit(Case):
    """A limit on the file's size is as good as a full disk."""

    @staticmethod
    def preexec():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    def test_no_space(self):
        with self.proxy.modern() as c:
            self.assertStatus(c.create("too-large", 1 << 21), "NO_SPACE")
            self.assertEqual(c.list(), {})
            self.assertStatus(c.create("fits", 1 << 20), "OK")


def mount_tmpfs(path, options):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", path.encode(), b"tmpfs", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), "mount")


def unmount(path):
    ctypes.CDLL(None).umount2(path.encode(), 2)


class FullDisk(unittest.TestCase):
    """A small file system; where mounting is not allowed, a limit on the size of files stands in for it above."""

    def setUp(self):
        self.directory = work_directory()
        self.addCleanup(shutil.rmtree, self.directory, True)
        try:
            mount_tmpfs(self.directory, "size=4m")
        except OSError as error:
            self.skipTest(f"no file system can be mounted here: {error}")
        self.addCleanup(unmount, self.directory)
        self.proxy = Proxy(store=os.path.join(self.directory, "store")).start()
        self.addCleanup(self.proxy.remove)
        self.addCleanup(self.proxy.stop)

    def test_full(self):
        self.proxy.create("full", 64 << 20)
        with self.proxy.leased("full") as c:
            kept = os.urandom(1 << 20)
            self.assertEqual(c.write(0, kept).status, "OK")
            self.assertEqual(c.flush().status, "OK")
            statuses = {c.write((1 << 20) * i, b"x" * (1 << 20)).status for i in range(1, 8)}
            self.assertEqual(statuses, {"OK", "NO_SPACE"})
            self.assertEqual(c.write(8 << 20, b"x" * (1 << 20), fua=True).status, "NO_SPACE")
            self.assertEqual(c.write_zeroes(16 << 20, 8 << 20, no_hole=True).status, "NO_SPACE")
            self.assertEqual(c.create("no room", 4096).status, "NO_SPACE")
            # What was acknowledged is there, and flushes still hold.
            self.assertEqual(c.flush().status, "OK")
            self.assertEqual(c.read(0, 1 << 20).payload, kept)
            # The lease can be given back, taken and resumed on a full disk.
            self.assertEqual(c.detach().status, "OK")
            self.assertEqual(c.attach_lease("full").status, "OK")
            # Room again.
            self.assertEqual(c.trim(1 << 20, 63 << 20).status, "OK")
            self.assertEqual(c.write(2 << 20, kept).status, "OK")
            self.assertEqual(c.read(2 << 20, 1 << 20).payload, kept)
        with self.proxy.logged_in() as c:
            # A classic client knows no NO_SPACE.
            self.proxy.create("classic", 64 << 20)
            c.attach("classic")
            statuses = {c.write((1 << 20) * i, b"x" * (1 << 20)).status for i in range(8)}
            self.assertEqual(statuses, {"OK", "PERMANENT_ERROR"})


    def test_full_with_checksums(self):
        """The same where data and checksums both need room: a write is there and verified, or is refused and leaves what was there."""
        with self.proxy.modern() as c:
            self.assertEqual(c.create("sums", 64 << 20, checksums=True).status, "OK")
            self.assertEqual(c.attach_lease("sums").status, "OK")
            kept = os.urandom(1 << 20)
            self.assertEqual(c.write(0, kept).status, "OK")
            self.assertEqual(c.flush().status, "OK")
            written = {i: c.write(i << 20, bytes([i]) * (1 << 20)).status for i in range(1, 8)}
            self.assertEqual(set(written.values()), {"OK", "NO_SPACE"})
            self.assertEqual(c.flush().status, "OK")

        def check(client):
            self.assertEqual(client.read(0, 1 << 20).payload, kept)
            for i, status in written.items():
                for block in range(0, 1 << 20, 4096):
                    reply = client.read((i << 20) + block, 4096)
                    self.assertEqual(reply.status, "OK", f"block {block} of {i}, {status}")
                    self.assertIn(reply.payload, (bytes([i]) * 4096,) + ((bytes(4096),) if status != "OK" else ()))

        with self.proxy.modern() as c:
            self.assertEqual(c.attach_lease("sums", steal=True).status, "OK")
            check(c)
            # Over what is there already it goes on, if the room of its checksums is.
            self.assertEqual(c.write(4096, b"o" * 4096).status, "OK")
            self.assertEqual(c.flush().status, "OK")
            self.assertEqual(c.read(4096, 4096).payload, b"o" * 4096)
            kept = kept[:4096] + b"o" * 4096 + kept[8192:]
        self.proxy.power_cut()
        with self.proxy.modern() as c:
            self.assertEqual(c.attach_lease("sums", steal=True).status, "OK")
            check(c)
            self.assertEqual(c.trim(1 << 20, 63 << 20).status, "OK")
            self.assertEqual(c.write(2 << 20, kept).status, "OK")
            self.assertEqual(c.flush().status, "OK")
            self.assertEqual(c.read(2 << 20, 1 << 20).payload, kept)


class Drain(Case):
    def test_limit(self):
        """Who does not go is left at its end."""
        proxy = Proxy(**{"drain-limit": "500ms"}).start()
        self.addCleanup(proxy.remove)
        proxy.create("stays")
        client = proxy.leased("stays")
        self.addCleanup(client.close)
        proxy.process.terminate()
        self.assertEqual(struct.unpack(">IIQ", client.wait_pushed("NOTICE").payload)[2], 500)
        client.wait_closed()
        self.assertEqual(proxy.process.wait(60), 0)
        proxy.notify.close()

    def test_clients_are_sent_elsewhere(self):
        proxy = Proxy(**{"drain-limit": "30s"}).start()
        self.addCleanup(proxy.remove)
        proxy.create("drained")
        modern, classic = proxy.leased("drained"), proxy.logged_in()
        self.assertStatus(modern.write(0, b"before"), "OK")
        proxy.process.terminate()
        notice = modern.wait_pushed("NOTICE")
        kind, _, value = struct.unpack(">IIQ", notice.payload)
        self.assertEqual((kind, value), (1, 30000))
        self.assertStatus(modern.write(0, b"after"), "USE_ANOTHER_PROXY")
        self.assertStatus(modern.write(0, b"after" * 100000), "USE_ANOTHER_PROXY")
        self.assertStatus(modern.call("KEEPALIVE"), "OK")
        classic.wait_closed()
        with self.assertRaises(ConnectionError):
            socket.create_connection(proxy.address, 5)
        self.assertStatus(modern.detach(), "OK")
        modern.wait_closed()
        self.assertEqual(proxy.process.wait(60), 0)
        proxy.notify.close()


class TwoProxies(Case):
    """Two proxies on one machine may share a store."""

    def test_shared_store(self):
        other = Proxy(store=self.proxy.store).start()
        self.addCleanup(other.remove)
        self.addCleanup(other.stop)
        self.proxy.create("both")
        with self.proxy.modern() as a, other.modern(machine=b"n" * 16) as b, other.modern() as again:
            reply = a.attach_lease("both")
            self.assertStatus(reply, "OK")
            self.assertStatus(a.write(0, b"through a"), "OK")
            self.assertStatus(b.attach_lease("both"), "HELD")
            self.assertStatus(b.remove("both"), "IN_USE")
            self.assertTrue(b.list()["both"]["attached"])
            # Failover: the same token and generation through the other one.
            self.assertStatus(again.resume("both", reply.payload[32:48], 1), "OK")
            self.assertEqual(again.read(0, 9).payload, b"through a")
            self.assertStatus(b.attach_lease("both", steal=True), "OK")
            self.assertStatus(again.write(0, b"x"), "EXPIRED")
            # The session at the first proxy hears of it without asking.
            while a.read(0, 512).status != "EXPIRED":
                pass
            self.assertStatus(a.write(0, b"x"), "EXPIRED")
            self.assertEqual(b.read(0, 9).payload, b"through a")


class Start(unittest.TestCase):
    """What an administrator is told, and with which exit status."""

    def setUp(self):
        self.proxy = Proxy()
        self.addCleanup(self.proxy.remove)

    def refused(self, status, *expected, check=False):
        result = subprocess.run([BINARY, "--config", self.proxy.config_path] + ["--check-config"] * check,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        text = result.stdout.decode()
        self.assertEqual(result.returncode, status, text)
        for part in expected:
            self.assertIn(part, text)

    def configure(self, text):
        with open(self.proxy.config_path, "w", encoding="utf-8") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))

    def test_check_config(self):
        self.refused(0, check=True)
        self.assertFalse(os.path.exists(self.proxy.store))

    def test_bad_config(self):
        self.configure('{\n "listen": ["127.0.0.1:0"],\n "lisen": []\n}')
        self.refused(78, "proxy.json:3", "lisen")
        self.refused(78, "proxy.json:3", "lisen", check=True)
        for text, part in (("", "proxy.json:1"), ("[]", "proxy.json:1"), ("\ufeff{}", "byte order mark"),
                           ('{"listen": "x"}', "listen"), ('{"listen": ["300.1.1.1:x"]}', "listen[0]"),
                           ('{"store": {"type": "tape"}}', "type"), ('{"idle-limit": "soon"}', "idle-limit"),
                           ('{"idle-limit": 0}', "idle-limit"), ('{"memory": "1k"}', "memory"),
                           ('{"clients-max": 0}', "clients-max"), ('{"clients-max": -1}', "clients-max"),
                           ('{"peers": [1]}', "peers[0]"), ('{"users": 5}', "users")):
            self.configure(text)
            self.refused(78, "proxy.json", part)

    def test_check_tells_everything(self):
        self.configure('{\n"listen": ["x:y", "127.0.0.1:0", 7],\n"lisen": [],\n"store": {"type": "tape", "paht": "/"},\n'
                       '"idle-limit": "soon",\n"users": "users.json"\n}')
        os.unlink(self.proxy.users_path)
        self.refused(78, "proxy.json:2: listen[0]", "proxy.json:2: listen[2]", "proxy.json:3: lisen", 'nearest is "listen"',
                     "proxy.json:4: store.type", "proxy.json:4: store.paht", "proxy.json:5: idle-limit", "users.json", check=True)
        # Who is to be started is told of the first, in one line.
        with self.assertRaises(AssertionError):
            self.refused(78, "proxy.json:5")

    def test_missing_config(self):
        os.unlink(self.proxy.config_path)
        self.refused(78, "proxy.json")

    def test_users(self):
        os.unlink(self.proxy.users_path)
        self.refused(78, "users.json", "blockstorectl user add")
        with open(self.proxy.users_path, "w", encoding="utf-8") as file:
            file.write('{"users": [\n{"name": "alice", "hash": "$6$xxxxxxxxxxxxxxx", "reed": []}]}')
        self.refused(78, "users.json:2", "reed")
        with open(self.proxy.users_path, "w", encoding="utf-8") as file:
            file.write('{"users": [\n{"name": "alice", "hash": "secretnonsense:"}]}')
        self.refused(78, "users.json:2", "hash")
        with self.assertRaises(AssertionError):
            self.refused(78, "secretnonsense")

    def test_address_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.configure({"listen": [address], "store": {"path": self.proxy.store}, "users": "users.json"})
            self.refused(71, address, "in use")

    def test_no_such_address(self):
        self.configure({"listen": ["192.0.2.1:11417"], "store": {"path": self.proxy.store}, "users": "users.json"})
        self.refused(71, "192.0.2.1:11417", "no interface")

    def test_not_a_store(self):
        os.mkdir(self.proxy.store)
        with open(os.path.join(self.proxy.store, "family.jpg"), "w", encoding="ascii"):
            pass
        self.refused(74, "family.jpg", "empty directory")
        self.assertEqual(os.listdir(self.proxy.store), ["family.jpg"])

    def test_store_of_another_machine(self):
        self.proxy.start()
        self.assertEqual(self.proxy.stop(), 0)
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        record["machine-id"] = "0123456789abcdef0123456789abcdef"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        self.refused(74, "another machine", self.proxy.store)

    def test_damaged_store(self):
        self.proxy.start()
        self.assertEqual(self.proxy.stop(), 0)
        with open(os.path.join(self.proxy.store, "store.json"), "r+", encoding="utf-8") as file:
            file.truncate(20)
        self.refused(74, "store.json")

    def test_no_parent_directory(self):
        self.configure({"listen": ["127.0.0.1:0"], "store": {"path": "/nonexistent/dir/store"}, "users": "users.json"})
        self.refused(74, "/nonexistent/dir/store", "No such file")

    def test_ipv6_and_several_addresses(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("no IPv6 here")
        self.configure({"listen": ["[::1]:0", "127.0.0.1:0"], "store": {"path": self.proxy.store},
                        "users": "users.json"})
        self.proxy.start()
        with self.proxy.logged_in() as c:
            self.assertEqual(c.socket.family, socket.AF_INET6)
        self.assertIn("Listening on 127.0.0.1:", self.proxy.log())
        self.assertEqual(self.proxy.stop(), 0)

    def test_socket_activation(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            address = listener.getsockname()
            os.set_inheritable(listener.fileno(), True)
            with open(os.devnull, "wb") as null:
                process = subprocess.Popen(
                    ["sh", "-c", f"exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh",
                     BINARY, "--config", self.proxy.config_path], close_fds=False, stdout=null, stderr=null)
            try:
                with Client(address) as c:
                    self.assertEqual(c.login().status, "OK")
                    process.terminate()
                    c.wait_closed()
                self.assertEqual(process.wait(60), 0)
                # The socket is systemd's: it still takes connections, for the next one.
                socket.create_connection(address, 20).close()
            finally:
                process.kill()
                process.wait()

    def test_damaged_image_hurts_only_itself(self):
        self.proxy.start()
        self.proxy.create("damaged")
        self.proxy.create("whole")
        with open(os.path.join(self.proxy.store, "images", "damaged", "record.json"), "r+", encoding="utf-8") as file:
            file.truncate(30)
        self.proxy.create("short")
        os.truncate(self.proxy.data_path("short"), 4096)
        os.mkdir(os.path.join(self.proxy.store, "images", "stray"))
        with self.proxy.modern() as c:
            self.assertEqual(c.attach_lease("damaged").status, "PERMANENT_ERROR")
            self.assertEqual(c.attach_lease("short").status, "PERMANENT_ERROR")
            self.assertEqual(c.attach_lease("stray").status, "PERMANENT_ERROR")
            self.assertEqual(c.attach_lease("whole").status, "OK")
            self.assertLessEqual({"whole", "short"}, set(c.list()))
            self.assertNotIn("damaged", c.list())
        self.assertIn("record.json", self.proxy.log())
        self.assertEqual(self.proxy.stop(), 0)

    def test_leftovers_are_swept(self):
        self.proxy.start()
        self.assertEqual(self.proxy.stop(), 0)
        images = os.path.join(self.proxy.store, "images")
        for name in (".new-0123456789abcdef", ".removed-0123456789abcdef"):
            os.mkdir(os.path.join(images, name))
            with open(os.path.join(images, name, "data"), "w", encoding="ascii"):
                pass
        self.proxy.start()
        self.assertEqual(os.listdir(images), [])
        self.assertEqual(self.proxy.stop(), 0)
