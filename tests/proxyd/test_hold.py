# SPDX-License-Identifier: LGPL-2.1-or-later
"""One proxy process of a store holds an image at a time: handing over by asking, waiting and killing."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

from case import Case
from client import Closed, Lease
from proxy import CEPH_CONF, DEADLINE, Proxy, needs_files, padded

TOKEN = slice(32, 48)

SHUT_OUT = 75  # how a proxy ends that was shut out of its cluster


def until(condition, what):
    """Deadlines only bound a defect: nothing is expected to take long."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.002)


def is_stopped(pid):
    """Every thread, not only the first: the ring's own ones write."""
    states = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                states.append(file.read().rsplit(")", 1)[1].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread has ended meanwhile, or all of them
    return all(state == "T" for state in states)


def stop(proxy):
    proxy.process.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(proxy.process.pid), "the stop")


class Pair(Case):
    """A (self.proxy) and B (self.other) over one store."""

    def setUp(self):
        super().setUp()
        self.other = Proxy(store=self.proxy.store).start()
        self.addCleanup(self.other.remove)
        self.addCleanup(self.other.stop)

    def lease(self, proxy, name, size=1 << 20):
        """Returns client, token."""
        proxy.create(name, size)
        client = proxy.modern()
        self.addCleanup(client.close)
        reply = client.attach_lease(name)
        self.assertStatus(reply, "OK")
        return client, reply.payload[TOKEN]

    def resume(self, proxy, name, token, generation=1):
        client = proxy.modern()
        self.addCleanup(client.close)
        self.assertStatus(client.resume(name, token, generation), "OK")
        return client


class HandOver(Pair):
    def test_idle_holder_lets_go(self):
        a, token = self.lease(self.proxy, "idle")
        self.assertStatus(a.write(0, b"a" * 512), "OK")
        b = self.resume(self.other, "idle", token)
        self.assertStatus(a.write(0, b"x" * 512), "USE_ANOTHER_PROXY")
        self.assertStatus(a.read(0, 512), "USE_ANOTHER_PROXY")
        self.assertStatus(a.flush(), "USE_ANOTHER_PROXY")
        self.assertEqual(b.read(0, 512).payload, b"a" * 512)
        self.assertStatus(b.write(0, b"b" * 512), "OK")
        self.assertIsNone(self.proxy.process.poll())
        # The session that was sent away comes back on a new connection.
        back = self.resume(self.proxy, "idle", token)
        self.assertEqual(back.read(0, 512).payload, b"b" * 512)
        self.assertStatus(back.write(0, b"c" * 512), "OK")
        self.assertStatus(b.write(0, b"x" * 512), "USE_ANOTHER_PROXY")
        self.assertStatus(a.write(0, b"x" * 512), "USE_ANOTHER_PROXY")

    def test_back_and_forth_under_writes(self):
        first, token = self.lease(self.proxy, "both")
        first.close()
        generation, n = 1, 0
        for turn in range(100):
            proxy = (self.proxy, self.other)[turn % 2]
            with proxy.modern() as client:
                self.assertStatus(client.resume("both", token, generation), "OK")
                if n:
                    self.assertEqual(client.read(0, 8).payload, n.to_bytes(8, "big"))
                for _ in range(20):
                    n += 1
                    self.assertStatus(client.write(0, n.to_bytes(8, "big")), "OK")

    def test_writes_in_hand_are_finished_first(self):
        """Nothing that the former holder was given lands after the image was handed over."""
        a, token = self.lease(self.proxy, "busy", 64 << 20)
        for turn in range(10):
            sequences = [a.send("WRITE", (k << 20).to_bytes(8, "big") + bytes([turn]) * (1 << 20)) for k in range(16)]
            b = self.resume(self.other, "busy", token)
            self.assertStatus(b.write(0, b"B" * (16 << 20)), "OK")
            for sequence in sequences:
                self.assertIn(a.wait(sequence).status, ("OK", "USE_ANOTHER_PROXY"))
            self.assertEqual(b.read(0, 16 << 20).payload, b"B" * (16 << 20))
            b.close()
            a.close()
            a = self.resume(self.proxy, "busy", token)

    def test_error_epoch_is_told_by_who_takes_over(self):
        """Another proxy has met a failed sync since this one was started."""
        needs_files("in a cluster nothing waits for a sync: there is no error epoch")
        _, token = self.lease(self.proxy, "epoch")
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        record["error-epoch"] += 7
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.rename(path + ".new", path)
        with self.other.modern() as b:
            reply = b.resume("epoch", token, 1)
            self.assertStatus(reply, "OK")
            self.assertEqual(Lease(reply.payload).error_epoch, record["error-epoch"])

    def test_reader_stays(self):
        a, token = self.lease(self.proxy, "readers")
        with self.proxy.modern() as reader:
            self.assertStatus(reader.attach_lease("readers", read_only=True), "OK")
            b = self.resume(self.other, "readers", token)
            self.assertStatus(b.write(0, b"b" * 512), "OK")
            self.assertEqual(reader.read(0, 512).payload, b"b" * 512)
            self.assertStatus(a.read(0, 512), "USE_ANOTHER_PROXY")

    def test_stranger_disturbs_nobody(self):
        """Who has no claim to the image does not make its holder let go."""
        a, token = self.lease(self.proxy, "mine")
        with self.other.modern(machine=b"n" * 16) as b, self.other.modern() as guesser:
            self.assertStatus(b.attach_lease("mine"), "HELD")
            self.assertStatus(guesser.resume("mine", b"?" * 16, 1), "EXPIRED")
            self.assertStatus(guesser.resume("mine", token, 2), "EXPIRED")
        with self.other.logged_in() as classic:
            self.assertStatus(classic.attach("mine"), "NOT_READY")
        self.assertStatus(a.write(0, b"still" + bytes(507)), "OK")

    def test_classic_writer_elsewhere(self):
        self.proxy.create("classic")
        with self.proxy.logged_in() as a, self.other.logged_in() as b, self.other.modern() as leased:
            self.assertStatus(a.attach("classic"), "OK")
            self.assertStatus(a.write(0, b"a" * 512), "OK")
            self.assertStatus(b.attach("classic"), "NOT_READY")
            self.assertStatus(leased.remove("classic"), "IN_USE")
            self.assertStatus(leased.attach_lease("classic"), "HELD")
            self.assertStatus(a.write(0, b"A" * 512), "OK")
            # On purpose it can be taken over.
            self.assertStatus(leased.attach_lease("classic", steal=True), "OK")
            self.assertIn(a.write(0, b"x" * 512).status, ("EXPIRED", "USE_ANOTHER_PROXY"))
            self.assertEqual(leased.read(0, 512).payload, b"A" * 512)

    def test_holder_that_has_ended(self):
        """Nobody is asked when the lock is free."""
        a, token = self.lease(self.proxy, "ended")
        a.close()
        self.proxy.wait_clients(0)
        self.resume(self.other, "ended", token)
        self.assertNotIn("taken over from process", self.other.log())


class Killed(unittest.TestCase):
    """These end their proxies."""

    def setUp(self):
        self.a = Proxy().start()
        self.b = Proxy(store=self.a.store).start()
        self.addCleanup(self.a.remove)
        self.addCleanup(self.b.remove)
        for proxy in (self.a, self.b):
            self.addCleanup(proxy.notify.close)
            self.addCleanup(proxy.kill)

    def attach(self, name, size=1 << 20):
        self.a.create(name, size)
        client = self.a.modern()
        self.addCleanup(client.close)
        reply = client.attach_lease(name)
        self.assertEqual(reply.status, "OK")
        return client, reply.payload[TOKEN]

    def resume(self, name, token):
        client = self.b.modern()
        self.addCleanup(client.close)
        began = time.monotonic()
        reply = client.resume(name, token, 1)
        self.assertEqual(reply.status, "OK", self.b.log()[-2000:])
        return client, time.monotonic() - began

    def test_ghost_write_of_a_frozen_proxy(self):
        """A was given W1 and stands still; B takes over and writes W2; A must never wake up to write W1."""
        a, token = self.attach("ghost")
        self.assertEqual(a.write(0, b"0" * 4096).status, "OK")
        stop(self.a)
        a.send("WRITE", bytes(8) + b"1" * 4096)
        b, took = self.resume("ghost", token)
        print(f"(frozen holder: {took * 1000:.1f} ms)", end=" ")
        # Without a word of ours a cluster would wait for 27 s.
        self.assertLess(took, 15)
        self.assertEqual(b.write(0, b"2" * 4096).status, "OK")
        self.a.process.send_signal(signal.SIGCONT)
        # Either it is dead, or it would have executed and answered.
        a.socket.settimeout(DEADLINE)
        try:
            a.receive()
        except Closed:
            pass
        self.assertEqual(b.read(0, 4096).payload, b"2" * 4096)
        self.assertEqual(self.a.process.wait(DEADLINE), SHUT_OUT if CEPH_CONF else -signal.SIGKILL)
        self.assertIn("is shut out of the Ceph cluster" if CEPH_CONF else "is killed", self.b.log())

    def test_frozen_with_many_writes_in_hand(self):
        a, token = self.attach("many", 256 << 20)
        sent = threading.Thread(target=self.flood, args=(a,))
        sent.start()
        a.receive()
        stop(self.a)
        b, _ = self.resume("many", token)
        self.assertEqual(b.write(0, b"B" * (32 << 20)).status, "OK")
        self.assertEqual(b.write(32 << 20, b"B" * (32 << 20)).status, "OK")
        self.a.process.send_signal(signal.SIGCONT)
        self.a.process.wait(DEADLINE)
        sent.join(DEADLINE)
        self.assertEqual(b.read(0, 32 << 20).payload, b"B" * (32 << 20))
        self.assertEqual(b.read(32 << 20, 32 << 20).payload, b"B" * (32 << 20))

    @staticmethod
    def flood(client):
        try:
            for k in range(64):
                client.send("WRITE", (k << 20).to_bytes(8, "big") + b"A" * (1 << 20))
        except OSError:
            pass

    def test_killed_holder(self):
        """kill -9 with writes in hand: B waits for the lock, not for anybody's answer."""
        a, token = self.attach("dead", 256 << 20)
        for turn in range(32):
            a.send("WRITE", (turn << 20).to_bytes(8, "big") + b"A" * (1 << 20))
        self.a.kill()
        b, took = self.resume("dead", token)
        print(f"(killed holder: {took * 1000:.1f} ms)", end=" ")
        self.assertEqual(b.write(0, b"B" * (32 << 20)).status, "OK")
        self.assertEqual(b.read(0, 32 << 20).payload, b"B" * (32 << 20))
        self.assertNotIn("is killed", self.b.log())


class Behaviour(Case):
    """Holders that do what a proxy does only when something is wrong."""

    @classmethod
    def setUpClass(cls):
        needs_files()
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.tokens = {}

    def hold(self, name, behaviour, *more, uid=0):
        with self.proxy.modern() as client:
            client.create(name, 1 << 20)
            self.tokens[name] = client.attach_lease(name).payload[TOKEN]
        arguments = [sys.executable, os.path.join(os.path.dirname(__file__), "holder.py"), self.proxy.store, name]
        holder = subprocess.Popen([*arguments, behaviour, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=dict(os.environ, HOLDER_UID=str(uid)))
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.stdin.close)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.assertEqual(holder.stdout.readline(), "holding\n")
        return holder

    def resume(self, name):
        """Sends RESUME; returns the client and the sequence to wait for."""
        client = self.proxy.modern()
        self.addCleanup(client.close)
        payload = struct.pack(">II", 0, 0) + self.tokens[name] + struct.pack(">QQ", 1, 0) + padded(name, 256)
        return client, client.send("RESUME", payload)

    def tell(self, holder):
        holder.stdin.write("\n")
        holder.stdin.flush()

    def test_slow_holder_is_waited_for(self):
        holder = self.hold("slow", "slow")
        client, sequence = self.resume("slow")
        # Asked again and again: that takes longer than an answer may, and each ask is one that was acknowledged.
        for _ in range(6):
            self.assertEqual(holder.stdout.readline(), "asked 2\n")
        self.assertIsNone(holder.poll())
        # Others are served meanwhile.
        self.proxy.create("other")
        with self.proxy.leased("other") as other:
            self.assertStatus(other.write(0, b"x" * 512), "OK")
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")
        self.assertIsNone(holder.poll(), "the holder was killed")
        self.assertNotIn("holds slow and does not answer", self.proxy.log())

    def test_busy_holder_is_waited_for(self):
        """One that has no time for an answer is not frozen."""
        holder = self.hold("busy", "busy")
        client, sequence = self.resume("busy")
        self.assertEqual(holder.stdout.readline(), "asked 2\n")
        self.assertEqual(holder.stdout.readline(), "asked 2\n", "it has acknowledged, and was asked again")
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")
        self.assertIsNone(holder.poll(), "the holder was killed")

    def test_holder_that_computes_for_ever_is_killed(self):
        holder = self.hold("spins", "spins")
        client, sequence = self.resume("spins")
        self.assertStatus(client.wait(sequence), "OK")
        self.assertEqual(holder.wait(DEADLINE), -signal.SIGKILL)

    def test_deaf_holder_is_killed(self):
        holder = self.hold("deaf", "deaf")
        client, sequence = self.resume("deaf")
        self.assertStatus(client.wait(sequence), "OK")
        self.assertEqual(holder.wait(DEADLINE), -signal.SIGKILL)

    def test_holder_that_freezes_after_its_word(self):
        holder = self.hold("freeze", "freeze")
        client, sequence = self.resume("freeze")
        self.assertStatus(client.wait(sequence), "OK")
        self.assertEqual(holder.wait(DEADLINE), -signal.SIGKILL)

    def test_holder_that_dies_when_asked(self):
        holder = self.hold("dies", "dies")
        client, sequence = self.resume("dies")
        self.assertStatus(client.wait(sequence), "OK")
        self.assertEqual(holder.wait(DEADLINE), 0)

    def test_stale_holder_file(self):
        """Somebody has the pid that the file names, and had it not when it was written."""
        innocent = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(innocent.wait)
        self.addCleanup(innocent.kill)
        holder = self.hold("stale", "mute", f"{innocent.pid} 1")
        client, sequence = self.resume("stale")
        # By the time that one is killed who does not answer, and was asked later, this one would have been.
        for name in ("clock-1", "clock-2"):
            clock = self.hold(name, "deaf")
            other, second = self.resume(name)
            self.assertStatus(other.wait(second), "OK")
            self.assertEqual(clock.wait(DEADLINE), -signal.SIGKILL)
        self.assertIsNone(innocent.poll())
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")
        self.assertIsNone(innocent.poll())

    def test_garbage_in_the_holder_file(self):
        holder = self.hold("garbage", "slow")
        with open(os.path.join(self.proxy.store, "images", "garbage", "holder"), "w", encoding="ascii") as file:
            file.write('{ "pid": ')
        client, sequence = self.resume("garbage")
        until(lambda: "garbage/holder" in self.proxy.log(), "the complaint")
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")
        self.assertIsNone(holder.poll())
        self.assertEqual(self.proxy.log().count("garbage/holder"), 1)

    def test_frozen_with_a_record_locked(self):
        holder = self.hold("locked", "lock")
        client, sequence = self.resume("locked")
        self.assertStatus(client.wait(sequence), "OK")
        self.assertEqual(holder.wait(DEADLINE), -signal.SIGKILL)

    def test_slow_with_a_record_locked(self):
        holder = self.hold("locked-slow", "lock-slow")
        client, sequence = self.resume("locked-slow")
        for _ in range(6):
            self.assertEqual(holder.stdout.readline(), "asked 0\n")
        self.assertIsNone(holder.poll())
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")

    def test_busy_with_a_record_locked(self):
        holder = self.hold("locked-busy", "lock-busy")
        client, sequence = self.resume("locked-busy")
        self.assertEqual(holder.stdout.readline(), "asked 0\n")
        self.assertEqual(holder.stdout.readline(), "asked 0\n", "it has answered, and was asked again")
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")

    def test_holder_that_hangs_up_and_lives(self):
        holder = self.hold("hangs-up", "hangs-up")
        client, sequence = self.resume("hangs-up")
        self.assertEqual(holder.stdout.readline(), "asked 2\n")
        self.tell(holder)
        self.assertStatus(client.wait(sequence), "OK")
        self.assertIn(holder.wait(DEADLINE), (0, -signal.SIGKILL))

    def open_to_all(self, name):
        """What lies in a store is its owner's alone; here somebody else gets at it all the same."""
        image = os.path.join(self.proxy.store, "images", name)
        for path, mode in ((self.proxy.directory, 0o711), (self.proxy.store, 0o711), (os.path.join(self.proxy.store, "images"), 0o711),
                           (os.path.join(self.proxy.store, "proxies"), 0o777), (image, 0o711), (os.path.join(image, "data"), 0o666),
                           (os.path.join(image, "holder"), 0o666)):
            os.chmod(path, mode)

    @unittest.skipIf(os.geteuid(), "another user's process can only be made by root")
    def test_foreign_holder_is_not_killed(self):
        self.proxy.create("foreign")
        self.open_to_all("foreign")
        holder = self.hold("foreign", "slow", uid=65534)
        client, sequence = self.resume("foreign")
        self.assertStatus(client.wait(sequence), "TEMPORARY_ERROR")
        self.assertIsNone(holder.poll())
        self.assertIn("cannot be killed", self.proxy.log())
        self.tell(holder)
        self.assertEqual(holder.stdout.readline(), "let go\n", "its answers were listened to")

    @unittest.skipIf(os.geteuid(), "another user's process can only be made by root")
    def test_foreign_asker_is_not_heard(self):
        self.proxy.create("asked")
        self.open_to_all("asked")
        with self.proxy.leased("asked") as client, self.proxy.modern() as reader:
            uuid = reader.list()["asked"]["uuid"]
            directory = os.path.join(self.proxy.store, "proxies")
            name = self.own_socket()
            os.chmod(os.path.join(directory, name), 0o666)
            heard = subprocess.run([sys.executable, "-c", FOREIGN_ASKER, directory, name, uuid.hex()], check=True,
                                   stdout=subprocess.PIPE, text=True, timeout=DEADLINE).stdout
            self.assertEqual(heard, "0 bytes\n")
            self.assertStatus(client.write(0, b"x" * 512), "OK")

    def test_asker_that_says_nonsense(self):
        """Costs it its connection, and nobody else anything."""
        self.proxy.create("nonsense")
        with self.proxy.leased("nonsense") as client:
            directory = os.path.join(self.proxy.store, "proxies")
            name = self.own_socket()
            ask = struct.pack("=IIII", 0x31564F48, 1, 1, 2) + bytes(16)
            for packet in (b"", b"x", ask[:-1], ask + b"x", bytes(32), ask[:4] + bytes([2]) + ask[5:], ask[:8] + bytes([7]) + ask[9:],
                           ask[:12] + bytes([3]) + ask[13:]):
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
                    one.settimeout(DEADLINE)
                    one.connect(f"/proc/self/fd/{self.directory_fd(directory)}/{name}")
                    if packet:
                        one.send(packet)
                    else:
                        one.shutdown(socket.SHUT_WR)
                    self.assertEqual(one.recv(64), b"", packet)
            # More at once than are served: the first of them are.
            crowd = []
            for _ in range(200):
                one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
                self.addCleanup(one.close)
                try:
                    one.connect(f"/proc/self/fd/{self.directory_fd(directory)}/{name}")
                except BlockingIOError:
                    continue
                crowd.append(one)
            crowd[0].settimeout(DEADLINE)
            crowd[0].send(ask)
            self.assertEqual(crowd[0].recv(64)[8], 2)
            self.assertStatus(client.write(0, b"x" * 512), "OK")

    def own_socket(self):
        """Others are what killed holders have left."""
        name, = (name for name in os.listdir(os.path.join(self.proxy.store, "proxies")) if len(name) == 37)
        return name

    def directory_fd(self, directory):
        fd = os.open(directory, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        return fd


FOREIGN_ASKER = """
import os, socket, struct, sys
directory, name, uuid = sys.argv[1:]
os.chdir(directory)
os.setuid(65534)
asker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asker.settimeout(20)
asker.connect(name)
try:
    asker.send(struct.pack("=IIII", 0x31564F48, 1, 1, 2) + bytes.fromhex(uuid))
    n = len(asker.recv(64))
except (BrokenPipeError, ConnectionResetError):
    n = 0
print(n, "bytes")
"""
