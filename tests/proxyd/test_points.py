# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy is killed, or frozen, at each named point of taking and handing over an image (tests/chaos/points): the others go on, and nothing is lost. Only a build with fault points has these."""

import unittest

from proxy import BINARY, DEADLINE, Proxy
from test_checksums import flip
from test_hold import is_stopped, until

TOKEN = slice(32, 48)


def has_points():
    with open(BINARY, "rb") as file:
        return b"BLOCKSTORE_FAULT_POINT" in file.read()


@unittest.skipUnless(has_points(), "this build has no fault points")
class Points(unittest.TestCase):
    def proxy(self, **more):
        proxy = Proxy(**more).start()
        self.addCleanup(proxy.remove)
        self.addCleanup(proxy.notify.close)
        self.addCleanup(proxy.kill)
        return proxy

    def check_over(self, proxy, how):
        """The one with the fault has met it."""
        if how == "kill":
            proxy.process.wait(DEADLINE)
        else:
            until(lambda: proxy.process.poll() is not None or is_stopped(proxy.process.pid), "the end, or the stop")

    def holder_fails(self, point, how):
        """B asks A, and A gets no further than the point."""
        a = self.proxy(environment={"BLOCKSTORE_FAULT_POINT": f"{point}={how}"})
        b = self.proxy(store=a.store)
        a.create("image")
        with a.modern() as client, b.modern() as other:
            token = client.attach_lease("image").payload[TOKEN]
            self.assertEqual(client.write(0, b"1" * 4096).status, "OK")
            self.assertEqual(other.resume("image", token, 1).status, "OK", b.log()[-2000:])
            self.check_over(a, how)
            self.assertEqual(other.read(0, 4096).payload, b"1" * 4096)
            self.assertEqual(other.write(0, b"2" * 4096).status, "OK")
            self.assertEqual(other.flush().status, "OK")
        return a

    def taker_fails(self, point, how):
        """A takes the image for its client, and gets no further than the point; the host tries again through B."""
        maker = self.proxy()
        maker.create("image")
        a = self.proxy(store=maker.store, environment={"BLOCKSTORE_FAULT_POINT": f"{point}={how}"})
        b = self.proxy(store=maker.store)
        with a.modern() as client, b.modern() as other:
            client.send("ATTACH_LEASE", bytes(8) + b"image".ljust(256, b"\0"))
            until(lambda: a.process.poll() is not None or is_stopped(a.process.pid), point)
            self.assertEqual(other.attach_lease("image").status, "OK", b.log()[-2000:])
            self.check_over(a, how)
            self.assertEqual(other.write(0, b"2" * 4096).status, "OK")
            self.assertEqual(other.flush().status, "OK")
        return a


    def writer_dies(self, point, how):
        """The proxy dies in the middle of a write to an image with checksums: what is there afterwards is old or new, and no damage; and what is damaged later is still found."""
        a = self.proxy(environment={"BLOCKSTORE_FAULT_POINT": f"{point}={how}"})
        with a.modern() as client:
            self.assertEqual(client.create("image", 1 << 20, checksums=True).status, "OK")
            client.attach_lease("image")
            client.send("WRITE", bytes(8) + b"1" * 8192)
            until(lambda: a.process.poll() is not None, point)
        b = self.proxy(store=a.store)
        with b.modern() as client:
            client.attach_lease("image", steal=True)
            reply = client.read(0, 8192)
            self.assertEqual(reply.status, "OK")
            self.assertIn(reply.payload, (bytes(8192), b"1" * 8192))
            self.assertEqual(client.write(0, b"2" * 8192).status, "OK")
            self.assertEqual(client.flush().status, "OK")
            flip(b, "image", 4096)
            self.assertEqual(client.read(0, 4096).status, "OK")
            self.assertEqual(client.read(4096, 4096).status, "DAMAGED")


def add(name, scene, point, how):
    def test(self):
        getattr(self, scene)(point, how)
    setattr(Points, f"test_{name}", test)


for POINT in ("sums-marked", "sums-written"):
    add(POINT, "writer_dies", POINT, "kill")
for HOW in ("kill", "stop"):
    for POINT in ("hand-over-asked", "hand-over-acknowledged", "hand-over-released"):
        add(f"{POINT}_{HOW}", "holder_fails", POINT, HOW)
    for POINT in ("hold-locked", "lease-taken", "lease-stored"):
        add(f"{POINT}_{HOW}", "taker_fails", POINT, HOW)
