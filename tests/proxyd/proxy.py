# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the proxy for a test: a store of its own, a port that the kernel chooses, readiness and status by
the notification socket as systemd would hear them."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import scram
from client import Client, padded, password_hex

BINARY = os.environ.get("PROXYD", "")
TEST_BINARY = os.environ.get("PROXYD_TEST", "")  # knows stores for tests, too
CEPH_CONF = os.environ.get("PROXYD_CEPH_CONF", "")  # then stores are on that cluster, see `run`
DEADLINE = 60  # seconds; only a defect comes near it
REFUSED = {0x6969, 0x65735546, 0x794C7630}  # file systems that no store may lie on
USERS = {
    "alice": {"password": "secret", "read": ["*"], "write": ["*"], "admin": True},
    "writer": {"password": "w", "read": ["open*"], "write": ["vm-*"], "admin": False},
    "reader": {"password": "r", "read": ["open*"], "write": [], "admin": False},
}


def file_system_type(path):
    """statfs() has no place in the standard library."""
    text = subprocess.run(["stat", "-f", "-c", "%t", path], check=True, stdout=subprocess.PIPE).stdout
    return int(text, 16)


def work_directory():
    for base in (os.environ.get("TMPDIR", "/tmp"), "/var/tmp", "/dev/shm"):
        if os.path.isdir(base) and file_system_type(base) not in REFUSED:
            return tempfile.mkdtemp(prefix="proxyd-test-", dir=base)
    raise RuntimeError("no local file system to put a store on")


def slow_hash(password):
    """As blockstorectl makes them, but cheap: a test logs in a hundred times."""
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    return libcrypt.crypt(password_hex(password), b"$6$rounds=1000$saltsalt").decode()


def users_json(users):
    """logins: by which ways a user can log in; both, unless said otherwise."""
    def stored(u):
        ways = u.get("logins", ("classic", "scram"))
        return ({"hash": slow_hash(u["password"])} if "classic" in ways else {}) | \
               ({"scram": scram.verifier(password_hex(u["password"]))} if "scram" in ways else {})

    return json.dumps({"users": [
        {"name": name, **stored(u), "read": u["read"], "write": u["write"], "admin": u["admin"]}
        for name, u in users.items()]})


def namespace_of(store):
    return store.strip("/").replace("/", "-")


def store_settings(store_type, store):
    """What a test calls a store's path is a namespace on a cluster, which keeps it apart from others."""
    if store_type != "file":
        needs_files()
    if not CEPH_CONF:
        return {"type": store_type, "path": store}
    namespace = namespace_of(store)
    subprocess.run(["rbd", "--conf", CEPH_CONF, "namespace", "create", "--pool", "blockstore", "--namespace", namespace],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # fmt: skip
    return {"type": "rbd", "conf": CEPH_CONF, "namespace": namespace}


def needs_files(why="about a store in files"):
    """For what has no meaning with a store in a cluster."""
    if CEPH_CONF:
        raise unittest.SkipTest(why)


def rbd(*words):
    """On the cluster, as its administrator; returns what it prints."""
    return subprocess.run(("rbd", "--conf", CEPH_CONF) + words, check=True, timeout=DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout  # fmt: skip


class Proxy:
    def __init__(self, store=None, store_type="file", preexec=None, environment=None, **settings):
        self.directory = work_directory()
        self.store = store or os.path.join(self.directory, "store")
        self.users_path = os.path.join(self.directory, "users.json")
        self.config_path = os.path.join(self.directory, "proxy.json")
        self.preexec = preexec
        self.binary = BINARY if store_type == "file" else TEST_BINARY
        self.environment = environment or {}
        self.process = None
        self.write_users(USERS)
        config = {"listen": ["127.0.0.1:0"], "store": store_settings(store_type, self.store),
                  "users": "users.json"}
        config.update(settings)
        with open(self.config_path, "w", encoding="utf-8") as file:
            json.dump(config, file)

    def write_users(self, users):
        with open(self.users_path + ".new", "w", encoding="utf-8") as file:
            file.write(users_json(users))
        os.rename(self.users_path + ".new", self.users_path)

    def start(self):
        path = os.path.join(self.directory, "notify")
        if os.path.exists(path):
            os.unlink(path)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.notify.bind(path)
        self.notify.settimeout(DEADLINE)
        environment = dict(os.environ, NOTIFY_SOCKET=path, **self.environment)
        environment.pop("JOURNAL_STREAM", None)
        self.log_path = os.path.join(self.directory, "log")
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.binary, "--config", self.config_path], stdout=log, stderr=log,
                                            env=environment, preexec_fn=self.preexec)
        status = self.wait_notified("READY=1")
        host, port = status.split("listening on ")[1].split()[0].rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))
        return self

    def wait_notified(self, what):
        """Waits for a notification with that line; returns its STATUS=."""
        self.notify.settimeout(0.2)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            try:
                lines = self.notify.recv(65536).decode().split("\n")
            except socket.timeout:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the proxy has exited with {self.process.returncode}:\n{self.log()}") from None
                continue
            if any(line.startswith(what) for line in lines):
                return next((line[7:] for line in lines if line.startswith("STATUS=")), "")
        raise RuntimeError(f"no {what} came:\n{self.log()}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def descriptors(self):
        """What it has open, by kind and target; numbers are left out."""
        base = f"/proc/{self.process.pid}/fd"
        found = []
        for fd in os.listdir(base):
            try:
                found.append(os.readlink(f"{base}/{fd}").split("[")[0])
            except FileNotFoundError:
                pass
        return sorted(found)

    def wait_descriptors(self, expected):
        """Until it has as much open as before: closing takes its time, and leaks stay."""
        end = time.monotonic() + DEADLINE
        while self.descriptors() != expected and time.monotonic() < end:
            time.sleep(0.02)
        return self.descriptors()

    def wait_clients(self, n):
        """Until the proxy says that it has n clients."""
        text = "1 client," if n == 1 else f"{n} clients,"
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self.wait_notified("STATUS=").startswith(text):
                return
        raise RuntimeError(f"never had {n} clients")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def power_cut(self):
        """It is killed and starts anew; with a volatile store that is a power cut."""
        self.kill()
        self.notify.close()
        self.start()

    def image_path(self, name):
        needs_files()
        return os.path.join(self.store, "images", name)

    def inject(self, name, text=""):
        """A file in the store's directory, for the stores that look for it (tests/chaos/store-volatile.c)."""
        needs_files()
        path = os.path.join(self.store, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def hidden(self):
        """What is in the making, or was left of it: it has names that nobody sees."""
        if CEPH_CONF:
            pool = "blockstore/" + namespace_of(self.store)
            end = time.monotonic() + DEADLINE
            # What was removed is deleted in the background.
            while True:
                images = json.loads(rbd("ls", "--format", "json", pool))
                if not any(i.startswith(".gone-") for i in images) or time.monotonic() > end:
                    break
                time.sleep(0.05)
            return [i for i in images if i.startswith(".")] + [
                f"{i}@{s['name']}" for i in images if not i.startswith(".")
                for s in json.loads(rbd("snap", "ls", "--format", "json", f"{pool}/{i}")) if s["name"].startswith(".")]
        return [os.path.join(folder, n) for folder, folders, files in os.walk(os.path.join(self.store, "images"))
                for n in folders + files if n.startswith(".") and n != ".record.json.spare" or n == "intent.json" or "roll-back" in n]

    def stop_injecting(self, name):
        os.unlink(os.path.join(self.store, name))

    def stop(self):
        """A clean stop; returns the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE)
        self.notify.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        self.remove()

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- clients

    def connect(self):
        return Client(self.address)

    def logged_in(self, user="alice", password=None):
        client = self.connect()
        reply = client.login(user, USERS[user]["password"] if password is None else password)
        assert reply.status == "OK", reply
        return client

    def modern(self, user="alice", **hello):
        client = self.connect()
        assert client.hello(**hello).status == "OK"
        reply = client.login(user, USERS[user]["password"])
        assert reply.status == "OK", reply
        return client

    def create(self, name, size=1 << 20):
        with self.modern() as client:
            reply = client.create(name, size)
            assert reply.status == "OK", reply
        return name

    def leased(self, name, **hello):
        client = self.modern(**hello)
        reply = client.attach_lease(name)
        assert reply.status == "OK", reply
        return client

    def data_path(self, name):
        needs_files()
        return os.path.join(self.store, "images", name, "data")

    def record(self, name):
        needs_files()
        with open(os.path.join(self.store, "images", name, "record.json"), encoding="utf-8") as file:
            return json.load(file)


__all__ = ["Proxy", "USERS", "BINARY", "padded", "work_directory"]
