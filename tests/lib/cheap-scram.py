#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cheap-scram.py FILE PASSWORD: what is stored for SCRAM in a file of users, all of whom have that password, made anew with 4096 iterations.

That is the least that RFC 7677 allows and a client takes. The default costs a tenth of a second at each start of a worker, and an emulated
processor takes seconds for it."""

import base64
import hashlib
import hmac
import os
import re
import sys

ITERATIONS = 4096


def verifier(match):
    name, salt = "sha" + match[1], os.urandom(16)
    # To SCRAM the password is what the classic LOGIN carries.
    password = hashlib.sha512(sys.argv[2].encode()).hexdigest().encode()
    salted = hashlib.pbkdf2_hmac(name, password, salt, ITERATIONS)
    client_key, server_key = (hmac.digest(salted, text, name) for text in (b"Client Key", b"Server Key"))
    parts = [base64.b64encode(part).decode() for part in (salt, hashlib.new(name, client_key).digest(), server_key)]
    return f"SCRAM-SHA-{match[1]}${ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


with open(sys.argv[1], "r+", encoding="ascii") as file:
    text, count = re.subn(r'SCRAM-SHA-(256|512)\$[^"]*', verifier, file.read().replace("\\/", "/"))
    assert count > 0, "nobody has anything stored for SCRAM"
    file.seek(0)
    file.truncate()
    file.write(text)
