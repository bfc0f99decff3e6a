# SPDX-License-Identifier: LGPL-2.1-or-later
"""Packets that nobody should send. Each is answered with a clear status or costs its own connection; a well-behaved client beside it
notices nothing, which tearDown() checks each time."""

import os
import random
import socket
import struct
import time

from case import Case
from client import Closed, LENGTH_MAX, OPS, padded, password_hex
from proxy import DEADLINE

HUGE = (LENGTH_MAX + 1, 1 << 31, (1 << 32) - 1)


class Hostile(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy.create("good")
        cls.good = cls.proxy.logged_in()
        assert cls.good.attach("good").status == "OK"
        cls.proxy.create("victim")

    @classmethod
    def tearDownClass(cls):
        cls.good.close()
        super().tearDownClass()

    def tearDown(self):
        data = os.urandom(64)
        self.assertStatus(self.good.write(0, data), "OK")
        self.assertEqual(self.good.read(0, 64).payload, data)

    def attached(self):
        c = self.proxy.modern()
        self.assertStatus(c.attach_lease("victim"), "OK")
        return c

    def test_every_op_before_login(self):
        with self.proxy.connect() as c:
            for op in ("ATTACH_TO_IMAGE", "READ", "WRITE"):
                n = {"ATTACH_TO_IMAGE": 256, "READ": 16, "WRITE": 4104}[op]
                self.assertStatus(c.call(op, bytes(n)), "NOT_LOGGEDIN")
            for op in ("ATTACH_LEASE", "RESUME", "LIST_IMAGES", "CREATE_IMAGE", "REMOVE_IMAGE", "FLUSH", "TRIM",
                       "WRITE_ZEROES", "WRITE_FUA", "DETACH", "FENCE"):
                self.assertStatus(c.call(op, bytes(300)), "INVALID_REQUEST")
            c.hello()
            for op, n in (("ATTACH_LEASE", 264), ("RESUME", 296), ("LIST_IMAGES", 264), ("CREATE_IMAGE", 272),
                          ("REMOVE_IMAGE", 280), ("FLUSH", 0), ("TRIM", 16), ("WRITE_ZEROES", 24), ("WRITE_FUA", 12),
                          ("DETACH", 0), ("LIST_PROXIES", 0), ("FENCE", 24)):
                self.assertStatus(c.call(op, bytes(n)), "NOT_LOGGEDIN")

    def test_every_op_before_attach(self):
        with self.proxy.modern() as c:
            for op, n in (("READ", 16), ("WRITE", 4104), ("FLUSH", 0), ("TRIM", 16), ("WRITE_ZEROES", 24),
                          ("WRITE_FUA", 12), ("DETACH", 0)):
                self.assertStatus(c.call(op, bytes(n)), "INVALID_REQUEST")

    def test_unknown_ops(self):
        with self.attached() as c:
            for op in (0, 3, 99, 101, 201, 210, 299, 302, 1000, 1003, 1301 << 8, (1 << 32) - 1):
                self.assertStatus(c.call(op, b"payload of an unknown op"), "INVALID_REQUEST")
                self.assertStatus(c.call(op), "INVALID_REQUEST")
            # A payload as large as any is passed over, not stored.
            self.assertStatus(c.call(9999, bytes(LENGTH_MAX)), "INVALID_REQUEST")
            self.assertStatus(c.read(0, 512), "OK")

    def test_ops_of_the_server(self):
        with self.attached() as c:
            self.assertStatus(c.call("GREETING", bytes(64)), "INVALID_REQUEST")
            self.assertStatus(c.call("NOTICE", bytes(16)), "INVALID_REQUEST")

    def test_impossible_lengths(self):
        for op in OPS:
            for length in HUGE:
                with self.attached() as c:
                    c.send(op, b"", length=length)
                    self.assertStatus(c.receive_answer(), "INVALID_REQUEST")
                    c.wait_closed()

    def test_endless_bytes_behind_the_end(self):
        """Who goes on sending and takes no answer is cut off all the same."""
        self.proxy.create("endless", 32 << 20)
        c = self.proxy.leased("endless")
        c.send("READ", struct.pack(">QQ", 0, 32 << 20))
        # The answer is on its way, and the last one has to stand in line behind it.
        c.socket.setblocking(True)
        c.socket.recv(1 << 14, socket.MSG_PEEK | socket.MSG_WAITALL)
        c.socket.settimeout(20)
        c.send_raw(c.packet("WRITE", b"", length=HUGE[0]))
        end = time.monotonic() + DEADLINE
        with self.assertRaises(ConnectionError):
            while time.monotonic() < end:
                c.send_raw(bytes(65536))
        c.close()

    def test_wrong_lengths(self):
        wrong = (("LOGIN", 159), ("LOGIN", 161), ("LOGIN", 0), ("ATTACH_TO_IMAGE", 255), ("ATTACH_TO_IMAGE", 257),
                 ("READ", 15), ("READ", 17), ("READ", 0), ("WRITE", 8), ("WRITE", 7), ("WRITE", 0), ("WRITE_FUA", 8),
                 ("TRIM", 15), ("WRITE_ZEROES", 23), ("HELLO", 79), ("ATTACH_LEASE", 263), ("RESUME", 295),
                 ("LIST_IMAGES", 263), ("CREATE_IMAGE", 271), ("REMOVE_IMAGE", 279), ("KEEPALIVE", 100000))
        with self.attached() as c:
            for op, n in wrong:
                self.assertStatus(c.call(op, bytes(n)), "INVALID_REQUEST")
            self.assertStatus(c.read(0, 512), "OK")

    def test_truncated_packets(self):
        whole = [("LOGIN", padded("alice", 32) + password_hex("secret")), ("KEEPALIVE", b""), ("HELLO", bytes(80))]
        for op, payload in whole:
            for cut in (1, 31, 47, 48, 100):
                with self.proxy.connect() as c:
                    data = c.packet(op, payload)
                    if cut < len(data):
                        c.send_raw(data[:cut])
        for cut in (1, 47, 48, 55, 56, 57, 4000, 70000):
            with self.attached() as c:
                c.send_raw(c.packet("WRITE", bytes(8) + b"t" * 100000)[:cut])
                c.socket.shutdown(socket.SHUT_WR)
                c.wait_closed()
        # Nothing of a cut write is written.
        with self.attached() as c:
            self.assertEqual(c.read(0, 4096).payload, bytes(4096))

    def test_byte_by_byte(self):
        with self.proxy.connect() as c:
            data = c.packet("LOGIN", padded("alice", 32) + password_hex("secret")) + c.packet("ATTACH_TO_IMAGE", padded("good", 256)) + \
                c.packet("WRITE", struct.pack(">Q", 512) + b"slowly")
            for i in range(len(data)):
                c.send_raw(data[i:i + 1])
            for sequence in (1, 2, 3):
                self.assertStatus(c.wait(sequence), "OK")
            self.assertEqual(c.read(512, 6).payload, b"slowly")

    def test_everything_at_once(self):
        """Not waiting for answers is allowed: packets are taken in their order."""
        with self.proxy.connect() as c:
            c.send_raw(c.packet("LOGIN", padded("alice", 32) + password_hex("secret")) +
                       c.packet("ATTACH_TO_IMAGE", padded("good", 256)) + c.packet("READ", struct.pack(">QQ", 0, 512)))
            for sequence in (1, 2, 3):
                self.assertStatus(c.wait(sequence), "OK")

    def test_duplicates(self):
        with self.attached() as c:
            self.assertStatus(c.login(), "INVALID_REQUEST")
            self.assertStatus(c.attach_lease("victim"), "INVALID_REQUEST")
            self.assertStatus(c.attach("victim"), "INVALID_REQUEST")
            self.assertStatus(c.hello(), "INVALID_REQUEST")
            # Two packets of one sequence are two requests, each answered.
            packet = c.packet("READ", struct.pack(">QQ", 0, 16), sequence=77)
            c.send_raw(packet + packet)
            for _ in range(2):
                reply = c.receive_answer()
                self.assertEqual((reply.status, reply.sequence), ("OK", 77))

    def test_names(self):
        bad = [b"", b".", b"..", b"a/b", b"/", b"../victim", b"vic\ntim", b"x" * 256, b"\xff", b"victim\0x", b"\x1b[2J"]
        with self.proxy.logged_in() as c:
            for name in bad:
                self.assertStatus(c.attach(name), "INVALID_REQUEST")
            self.assertStatus(c.attach("victim2"), "NOT_FOUND")

    def test_status_in_a_request_is_ignored(self):
        with self.proxy.connect() as c:
            self.assertStatus(c.call("KEEPALIVE", status=11), "OK")

    def test_noise(self):
        noise = random.Random(1)
        for _ in range(100):
            with self.proxy.connect() as c:
                try:
                    c.send_raw(noise.randbytes(noise.randrange(1, 4000)))
                    c.socket.shutdown(socket.SHUT_WR)
                    c.wait_closed()
                except (ConnectionError, Closed):
                    pass

    def test_noise_behind_a_true_header(self):
        noise = random.Random(2)
        ops = [op for op in OPS if op not in ("CREATE_IMAGE", "REMOVE_IMAGE", "LOGIN", "DRAIN")]
        with self.proxy.modern() as c:
            c.attach_lease("victim")
            for _ in range(1000):
                op = noise.choice(ops)
                size = noise.choice((0, 8, 9, 16, 24, 80, 256, 264, 280, 296, noise.randrange(400)))
                c.send(op, noise.randbytes(size))
            c.send("KEEPALIVE", sequence=4242)
            replies = 0
            while True:
                reply = c.receive()
                if reply.sequence == 4242:
                    break
                replies += reply.sequence != 0
            self.assertLessEqual(replies, 1000)

    def test_killed_clients(self):
        for _ in range(20):
            c = self.attached()
            c.send_raw(b"".join(c.packet("WRITE", struct.pack(">Q", 4096 * i) + bytes(4096)) for i in range(100)))
            c.send_raw(b"".join(c.packet("READ", struct.pack(">QQ", 0, 1 << 20)) for i in range(100)))
            # A reset instead of an end.
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()

    def test_client_that_never_reads(self):
        """It is stopped at its bounds, and stops nobody else."""
        self.proxy.create("unread", 32 << 20)
        c = self.proxy.logged_in()
        c.attach("unread")
        c.socket.settimeout(1)
        packet = c.packet("READ", struct.pack(">QQ", 0, 1 << 20))
        try:
            for _ in range(100000):
                c.send_raw(packet)
            self.fail("the proxy takes requests without end")
        except socket.timeout:
            pass
        self.tearDown()
        c.close()


def receive_answer(self):
    """The next packet that somebody asked for."""
    while True:
        reply = self.receive()
        if reply.sequence != 0:
            return reply


__import__("client").Client.receive_answer = receive_answer
