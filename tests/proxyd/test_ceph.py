# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only a store in a Ceph cluster can meet: OSDs and monitors that die or freeze, locks of others, a way into the cluster that is not there."""

import json
import os
import signal
import struct
import subprocess
import threading
import time
import unittest

from case import Case
from client import Closed
from proxy import BINARY, CEPH_CONF, DEADLINE, Proxy, padded, users_json, USERS
from test_hold import SHUT_OUT, until
from test_qos import care, scrub, set_limits

MIB = 1 << 20
HELPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib", "ceph")


def setUpModule():
    if not CEPH_CONF:
        raise unittest.SkipTest("needs a cluster")


def cluster(verb, name):
    subprocess.run([HELPER, verb, os.path.dirname(CEPH_CONF), name], check=True)


def ceph(*words):
    return subprocess.run(words[:1] + ("--conf", CEPH_CONF) + words[1:], check=True, timeout=DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout  # fmt: skip


class Load:
    """Writes and reads back, one block after the other, until the end of the block."""

    def __init__(self, client, size):
        self.client, self.size, self.turns, self.wrong = client, size, 0, []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.end.is_set():
            offset = self.turns * 4096 % self.size
            data = (self.turns % 255 + 1).to_bytes(1, "big") * 4096
            status = self.client.write(offset, data).status
            if status != "OK" or self.client.read(offset, 4096).payload != data:
                self.wrong.append((self.turns, status))
                return
            self.turns += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join(DEADLINE)

    def goes_on(self, turns=50):
        wanted = self.turns + turns
        until(lambda: self.turns >= wanted or self.wrong, "more writes")


class Cluster(Case):
    def setUp(self):
        super().setUp()
        self.name = self.id().rsplit(".", 1)[1]
        self.proxy.create(self.name, 16 * MIB)

    def test_osds(self):
        """One is killed and one freezes under load: it takes its time, and no request fails."""
        with self.proxy.leased(self.name) as c, Load(c, 16 * MIB) as load:
            load.goes_on()
            cluster("kill", "osd-0")
            load.goes_on(300)
            cluster("revive", "osd-0")
            # Of two copies one may be away: it has to catch up first, and a cluster without a manager tells nobody when it has.
            load.goes_on(1500)
            cluster("freeze", "osd-1")
            try:
                load.goes_on(300)
            finally:
                cluster("thaw", "osd-1")
            load.goes_on()
        self.assertEqual(load.wrong, [])

    def test_monitor(self):
        """Gone, it disturbs nobody who has an image attached."""
        with self.proxy.leased(self.name) as c, Load(c, 16 * MIB) as load:
            load.goes_on()
            cluster("kill", "mon")
            try:
                load.goes_on(200)
            finally:
                cluster("revive", "mon")
        self.assertEqual(load.wrong, [])

    def test_who_does_not_write_flushes(self):
        """RBD would want its lock for that: of who only reads, of who may not write any more, and with the lock just given back."""
        users = dict(USERS, writer=dict(USERS["writer"], read=["test_*"], write=["test_*"]))
        self.proxy.write_users(users)
        with self.proxy.modern() as other:
            other.list()
        with self.proxy.modern("writer") as writer, self.proxy.modern() as reader:
            self.assertStatus(writer.attach_lease(self.name), "OK")
            self.assertStatus(writer.write(0, b"w" * 4096), "OK")
            self.assertStatus(reader.attach_lease(self.name, read_only=True), "OK")
            self.assertStatus(reader.flush(), "OK")
            self.proxy.write_users(USERS | {"writer": dict(USERS["writer"], read=["test_*"], write=[])})
            self.proxy.process.send_signal(signal.SIGHUP)
            until(lambda: writer.write(0, b"w" * 4096).status == "READ_ONLY", "the loss of the right to write")
            pool = f"blockstore/{self.proxy.store.strip('/').replace('/', '-')}/{self.name}"
            until(lambda: not json.loads(ceph("rbd", "lock", "ls", "--format", "json", pool)), "the end of the lock")
            for client in (writer, reader):
                self.assertStatus(client.flush(), "OK")
                self.assertEqual(client.read(0, 4096).payload, b"w" * 4096)
            self.assertEqual(json.loads(ceph("rbd", "lock", "ls", "--format", "json", pool)), [], "a flush has taken the lock")
        self.proxy.write_users(USERS)
        self.proxy.process.send_signal(signal.SIGHUP)
        self.assertIsNone(self.proxy.process.poll())

    def test_locked_by_a_stranger(self):
        """A client of Ceph that is no proxy is not shut out, and is named."""
        namespace = self.proxy.store.strip("/").replace("/", "-")
        stranger = subprocess.Popen(["rbd", "--conf", CEPH_CONF, "bench", "--io-type", "write", "--io-total", "1T",
                                     f"blockstore/{namespace}/{self.name}"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            until(lambda: json.loads(ceph("rbd", "lock", "ls", "--format", "json", f"blockstore/{namespace}/{self.name}")),
                  "the stranger's lock")  # fmt: skip

            def named():
                # A cluster that is slow, with what the stranger does to it, may not even have opened the image yet.
                with self.proxy.modern() as c:
                    self.assertStatus(c.attach_lease(self.name), "TEMPORARY_ERROR")
                return "it is no proxy" in self.proxy.log()

            until(named, "the stranger's name")
            self.assertIsNone(stranger.poll())
        finally:
            stranger.kill()
            stranger.wait()


    def test_what_ceph_does_itself(self):
        with self.proxy.modern() as c:
            self.assertStatus(c.create("sums", MIB, checksums=True), "NOT_SUPPORTED")
            self.assertNotIn("sums", c.list())
            self.assertStatus(scrub(c, self.name), "NOT_SUPPORTED")
            found = care(c, self.name)
            self.assertEqual((found["flags"], found["state"]), (2, "never"))

    def test_limits_stay_with_the_image(self):
        """... under another name, and are not a clone's."""
        with self.proxy.modern() as c:
            self.assertStatus(c.create("limited", MIB), "OK")
            self.assertStatus(set_limits(c, "limited", iops=70, bandwidth=MIB, burst=5000), "OK")
            self.assertEqual(c.copy("SNAPSHOT", "limited", "s"), "OK")
            self.assertEqual(c.copy("CLONE_IMAGE", "limited", "s", "free"), "OK")
            self.assertStatus(c.rename("limited", "limited-2"), "OK")
            found = care(c, "limited-2")
            self.assertEqual((found["iops"], found["bandwidth"], found["burst"]), (70, MIB, 5000))
            self.assertEqual((care(c, "free")["iops"], care(c, "free")["bandwidth"]), (0, 0))
            self.assertStatus(c.attach_lease("limited-2"), "OK")
            self.assertEqual(care(c, "limited-2")["iops"], 70)
            self.assertStatus(set_limits(c, "limited-2"), "OK")
            self.assertEqual(care(c, "limited-2")["burst"], 0)

    def test_what_hangs_when_the_proxy_drains(self):
        """A write that hangs is finished when the cluster goes on, and answered; what comes later is sent away."""
        self.proxy.create("closed", MIB)
        with self.proxy.modern() as a, self.proxy.modern() as admin, self.proxy.modern() as late:
            self.assertStatus(a.attach_lease(self.name), "OK")
            for osd in ("osd-0", "osd-1", "osd-2"):
                cluster("freeze", osd)
            try:
                in_hand = a.send("WRITE", bytes(8) + b"h" * 4096)
                # An opening that hangs holds nobody up either: those who are there, and those who come.
                opening = late.send("ATTACH_LEASE", bytes(8) + padded("closed", 256))
                self.assertStatus(a.call("KEEPALIVE"), "OK")
                with self.proxy.modern() as newcomer:
                    self.assertStatus(newcomer.call("KEEPALIVE"), "OK")
                self.assertNotIn(opening, late.unmatched)
                self.assertStatus(admin.call("DRAIN", bytes(8)), "OK")
                self.assertStatus(a.write(4096, b"n" * 4096), "USE_ANOTHER_PROXY")
                self.assertNotIn(in_hand, a.unmatched)
            finally:
                for osd in ("osd-0", "osd-1", "osd-2"):
                    cluster("thaw", osd)
            self.assertStatus(a.wait(in_hand), "OK")
            # Sent away, or told to come again because it has hung for so long.
            status = late.wait(opening).status
            if status == "TEMPORARY_ERROR":
                self.assertIn("The Ceph cluster has not opened closed within", self.proxy.log())
            else:
                self.assertEqual(status, "USE_ANOTHER_PROXY")
            self.assertStatus(admin.call("DRAIN", struct.pack(">II", 1, 0)), "OK")
        with self.proxy.leased(self.name) as c:
            self.assertEqual(c.read(0, 4096).payload, b"h" * 4096)
            self.assertNotEqual(c.read(4096, 1).payload, b"n")

    def test_what_hangs_when_the_proxy_stops(self):
        """A stop does not wait for a cluster that does not answer. What was acknowledged is there afterwards."""
        with Proxy(self.proxy.store).start() as doomed, doomed.modern() as a:
            name = "doomed"
            doomed.create(name, MIB)
            self.assertStatus(a.attach_lease(name), "OK")
            self.assertStatus(a.write(0, b"k" * 4096), "OK")
            for osd in ("osd-0", "osd-1", "osd-2"):
                cluster("freeze", osd)
            try:
                a.send("WRITE", struct.pack(">Q", 4096) + b"h" * 4096)
                self.assertStatus(a.call("KEEPALIVE"), "OK")
                self.assertEqual(doomed.stop(), 74)
            finally:
                for osd in ("osd-0", "osd-1", "osd-2"):
                    cluster("thaw", osd)
            self.assertIn("The store has not answered for 12 s: ending without it", doomed.log())
        with self.proxy.leased(name) as c:
            self.assertEqual(c.read(0, 4096).payload, b"k" * 4096)


class ShutOut(unittest.TestCase):
    def test_idle_proxy(self):
        """It has nothing in hand when it is shut out, and finds out by its next request: which is not answered."""
        proxy = Proxy().start()
        self.addCleanup(proxy.remove)
        self.addCleanup(proxy.kill)
        proxy.create("idle")
        client = proxy.modern()
        self.addCleanup(client.close)
        self.assertEqual(client.attach_lease("idle").status, "OK")
        self.assertEqual(client.write(0, b"1" * 4096).status, "OK")
        namespace = proxy.store.strip("/").replace("/", "-")
        (lock,) = json.loads(ceph("rbd", "lock", "ls", "--format", "json", f"blockstore/{namespace}/idle"))
        ceph("ceph", "osd", "blocklist", "add", lock["address"])
        # An OSD that has not heard of it yet still executes, and then it is acknowledged.
        last, k = ord("1"), 0
        with self.assertRaises(Closed):
            while True:
                k = k % 255 + 1
                self.assertEqual(client.write(0, bytes([k]) * 4096).status, "OK")
                last = k
        self.assertEqual(proxy.process.wait(DEADLINE), SHUT_OUT)
        self.assertIn("was shut out of the Ceph cluster", proxy.log())

        # As another client it may go on, and takes over from what it was.
        proxy.notify.close()
        proxy.start()
        with proxy.leased("idle") as c:
            self.assertEqual(set(c.read(0, 4096).payload), {last})
        proxy.process.send_signal(signal.SIGTERM)
        self.assertEqual(proxy.process.wait(DEADLINE), 0)


class NoWayIn(unittest.TestCase):
    def directory(self):
        proxy = Proxy()
        self.addCleanup(proxy.remove)
        return proxy.directory

    def refused(self, conf=CEPH_CONF, **store):
        directory = self.directory()
        path = os.path.join(directory, "refused.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"listen": ["127.0.0.1:0"], "store": {"type": "rbd", "conf": conf, **store}}, file)
        with open(os.path.join(directory, "users.json"), "w", encoding="utf-8") as file:
            file.write(users_json(USERS))
        began = time.monotonic()
        result = subprocess.run([BINARY, "--config", path], stderr=subprocess.PIPE, text=True, check=False,
                                timeout=DEADLINE)  # fmt: skip
        return result.returncode, result.stderr, time.monotonic() - began

    def configuration(self, **changes):
        with open(CEPH_CONF, encoding="utf-8") as file:
            lines = file.read().splitlines()
        path = os.path.join(self.directory(), "ceph.conf")
        with open(path, "w", encoding="utf-8") as file:
            for line in lines:
                key = line.split(" =")[0]
                file.write(f"{key} = {changes[key]}\n" if key in changes else line + "\n")
        return path

    def test_no_monitor(self):
        status, text, _ = self.refused(self.configuration(mon_host="[v2:127.0.0.1:1/0]"), **{"connect-limit": "2s"})
        self.assertEqual(status, 74, text)
        self.assertIn("No monitor of the Ceph cluster has answered within 2 s", text)

    def test_no_pool(self):
        status, text, _ = self.refused(pool="nowhere")
        self.assertEqual(status, 74, text)
        self.assertIn("There is no pool nowhere", text)

    def test_no_configuration(self):
        status, text, _ = self.refused("/nowhere/ceph.conf")
        self.assertEqual(status, 74, text)
        self.assertIn("/nowhere/ceph.conf", text)

    def test_no_such_user(self):
        status, text, _ = self.refused(user="nobody")
        self.assertEqual(status, 74, text)
        self.assertIn("client.nobody", text)

    def test_settings(self):
        for wrong, word in (({"path": "/x"}, '"path"'), ({"pool": "a/b"}, "store.pool"),
                            ({"connect-limit": "1h"}, "5min")):  # fmt: skip
            status, text, _ = self.refused(**wrong)
            self.assertEqual(status, 78, text)
            self.assertIn(word, text)
