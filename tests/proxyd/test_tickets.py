# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logins with a ticket."""

import json
import os
import struct
import time
import unittest

from case import Case
from client import ALL_CAPS, CAP_TICKET, password_hex
from proxy import USERS, Proxy, users_json


def ticket_login(client, ticket):
    return client.call("LOGIN_TICKET", ticket)


class Tickets(Case):
    def ticket(self, user="alice", proxy=None):
        with (proxy or self.proxy).connect() as c:
            self.assertStatus(c.hello(), "OK")
            reply = c.login(user, USERS[user]["password"])
            self.assertStatus(reply, "OK")
            self.assertTrue(1 <= len(reply.payload) <= 256)
            return reply.payload

    def outcome(self, ticket, proxy=None):
        with (proxy or self.proxy).connect() as c:
            c.hello()
            return ticket_login(c, ticket).status

    def tearDown(self):
        self.proxy.write_users(USERS)

    def test_instead_of_a_password(self):
        ticket = self.ticket("writer")
        self.proxy.create("vm-ticket")
        for _ in range(20):
            with self.proxy.connect() as c:
                c.hello()
                reply = ticket_login(c, ticket)
                self.assertStatus(reply, "OK")
                self.assertNotEqual(reply.payload, ticket)
                # With that user's rights, and no others.
                self.assertStatus(c.attach_lease("vm-ticket", read_only=True), "OK")
                self.assertStatus(c.create("elsewhere", 4096), "PERMISSION_DENIED")
                self.assertStatus(ticket_login(c, ticket), "INVALID_REQUEST")
                ticket = reply.payload

    def test_only_where_it_was_granted(self):
        ticket = self.ticket()
        with self.proxy.connect() as c:
            self.assertStatus(ticket_login(c, ticket), "INVALID_REQUEST")
            self.assertEqual(c.login().payload, b"")
        with self.proxy.connect() as c:
            c.hello(caps=ALL_CAPS & ~CAP_TICKET)
            self.assertStatus(ticket_login(c, ticket), "INVALID_REQUEST")
            self.assertEqual(c.login().payload, b"")
        with self.proxy.connect() as c:
            c.hello()
            for length in (0, 257, 4096):
                self.assertStatus(ticket_login(c, bytes(length)), "INVALID_REQUEST")
            self.assertStatus(c.login(), "OK")

    def test_a_bad_one_is_no_failed_login(self):
        ticket = self.ticket()
        bad = [b"\0", b"\xff" * 256, ticket[:-1], ticket[:20], ticket + b"x", ticket[::-1],
               ticket[:2] + struct.pack(">Q", (1 << 64) - 1) + ticket[10:],
               ticket.replace(b"alice", b"alicf"), ticket.replace(b"alice", b"al\nce"), bytes(len(ticket))]
        with self.proxy.connect() as c:
            c.hello()
            for forged in bad * 3:
                reply = ticket_login(c, forged)
                self.assertStatus(reply, "PERMISSION_DENIED")
                self.assertEqual(reply.payload, b"")
            self.assertStatus(c.call("LIST_IMAGES", struct.pack(">II", 256, 0) + bytes(256)), "NOT_LOGGEDIN")
            self.assertStatus(c.login("alice", "wrong"), "PERMISSION_DENIED")
            self.assertStatus(ticket_login(c, b"\0"), "PERMISSION_DENIED")
            self.assertStatus(c.login(), "OK")

    def test_changed_password(self):
        ticket = self.ticket()
        self.assertEqual(self.outcome(ticket), "OK")
        self.proxy.write_users(dict(USERS, alice=dict(USERS["alice"], password="other")))
        # No SIGHUP, no login by password in between.
        self.assertEqual(self.outcome(ticket), "PERMISSION_DENIED")
        self.proxy.write_users(USERS)
        # These tests' hashes have no salt of their own: the same password makes the same hash.
        self.assertEqual(self.outcome(ticket), "OK")

    def test_removed_user(self):
        ticket = self.ticket("reader")
        self.proxy.write_users({name: user for name, user in USERS.items() if name != "reader"})
        self.assertEqual(self.outcome(ticket), "PERMISSION_DENIED")

    def test_rights_are_those_of_now(self):
        ticket = self.ticket()
        self.proxy.write_users(dict(USERS, alice=dict(USERS["alice"], admin=False, write=[])))
        with self.proxy.connect() as c:
            c.hello()
            self.assertStatus(ticket_login(c, ticket), "OK")
            self.assertStatus(c.create("not-mine", 4096), "PERMISSION_DENIED")

    def test_after_a_restart_and_at_another_proxy(self):
        ticket = self.ticket()
        self.proxy.power_cut()
        self.assertEqual(self.outcome(ticket), "OK")
        sister = Proxy(store=self.proxy.store).start()
        try:
            self.assertEqual(self.outcome(ticket, sister), "OK")
            self.assertEqual(self.outcome(self.ticket(proxy=sister)), "OK")
        finally:
            sister.stop()
            sister.remove()

    def test_of_another_store(self):
        stranger = Proxy().start()
        try:
            self.assertEqual(self.outcome(self.ticket(), stranger), "PERMISSION_DENIED")
            self.assertEqual(self.outcome(self.ticket(proxy=stranger)), "PERMISSION_DENIED")
        finally:
            stranger.stop()
            stranger.remove()

    def test_is_not_told(self):
        ticket = self.ticket()
        self.assertEqual(self.outcome(ticket), "OK")
        self.assertEqual(self.outcome(ticket[:-1]), "PERMISSION_DENIED")
        log = self.proxy.log()
        self.assertNotIn(ticket.hex(), log)
        self.assertNotIn(ticket[-32:].hex(), log)
        mode = os.stat(os.path.join(self.proxy.store, "tickets.key")).st_mode & 0o777
        self.assertEqual(mode, 0o600)


class SlowHashes(unittest.TestCase):
    def test_a_ticket_needs_none(self):
        """The thread that hashes is busy for minutes; a ticket neither waits for it nor hashes on another one."""
        proxy = Proxy().start()
        try:
            with proxy.connect() as c:
                c.hello()
                ticket = c.login().payload
            users = json.loads(users_json(dict(USERS, slow=USERS["reader"])))
            slow = users["users"][-1]
            slow["hash"] = slow["hash"].replace("rounds=1000", "rounds=999999999")
            with open(proxy.users_path, "w", encoding="utf-8") as file:
                json.dump(users, file)
            blocker, waiting = proxy.connect(), proxy.connect()
            with blocker, waiting:
                blocker.send("LOGIN", b"slow".ljust(32, b"\0") + b"0" * 128)
                # The thread has it when it burns time.
                end = time.monotonic() + 60
                while "login" not in self.burning(proxy.process.pid):
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
                waiting.send("LOGIN", b"alice".ljust(32, b"\0") + password_hex("secret"))
                for _ in range(50):
                    with proxy.connect() as c:
                        c.hello()
                        reply = ticket_login(c, ticket)
                        self.assertEqual(reply.status, "OK")
                        ticket = reply.payload
        finally:
            proxy.kill()
            proxy.notify.close()
            proxy.remove()

    @staticmethod
    def burning(pid):
        """Names of the threads that have used 50 ms or more."""
        names = set()
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
            fields = rest.split()
            if int(fields[11]) + int(fields[12]) >= 0.05 * os.sysconf("SC_CLK_TCK"):
                names.add(name)
        return names
