# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test class with a proxy of its own, which must stop cleanly and have nothing open at the end that it had not at the start."""

import unittest

from proxy import CEPH_CONF, Proxy


class Case(unittest.TestCase):
    settings = {"peers": ["10.9.8.7", "[fd00::1]:11418"], "proxies-interval": "300ms", "memory": "64M",
                "client-memory": "64M", "login-limit": "20s", "failed-logins": 0}
    preexec = None
    store_type = "file"

    @classmethod
    def setUpClass(cls):
        cls.proxy = Proxy(store_type=cls.store_type, preexec=cls.preexec, **cls.settings).start()
        # A greeting shows that the start is over, and with it the socket of its notification.
        with cls.proxy.connect():
            cls.descriptors = cls.proxy.descriptors()
            cls.descriptors.remove("socket:")

    def setUp(self):
        status = self.proxy.process.poll()
        if status is not None:
            self.fail(f"the proxy has exited with {status}:\n{self.proxy.log()[-4000:]}")

    @classmethod
    def tearDownClass(cls):
        # Ceph's libraries come and go with theirs.
        left = cls.descriptors if CEPH_CONF else cls.proxy.wait_descriptors(cls.descriptors)
        status = cls.proxy.stop()
        log = cls.proxy.log()
        cls.proxy.remove()
        assert left == cls.descriptors, f"open at the end {left}, at the start {cls.descriptors}"
        assert status == 0, f"exit status {status}:\n{log[-4000:]}"

    def assertStatus(self, reply, status):
        self.assertEqual(reply.status, status, repr(reply))
