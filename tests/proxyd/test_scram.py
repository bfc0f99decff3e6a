# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logins with SCRAM, and what must not come of tampering with them."""

import hashlib
import unittest

import scram
from case import Case
from client import ALL_CAPS, CAP_FENCE, CAP_SCRAM, Closed, password_hex
from proxy import USERS, Proxy

RIGHT = password_hex("secret")


class Scram(Case):
    def tearDown(self):
        self.proxy.write_users(USERS)

    def hello(self, proxy=None, **how):
        c = (proxy or self.proxy).connect()
        self.addCleanup(c.close)
        self.assertStatus(c.hello(**how), "OK")
        return c

    def ticket(self, user="alice", password="secret"):
        reply, conversation = scram.login(self.hello(), user, password_hex(password))
        self.assertStatus(reply, "OK")
        return conversation.ticket

    def test_right_password(self):
        c = self.hello()
        reply, conversation = scram.login(c, "writer", password_hex("w"))
        self.assertStatus(reply, "OK")
        self.assertTrue(conversation.proved)
        # With that user's rights, and no others.
        self.assertStatus(c.create("elsewhere", 4096), "PERMISSION_DENIED")
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "INVALID_REQUEST")

    def test_both_mechanisms(self):
        for mechanism in scram.MECHANISMS:
            self.proxy.write_users(USERS)
            with open(self.proxy.users_path, encoding="utf-8") as file:
                text = file.read().replace(scram.verifier(RIGHT), scram.verifier(RIGHT, mechanism))
            with open(self.proxy.users_path, "w", encoding="utf-8") as file:
                file.write(text)
            reply, conversation = scram.login(self.hello(), "alice", RIGHT)
            self.assertStatus(reply, "OK")
            self.assertTrue(conversation.proved and conversation.mechanism == mechanism)
        # One that the client does not know is not forced upon it.
        self.assertStatus(scram.login(self.hello(), "alice", RIGHT, mechanisms=2)[0], "INVALID_REQUEST")

    def test_only_where_it_was_granted(self):
        with self.proxy.connect() as c:
            self.assertStatus(c.call("SCRAM_FIRST", b"\0" * 20), "INVALID_REQUEST")
        c = self.hello(caps=ALL_CAPS & ~CAP_SCRAM)
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "INVALID_REQUEST")
        self.assertStatus(c.login(), "OK")

    def test_wrong_proof(self):
        c = self.hello()
        for _ in range(3):
            self.assertStatus(scram.login(c, "alice", password_hex("wrong"))[0], "PERMISSION_DENIED")
        c.wait_closed()

    def test_wrong_proof_then_right(self):
        c = self.hello()
        self.assertStatus(scram.login(c, "alice", password_hex("wrong"))[0], "PERMISSION_DENIED")
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "OK")

    def test_order(self):
        c = self.hello()
        conversation = scram.Conversation(c, "alice", RIGHT)
        self.assertStatus(c.call("SCRAM_FINAL", b"c=biws,r=x,p=AAAA"), "INVALID_REQUEST")
        self.assertStatus(conversation.first(), "OK")
        message = conversation.last_message()
        # A first message is good for one last one, whatever became of it.
        self.assertStatus(conversation.final(b"p=nonsense"), "INVALID_REQUEST")
        self.assertStatus(conversation.final(message), "INVALID_REQUEST")
        self.assertStatus(c.create("x", 4096), "NOT_LOGGEDIN")

    def test_malformed(self):
        for message in (b"n=alice,r=x", b"n,,n=alice,r=", b"y,,n=alice,r=x", b"p=ivbs-hello,,n=,r=x",
                        b"p=ivbs-hello,a=root,n=alice,r=x", b"p=ivbs-hello,,n=alice,r=x\0", b"p=ivbs-hello,,n=a\nb,r=x", b"\xff" * 500):
            c = self.hello()
            self.assertStatus(c.call("SCRAM_FIRST", b"\0\0\0\6\0\0\0\0" + message), "INVALID_REQUEST")

    # --- who listens, or sits between

    def test_replayed_login(self):
        heard = scram.Conversation(self.hello(), "alice", RIGHT)
        heard.first()
        message = heard.last_message()
        self.assertStatus(heard.final(message), "OK")
        for repeat_first in (False, True):
            c = self.hello()
            again = scram.Conversation(c, "alice", b"")
            if repeat_first:
                again.bare = heard.bare
            self.assertStatus(again.first(), "OK")
            self.assertStatus(again.final(message), "PERMISSION_DENIED")

    def test_not_bound(self):
        c = self.hello()
        self.assertStatus(scram.login(c, "alice", RIGHT, header=b"n,,")[0], "INVALID_REQUEST")

    def test_downgrade(self):
        """Somebody between takes FENCE out of the greeting, or out of HELLO: the two sides have not seen the same."""
        c = self.hello()
        caps = int.from_bytes(c.greeting.payload[8:16], "big")
        tampered = c.greeting.payload[:8] + (caps & ~CAP_FENCE).to_bytes(8, "big") + c.greeting.payload[16:]
        transcript = hashlib.sha256(c.session).digest()
        transcript = hashlib.sha256(transcript + tampered).digest()
        self.assertStatus(scram.login(c, "alice", RIGHT, transcript=transcript)[0], "PERMISSION_DENIED")
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "OK")

        one, other = self.hello(), self.hello(caps=ALL_CAPS & ~CAP_FENCE)
        self.assertStatus(scram.login(other, "alice", RIGHT, transcript=one.transcript)[0], "PERMISSION_DENIED")

    def test_unknown_user(self):
        """Asked for a proof like any other, with the same salt each time, by all proxies of the store."""
        def asked(name, proxy=None):
            conversation = scram.Conversation(self.hello(proxy), name, RIGHT)
            self.assertStatus(conversation.first(), "OK")
            return conversation

        with Proxy(store=self.proxy.store).start() as other:
            mallory = asked("mallory")
            self.assertEqual(mallory.salt, asked("mallory", other).salt)
            self.assertNotEqual(mallory.salt, asked("trudy").salt)
            alice = asked("alice")
            self.assertEqual((mallory.mechanism, mallory.iterations, len(mallory.salt)),
                             (alice.mechanism, alice.iterations, len(alice.salt)))
            self.assertStatus(mallory.final(), "PERMISSION_DENIED")
            alice.password = b"wrong"
            self.assertStatus(alice.final(), "PERMISSION_DENIED")

    # --- users

    def test_only_classic(self):
        self.proxy.write_users({"alice": dict(USERS["alice"], logins=("classic",))})
        c = self.hello()
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "NO_SCRAM")
        self.assertStatus(c.login(), "OK")

    def test_only_scram(self):
        self.proxy.write_users({"alice": dict(USERS["alice"], logins=("scram",))})
        c = self.hello()
        self.assertStatus(c.login(), "PERMISSION_DENIED")
        self.assertStatus(scram.login(c, "alice", RIGHT)[0], "OK")

    def test_changed_between(self):
        c = self.hello()
        conversation = scram.Conversation(c, "alice", RIGHT)
        conversation.first()
        self.proxy.write_users(dict(USERS, alice=dict(USERS["alice"], password="another")))
        scram.login(self.hello(), "writer", password_hex("w"))  # which makes the proxy look
        self.assertStatus(conversation.final(), "TEMPORARY_ERROR")

    # --- tickets

    def test_ticket(self):
        ticket = self.ticket("writer", "w")
        for _ in range(5):
            c = self.hello()
            self.assertStatus(ticket.login(c), "OK")
            self.assertTrue(ticket.proved)
            self.assertStatus(c.create("elsewhere", 4096), "PERMISSION_DENIED")
            ticket = ticket.next

    def test_stolen_ticket(self):
        ticket = self.ticket()
        c = self.hello()
        message = ticket.message(c)
        self.assertStatus(c.call("SCRAM_TICKET", message), "OK")
        # The very bytes, on another connection; the ticket without its key; and as if it were one to be shown.
        self.assertStatus(self.hello().call("SCRAM_TICKET", message), "PERMISSION_DENIED")
        self.assertStatus(ticket.login(self.hello(), key=b"\0" * 32), "PERMISSION_DENIED")
        self.assertStatus(self.hello().call("LOGIN_TICKET", ticket.ticket), "PERMISSION_DENIED")
        shown = self.hello().login().payload
        self.assertStatus(scram.Ticket(shown, b"\0" * 32).login(self.hello()), "PERMISSION_DENIED")

    def test_spoilt_ticket(self):
        ticket = self.ticket()
        for i in range(len(ticket.ticket)):
            spoilt = bytearray(ticket.ticket)
            spoilt[i] ^= 1
            c = self.hello()
            self.assertStatus(scram.Ticket(bytes(spoilt), ticket.key).login(c), "PERMISSION_DENIED")
            c.close()

    def test_ticket_of_another_password(self):
        ticket = self.ticket()
        self.proxy.write_users(dict(USERS, alice=dict(USERS["alice"], password="another")))
        c = self.hello()
        self.assertStatus(ticket.login(c), "PERMISSION_DENIED")
        self.assertStatus(scram.login(c, "alice", password_hex("another"))[0], "OK")


class Policy(Case):
    def test_classic_login_never(self):
        with Proxy(**{"classic-login": "never"}).start() as proxy:
            with proxy.connect() as c:
                self.assertStatus(c.login(), "PERMISSION_DENIED")
            with proxy.connect() as c:
                c.hello()
                self.assertStatus(c.login(), "LOGIN_OFF")
                self.assertStatus(c.call("LOGIN_TICKET", b"x" * 80), "LOGIN_OFF")
                self.assertStatus(scram.login(c, "alice", RIGHT)[0], "OK")
            self.assertIn('"classic-login" is "never"', proxy.log())

    def test_flood(self):
        """After so many failures nobody from that address is checked for a while; who has a ticket comes in."""
        with Proxy(**{"failed-logins": 5}).start() as proxy:
            with proxy.connect() as c:
                c.hello()
                ticket = scram.login(c, "alice", RIGHT)[1].ticket
            failed = 0
            for _ in range(20):
                with proxy.connect() as c:
                    c.hello()
                    status = scram.login(c, "alice", password_hex("wrong"))[0].status
                    self.assertIn(status, ("PERMISSION_DENIED", "TEMPORARY_ERROR"))
                    failed += status == "PERMISSION_DENIED"
            self.assertTrue(5 <= failed <= 7, failed)  # one more for each 12 s that this has taken
            with proxy.connect() as c:
                c.hello()
                self.assertStatus(c.login(), "TEMPORARY_ERROR")
                self.assertStatus(scram.login(c, "nobody", RIGHT)[0], "TEMPORARY_ERROR")
                self.assertStatus(ticket.login(c), "OK")

    def test_flood_without_hello(self):
        with Proxy(**{"failed-logins": 2}).start() as proxy:
            for expected in ("PERMISSION_DENIED", "PERMISSION_DENIED", "TEMPORARY_ERROR"):
                with proxy.connect() as c:
                    self.assertStatus(c.login(password="wrong"), expected)


if __name__ == "__main__":
    unittest.main()
