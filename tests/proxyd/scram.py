# SPDX-License-Identifier: LGPL-2.1-or-later
"""SCRAM as RFC 5802 has it, and tickets that are proved, written from that and from docs/protocol.md: a second reading of both.

The password is what LOGIN would carry. Every step is a function of its own, so that a test can spoil any of them.
"""

import base64
import hashlib
import hmac
import os
import struct

MECHANISMS = {1: "sha256", 2: "sha512"}
SALT = b"0123456789abcdef"
ITERATIONS = 4096


def b64(data):
    return base64.b64encode(data)


def keys(mechanism, password, salt, iterations):
    """(ClientKey, StoredKey, ServerKey)"""
    name = MECHANISMS[mechanism]
    salted = hashlib.pbkdf2_hmac(name, password, salt, iterations)
    client = hmac.digest(salted, b"Client Key", name)
    return client, hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name)


def verifier(password, mechanism=1, salt=SALT, iterations=ITERATIONS):
    _, stored, server = keys(mechanism, password, salt, iterations)
    name = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}[mechanism]
    return f"{name}${iterations}:{b64(salt).decode()}${b64(stored).decode()}:{b64(server).decode()}"


class Conversation:
    """A login on a client that has said HELLO."""

    def __init__(self, client, user, password, header=b"p=ivbs-hello,,", transcript=None, mechanisms=6):
        self.client, self.password, self.header = client, password, header
        self.transcript = client.transcript if transcript is None else transcript
        self.mechanisms = mechanisms
        self.bare = b"n=" + user.encode().replace(b"=", b"=3D").replace(b",", b"=2C") + b",r=" + b64(os.urandom(18))

    def first(self):
        """Sends the first message; the reply is what comes, and taken apart when it is OK."""
        reply = self.client.call("SCRAM_FIRST", struct.pack(">II", self.mechanisms, 0) + self.header + self.bare)
        if reply.status == "OK":
            self.mechanism, _ = struct.unpack(">II", reply.payload[:8])
            self.challenge = reply.payload[8:]
            values = dict(part.split(b"=", 1) for part in self.challenge.split(b","))
            self.nonce, self.salt, self.iterations = values[b"r"], base64.b64decode(values[b"s"]), int(values[b"i"])
        return reply

    def last_message(self):
        name = MECHANISMS[self.mechanism]
        client, stored, server = keys(self.mechanism, self.password, self.salt, self.iterations)
        bound = b"" if self.header.startswith(b"n") else self.transcript
        message = b"c=" + b64(self.header + bound) + b",r=" + self.nonce
        auth = self.bare + b"," + self.challenge + b"," + message
        proof = bytes(a ^ b for a, b in zip(client, hmac.digest(stored, auth, name)))
        self.signature = hmac.digest(server, auth, name)
        self.session_key = hmac.digest(stored, b"GSS-API session key" + client + auth, name)
        return message + b",p=" + b64(proof)

    def final(self, message=None):
        """Sends the last message, and holds the answer against what the server must know."""
        reply = self.client.call("SCRAM_FINAL", self.last_message() if message is None else message)
        if reply.status == "OK":
            length, _ = struct.unpack(">II", reply.payload[:8])
            self.proved = reply.payload[8:8 + length] == b"v=" + b64(self.signature)
            self.ticket = Ticket(reply.payload[8 + length:],
                                 labelled(self.session_key, b"ivbs ticket first", self.transcript, b""))
        return reply


def labelled(key, label, transcript, data):
    return hmac.digest(key, label.ljust(24, b"\0") + transcript + data, "sha256")


class Ticket:
    def __init__(self, ticket, key):
        self.ticket, self.key = ticket, key

    def message(self, client, key=None, nonce=None):
        key = self.key if key is None else key
        nonce = os.urandom(16) if nonce is None else nonce
        self.data, self.transcript = nonce + self.ticket, client.transcript
        return struct.pack(">II", len(self.ticket), 0) + nonce + \
            labelled(key, b"ivbs ticket client", client.transcript, self.data) + self.ticket

    def login(self, client, **how):
        reply = client.call("SCRAM_TICKET", self.message(client, **how))
        if reply.status == "OK":
            self.proved = reply.payload[:32] == labelled(self.key, b"ivbs ticket server", self.transcript, self.data)
            self.next = Ticket(reply.payload[32:], labelled(self.key, b"ivbs ticket next", self.transcript, self.data))
        return reply


def login(client, user="alice", password=b"", **how):
    conversation = Conversation(client, user, password, **how)
    reply = conversation.first()
    return (conversation.final() if reply.status == "OK" else reply), conversation
