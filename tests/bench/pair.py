# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our own pair: a proxy over a store, and workers of its images, started as systemd would start them: configuration, credential and runtime directory by the environment,
the NBD socket by descriptor. Images have no kernel device."""

import ctypes
import json
import os
import signal
import socket
import sys

from child import Child, Failed

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proxyd"))
from client import Client, password_hex  # noqa: E402

USER, PASSWORD = "bench", "bench"
PATIENCE = 30  # seconds for either to be ready


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def slow_hash():
    """As blockstorectl makes them: yescrypt with its default cost, which is part of what an attach takes."""
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = libcrypt.crypt_gensalt.restype = ctypes.c_char_p
    return libcrypt.crypt(password_hex(PASSWORD), libcrypt.crypt_gensalt(b"$y$", 0, None, 0)).decode()


class Pair:
    def __init__(self, build, directory, settings=None):
        """`settings`: keys of an image's configuration, as docs/configuration.md has them."""
        self.build, self.directory, self.settings, self.workers = build, directory, settings or {}, {}
        for name in ("etc/images.d", "credentials", "images", "sockets", "state"):
            os.makedirs(os.path.join(directory, name))
        write(os.path.join(directory, "credentials/password"), PASSWORD)
        write(os.path.join(directory, "users.json"), json.dumps({"users": [
            {"name": USER, "hash": slow_hash(), "read": ["*"], "write": ["*"], "admin": True}]}))  # fmt: skip
        write(os.path.join(directory, "proxy.json"), json.dumps({
            "listen": ["127.0.0.1:0"], "users": "users.json", "clients-max": 4096,
            "store": {"type": "file", "path": os.path.join(directory, "store")}}))  # fmt: skip
        self.proxy = Child("proxy", [self.program("proxyd"), f"--config={directory}/proxy.json"], directory, notify=True)
        self.proxy.wait_ready(PATIENCE)
        self.port = int(self.proxy.status.rpartition(":")[2])
        self.configure()

    def configure(self):
        write(os.path.join(self.directory, "etc/blockstore.json"), json.dumps({
            "proxies": [f"127.0.0.1:{self.port}"], "user": USER}))  # fmt: skip

    def program(self, folder):
        return os.path.join(self.build, "daemons", folder, {"proxyd": "blockstore-proxyd", "worker": "blockstore-worker"}[folder])

    def create(self, names, size):
        with Client(("127.0.0.1", self.port)) as client:
            for reply in (client.hello(), client.login(USER, PASSWORD)):
                if reply.status != "OK":
                    raise Failed(f"the proxy says {reply.status} to a client of the benchmark")
            for name in names:
                reply = client.create(name, size)
                if reply.status != "OK":
                    raise Failed(f"the proxy says {reply.status} to the creation of {name}")

    def touch_users(self):
        """The proxy reads its users anew at the next login, and has forgotten what it knew."""
        os.utime(os.path.join(self.directory, "users.json"))

    def data(self, name):
        return os.path.join(self.directory, "store/images", name, "data")

    def socket_path(self, name):
        return os.path.join(self.directory, "sockets", name)

    def uri(self, name):
        return f"nbd+unix:///?socket={self.socket_path(name)}"

    def start(self, name):
        """Starts the worker of an image, and does not wait for it."""
        write(os.path.join(self.directory, f"etc/images.d/{name}.json"), json.dumps({"device": "none", **self.settings}))
        home = os.path.join(self.directory, "images", name)
        os.makedirs(os.path.join(home, "run"), exist_ok=True)
        os.makedirs(os.path.join(home, "state"), exist_ok=True)
        if os.path.exists(self.socket_path(name)):
            os.unlink(self.socket_path(name))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket_path(name))
            listener.listen(64)
            self.workers[name] = Child("worker-" + name, [self.program("worker"), name], home, listen=listener, notify=True, environment={
                "BLOCKSTORE_CONFIG_DIRECTORY": os.path.join(self.directory, "etc"),
                "BLOCKSTORE_RUNTIME_DIRECTORY": os.path.join(home, "run"),
                "CREDENTIALS_DIRECTORY": os.path.join(self.directory, "credentials"),
                "RUNTIME_DIRECTORY": os.path.join(home, "state"),
            })  # fmt: skip
        return self.workers[name]

    def stop(self):
        for worker in self.workers.values():
            worker.send(signal.SIGTERM)
        for worker in self.workers.values():
            worker.stop(10)
        self.proxy.stop(10)
