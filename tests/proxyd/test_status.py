# SPDX-License-Identifier: LGPL-2.1-or-later
"""STORE_STATUS: who may ask, and whom and what it names."""

import struct

from case import Case
from proxy import CEPH_CONF


def parse(payload):
    total, available, clients, count, scrub, size, _ = struct.unpack(">QQIIIIQ", payload[:40])
    sessions, at = [], size
    for _ in range(count):
        length, flags, generation, image, user, address, host = struct.unpack(">IIQHHHH", payload[at:at + 24])
        texts, start = [], at + 40
        for n in (image, user, address, host):
            texts.append(payload[start:start + n].decode())
            start += n
        assert start == at + length
        sessions.append((flags, generation, *texts))
        at += length
    assert at == len(payload) and scrub == 0
    return total, available, clients, sessions


class Status(Case):
    def test_administrator(self):
        self.proxy.create("status1", 1 << 20)
        with self.proxy.modern() as admin, self.proxy.modern() as writer:
            reply = admin.call("STORE_STATUS")
            self.assertStatus(reply, "OK")
            total, available, clients, sessions = parse(reply.payload)
            # That of a cluster is its manager's to tell, and in the tests' none runs.
            if not CEPH_CONF:
                self.assertGreater(total, 0)
            self.assertLessEqual(available, total)
            self.assertEqual(clients, 2)
            self.assertEqual(sessions, [])

            self.assertStatus(writer.attach_lease("status1"), "OK")
            _, _, _, sessions = parse(admin.call("STORE_STATUS").payload)
            self.assertEqual(len(sessions), 1)
            flags, generation, image, user, address, host = sessions[0]
            self.assertEqual((flags, image, user), (3, "status1", "alice"))
            self.assertGreater(generation, 0)
            self.assertIn("127.0.0.1:", address)
            self.assertTrue(host)
        with self.proxy.modern() as admin:
            self.assertEqual(parse(admin.call("STORE_STATUS").payload)[3], [])

    def test_nobody_else(self):
        with self.proxy.modern(user="writer") as c:
            self.assertStatus(c.call("STORE_STATUS"), "PERMISSION_DENIED")
        with self.proxy.connect() as c:
            self.assertStatus(c.call("STORE_STATUS"), "INVALID_REQUEST")
