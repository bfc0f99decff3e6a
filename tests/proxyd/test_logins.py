# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many logins at once with a hash that is as slow as a real one: a host that comes up, clients that hang up, passwords that change."""

import ctypes
import json
import os

from case import Case
from client import Client, padded, password_hex

MANY = 200  # more than may wait for a hash of their own (LOGINS_WAITING_MAX)


def hash_of(password, rounds):
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    return libcrypt.crypt(password_hex(password), f"$6$rounds={rounds}$saltsalt".encode()).decode()


class Logins(Case):
    def setUp(self):
        super().setUp()
        self.clients = []
        self.users = {"host": hash_of("right", 20000), "other": hash_of("other", 1000)}
        self.write()

    def tearDown(self):
        for client in self.clients:
            client.close()

    def write(self):
        text = json.dumps({"users": [
            {"name": name, "hash": hash, "read": ["*"], "write": ["*"], "admin": True} for name, hash in self.users.items()]})  # fmt: skip
        with open(self.proxy.users_path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(self.proxy.users_path + ".new", self.proxy.users_path)

    def start(self, password, user="host"):
        """Sends LOGIN and does not wait."""
        client = Client(self.proxy.address, timeout=60)
        self.clients.append(client)
        client.login_sequence = client.send("LOGIN", padded(user, 32) + password_hex(password))
        return client

    def outcome(self, client):
        return client.wait(client.login_sequence).status

    def test_a_host_comes_up(self):
        clients = [self.start("right") for _ in range(MANY)]
        self.assertEqual({self.outcome(c) for c in clients}, {"OK"})

    def test_wrong_ones_share_nothing_but_the_hash(self):
        clients = [self.start("wrong") for _ in range(MANY)] + [self.start("right")]
        self.assertEqual([self.outcome(c) for c in clients], ["PERMISSION_DENIED"] * MANY + ["OK"])
        # Each has had one of its three.
        for status in ("PERMISSION_DENIED", "PERMISSION_DENIED"):
            self.assertStatus(clients[0].login("host", "wrong"), status)
        clients[0].wait_closed()
        self.assertStatus(clients[1].login("host", "right"), "OK")

    def test_who_hangs_up_leaves_the_queue(self):
        self.users["host"] = hash_of("right", 300000)
        self.write()
        refused = self.proxy.log().count("of gone from")
        for i in range(30):
            self.start(f"wrong {i}", "gone").close()
        # On a slow machine its turn may not come in time; then it is told to come again.
        status = "TEMPORARY_ERROR"
        while status == "TEMPORARY_ERROR":
            status = self.outcome(self.start("right"))
        self.assertEqual(status, "OK")
        # The first had perhaps been begun before it was known.
        self.assertLess(self.proxy.log().count("of gone from") - refused, 15)

    def test_more_is_said_meanwhile(self):
        """What comes behind a LOGIN is kept until that is answered, however much."""
        client = Client(self.proxy.address, timeout=60)
        self.clients.append(client)
        login = client.packet("LOGIN", padded("host", 32) + password_hex("right"))
        first = client.sequence
        rest = b"".join(client.packet("KEEPALIVE") for _ in range(10000))
        client.send_raw(login + rest)
        self.assertEqual([client.receive().sequence for _ in range(10001)], list(range(first, first + 10001)))

    def test_what_was_right_ends_with_the_password(self):
        self.assertEqual(self.outcome(self.start("right")), "OK")
        self.assertEqual(self.outcome(self.start("right")), "OK")
        self.users["host"] = hash_of("changed", 1000)
        self.write()
        self.assertEqual(self.outcome(self.start("right")), "PERMISSION_DENIED")
        self.assertEqual(self.outcome(self.start("changed")), "OK")
        del self.users["host"]
        self.write()
        self.assertEqual(self.outcome(self.start("changed")), "PERMISSION_DENIED")

    def test_a_change_is_read_once(self):
        """Not once for each of those who log in at the moment."""
        self.write()
        before = self.proxy.log().count("read anew")
        clients = [self.start("right") for _ in range(MANY)]
        self.assertEqual({self.outcome(c) for c in clients}, {"OK"})
        self.assertEqual(self.proxy.log().count("read anew"), before + 1)
