# SPDX-License-Identifier: LGPL-2.1-or-later
"""What SIGHUP changes in a proxy that runs, what it does not, and that it says which."""

import json
import signal

from case import Case
from client import proxies


class Reload(Case):
    def setUp(self):
        super().setUp()
        with open(self.proxy.config_path, encoding="utf-8") as file:
            self.config = json.load(file)

    def reload(self, text=None, **changed):
        before = len(self.proxy.log())
        with open(self.proxy.config_path, "w", encoding="utf-8") as file:
            file.write(text if text is not None else json.dumps({**self.config, **changed}))
        self.proxy.process.send_signal(signal.SIGHUP)
        self.proxy.wait_notified("READY=1")
        return self.proxy.log()[before:]

    def addresses(self):
        with self.proxy.modern() as client:
            return proxies(client.call("LIST_PROXIES").payload)

    def test_live(self):
        log = self.reload(**{"peers": ["127.0.0.2:1417"], "idle-limit": "77s"})
        self.assertIn("changed: peers, idle-limit", log)
        self.assertNotIn("next start", log)
        self.assertTrue(any(address == "127.0.0.2:1417" for _, address in self.addresses()), self.addresses())
        log = self.reload()
        self.assertIn("changed: peers, idle-limit", log)
        self.assertFalse(any(address == "127.0.0.2:1417" for _, address in self.addresses()), self.addresses())
        self.assertIn("nothing has changed", self.reload())

    def test_needs_a_restart(self):
        log = self.reload(**{"listen": ["127.0.0.1:1"], "memory": "512M", "clients-max": 5, "store": {"path": "/nowhere"}})
        self.assertIn("counts from the next start: listen, store, memory, clients-max", log)
        with self.proxy.modern():
            pass
        self.reload()

    def test_wrong(self):
        log = self.reload('{"idle-limit":\n"soon"}')
        self.assertIn("stays as it was", log)
        self.assertIn("idle-limit", log)
        with self.proxy.modern():
            pass
        self.assertIn("nothing has changed", self.reload())
