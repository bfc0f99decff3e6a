# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS on the proxy's port, seen with Python's own TLS; and those who come in numbers, or slowly."""

import json
import os
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import unittest

from case import Case
from client import Client, Closed, password_hex
from proxy import BINARY, DEADLINE, Proxy, work_directory
from test_hold import until


class Certificates:
    """A CA and what it has issued, made by the openssl command."""

    def __init__(self):
        self.directory = work_directory()
        for ca in ("ca", "other-ca"):
            self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={ca}",
                     "-keyout", self.path(ca, "key"), "-out", self.path(ca, "crt"))
        self.issue("proxy", "ca")
        self.issue("renewed", "ca")
        self.issue("host1", "ca")
        self.issue("stranger", "other-ca")

    def path(self, name, end):
        return os.path.join(self.directory, f"{name}.{end}")

    def run(self, *arguments):
        subprocess.run(("openssl",) + arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def issue(self, name, ca):
        with open(self.path(name, "ext"), "w", encoding="ascii") as file:
            file.write("subjectAltName=IP:127.0.0.1\n")
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", self.path(name, "key"), "-out", self.path(name, "csr"))
        self.run("x509", "-req", "-in", self.path(name, "csr"), "-CA", self.path(ca, "crt"), "-CAkey", self.path(ca, "key"),
                 "-days", "1", "-extfile", self.path(name, "ext"), "-out", self.path(name, "crt"))

    def copy(self, name, to):
        for end in ("crt", "key"):
            shutil.copy(self.path(name, end), self.path(to, end + ".new"))
            os.rename(self.path(to, end + ".new"), self.path(to, end))

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class TlsClient(Client):
    """A client whose socket is wrapped before the greeting is waited for."""

    def __init__(self, address, context):
        plain = socket.create_connection(address, 20)
        self.socket = context.wrap_socket(plain, server_hostname=address[0])
        self.sequence, self.pushed, self.unmatched, self.session = 0, [], {}, b"\0" * 32
        self.greeting = self.receive()
        self.session = self.greeting.session


class Tls(unittest.TestCase):
    settings = {}
    login_limit = "20s"

    @classmethod
    def setUpClass(cls):
        cls.certificates = Certificates()
        cls.certificates.copy("proxy", "used")
        tls = {"certificate": cls.certificates.path("used", "crt"), "key": cls.certificates.path("used", "key")}
        cls.proxy = Proxy(**{"listen": ["127.0.0.1:0"], "listen-tls": ["127.0.0.1:0"], "tls": tls | cls.settings,
                             "login-limit": cls.login_limit}).start()
        # Both are in STATUS=, the plain one last.
        lines = [line.split("Listening on ")[1] for line in cls.proxy.log().splitlines() if "Listening on" in line]
        cls.address, cls.plain = [(host, int(port)) for host, port in (line.rsplit(":", 1) for line in lines)]

    @classmethod
    def tearDownClass(cls):
        status = cls.proxy.stop()
        log = cls.proxy.log()
        cls.proxy.remove()
        cls.certificates.remove()
        assert status == 0, f"exit status {status}:\n{log[-4000:]}"

    def context(self, own=None):
        context = ssl.create_default_context(cafile=self.certificates.path("ca", "crt"))
        if own:
            context.load_cert_chain(self.certificates.path(own, "crt"), self.certificates.path(own, "key"))
        return context

    def client(self, own=None):
        client = TlsClient(self.address, self.context(own))
        self.addCleanup(client.close)
        return client

    def assertStatus(self, reply, status):
        self.assertEqual(reply.status, status, repr(reply))

    def serial(self):
        with socket.create_connection(self.address, 20) as plain, \
                self.context().wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            return wrapped.getpeercert()["serialNumber"]


class Server(Tls):
    def test_io(self):
        c = self.client()
        self.assertStatus(c.hello(), "OK")
        self.assertStatus(c.login(), "OK")
        self.assertStatus(c.create("tls", 8 << 20), "OK")
        self.assertStatus(c.attach_lease("tls"), "OK")
        data = os.urandom(3 << 20)
        self.assertStatus(c.write(4096, data), "OK")
        self.assertEqual(c.read(4096, len(data)).payload, data)
        self.assertStatus(c.detach(), "OK")
        self.assertStatus(c.remove("tls"), "OK")

    def test_list_says_tls(self):
        c = self.client()
        c.hello()
        c.login()
        payload = c.call("LIST_PROXIES").payload
        length, _, flags = struct.unpack(">HHI", payload[16:24])
        self.assertEqual((payload[24:24 + length].decode(), flags), (f"127.0.0.1:{self.address[1]}", 1))

    def test_old_versions(self):
        context = self.context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            TlsClient(self.address, context)

    def test_1_2(self):
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with TlsClient(self.address, context) as c:
            self.assertStatus(c.login(), "OK")

    def test_renewed_certificate(self):
        before = self.serial()
        standing = self.client()
        self.certificates.copy("renewed", "used")
        self.assertEqual(self.serial(), before)
        self.proxy.process.send_signal(signal.SIGHUP)
        until(lambda: self.serial() != before, "the renewed certificate")
        self.assertStatus(standing.login(), "OK")

        # A broken one changes nothing.
        after = self.serial()
        with open(self.certificates.path("used", "crt"), "w", encoding="ascii") as file:
            file.write("nonsense")
        self.proxy.process.send_signal(signal.SIGHUP)
        until(lambda: "The certificate stays as it was" in self.proxy.log(), "the complaint")
        self.assertEqual(self.serial(), after)
        self.certificates.copy("renewed", "used")

    def test_plain_beside_it(self):
        with Client(self.plain) as c:
            self.assertStatus(c.login(), "OK")


class Impatient(Tls):
    login_limit = "2s"

    def logged_in(self):
        """On a machine that has no time to spare it may take longer than there is, and is tried again."""
        try:
            return self.client().login().status == "OK"
        except (Closed, ConnectionError, ssl.SSLError):
            return False

    def test_no_tls(self):
        """Whoever does not speak it hears nothing of ours, and is shown the door."""
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 48, b""):
            with socket.create_connection(self.address, DEADLINE) as plain:
                plain.sendall(words)
                heard = b""
                try:
                    while part := plain.recv(4096):
                        heard += part
                except ConnectionResetError:
                    pass
                self.assertNotIn(b"IVBSCAP1", heard)

    def test_slow_handshakes(self):
        """Each byte of a hello by itself, and then no more: the time for a login is that for all of it."""
        sockets = [socket.create_connection(self.address, DEADLINE) for _ in range(20)]
        for s in sockets:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
        until(self.logged_in, "a login beside them")
        for s in sockets:
            try:
                self.assertEqual(s.recv(4096), b"")
            except ConnectionResetError:
                pass
            s.close()


WORKER = os.path.join(os.path.dirname(BINARY), "..", "worker", "blockstore-worker")


@unittest.skipUnless(os.path.exists(WORKER) and shutil.which("nbdcopy"), "no worker beside the proxy, or no nbdcopy")
class WithWorker(Tls):
    """A worker that logs in with SCRAM, bound to the TLS connection, and comes back with a ticket."""

    def test_io(self):
        with Client(self.plain) as c:
            c.hello()
            c.login()
            self.assertStatus(c.create("tls", 4 << 20), "OK")
        base = os.path.join(self.proxy.directory, "host")
        for part in ("etc/images.d", "run/image/tls", "credentials"):
            os.makedirs(os.path.join(base, part))
        files = {
            "etc/blockstore.json": json.dumps({"proxies": [f"tls://127.0.0.1:{self.address[1]}"], "user": "alice",
                                               "connections": 2, "tls-ca": self.certificates.path("ca", "crt")}),
            "etc/images.d/tls.json": '{"device": "none"}',
            "credentials/password": "secret\n",
        }
        for name, text in files.items():
            with open(os.path.join(base, name), "w", encoding="ascii") as file:
                file.write(text)
        data = os.path.join(base, "data")
        with open(data, "wb") as file:
            file.write(os.urandom(4 << 20))

        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.join(base, "nbd"))
            listening.listen(5)
            # As systemd hands it over: descriptor 3, and the pid of who is to have it.
            start = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
            with open(os.path.join(base, "log"), "w", encoding="ascii") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-c", start, str(listening.fileno()), WORKER, "tls"], pass_fds=(listening.fileno(),), stdout=log, stderr=log,
                    env=dict(os.environ, BLOCKSTORE_CONFIG_DIRECTORY=base + "/etc", BLOCKSTORE_RUNTIME_DIRECTORY=base + "/run",
                             RUNTIME_DIRECTORY=base + "/run", CREDENTIALS_DIRECTORY=base + "/credentials", LISTEN_FDS="1"))
            try:
                uri = f"nbd+unix:///?socket={base}/nbd"
                subprocess.run(["nbdcopy", "--flush", data, uri], check=True, timeout=60)
                subprocess.run(["nbdcopy", uri, data + ".back"], check=True, timeout=60)
            finally:
                worker.terminate()
                self.assertEqual(worker.wait(60), 0)
        with open(data, "rb") as one, open(data + ".back", "rb") as other:
            self.assertEqual(one.read(), other.read())
        self.assertIn("with a password (SCRAM)", self.proxy.log())
        self.assertIn("with a ticket (SCRAM)", self.proxy.log())


class Mutual(Tls):
    @classmethod
    def setUpClass(cls):
        cls.settings = {}
        super().setUpClass()
        cls.proxy.stop()
        with open(cls.proxy.config_path, encoding="utf-8") as file:
            config = json.load(file)
        config["tls"]["client-ca"] = cls.certificates.path("ca", "crt")
        with open(cls.proxy.config_path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        os.unlink(cls.proxy.log_path)
        cls.proxy.start()
        lines = [line.split("Listening on ")[1] for line in cls.proxy.log().splitlines() if "Listening on" in line]
        cls.address = ("127.0.0.1", int(lines[0].rsplit(":", 1)[1]))

    def test_right(self):
        self.assertStatus(self.client("host1").login(), "OK")

    def test_none_and_wrong(self):
        for own in (None, "stranger"):
            with self.assertRaises((ssl.SSLError, ConnectionError, Closed)):
                self.client(own)


class Activated(unittest.TestCase):
    """Sockets of units: those that are called "tls" are for TLS."""

    def setUp(self):
        self.certificates = Certificates()
        self.addCleanup(self.certificates.remove)
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        for listener in self.listeners:
            self.addCleanup(listener.close)

    def start(self, names, **settings):
        self.proxy = Proxy(**settings)
        self.addCleanup(self.proxy.remove)
        numbers = [listener.fileno() for listener in self.listeners]
        # As systemd hands them over: descriptors from 3 on, and the pid of who is to have them.
        start = "import fcntl, os, sys; fds = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1].split(',')]; [os.dup2(fd, 3 + i) for i, fd in enumerate(fds)]; " \
                "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds))); os.execv(sys.argv[2], sys.argv[2:])"
        log = os.path.join(self.proxy.directory, "log")
        with open(log, "w", encoding="ascii") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", start, ",".join(map(str, numbers)), BINARY, "--config", self.proxy.config_path],
                pass_fds=numbers, stdout=file, stderr=file, env=dict(os.environ, LISTEN_FDNAMES=":".join(names)))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, log

    def test_both(self):
        process, _ = self.start(["plain", "tls"], **{
            "listen": ["127.0.0.1:1"], "listen-tls": ["127.0.0.1:2"],
            "tls": {"certificate": self.certificates.path("proxy", "crt"), "key": self.certificates.path("proxy", "key")}})
        context = ssl.create_default_context(cafile=self.certificates.path("ca", "crt"))
        with Client(self.listeners[0].getsockname()) as plain, TlsClient(self.listeners[1].getsockname(), context) as encrypted:
            self.assertEqual(plain.login().status, "OK")
            self.assertEqual(encrypted.login().status, "OK")
        process.terminate()
        self.assertEqual(process.wait(60), 0)

    def test_without_certificate(self):
        process, log = self.start(["plain", "tls"])
        self.assertEqual(process.wait(60), 78)
        with open(log, encoding="utf-8") as file:
            self.assertIn("FileDescriptorName=tls", file.read())


class Refused(unittest.TestCase):
    def test_configuration(self):
        proxy = Proxy(**{"listen-tls": ["127.0.0.1:0"]})
        with self.assertRaises(RuntimeError) as raised:
            proxy.start()
        self.assertIn("needs \"tls\"", str(raised.exception))
        proxy.remove()
        proxy = Proxy(**{"listen-tls": ["127.0.0.1:0"], "tls": {"certificate": "none.crt", "key": "none.key"}})
        with self.assertRaises(RuntimeError) as raised:
            proxy.start()
        self.assertIn("none.crt", str(raised.exception))
        proxy.remove()


class Crowd(Case):
    settings = {"clients-max": 20000, "login-limit": "10s", "failed-logins": 0}

    @staticmethod
    def preexec():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def test_many_connections(self):
        """As many as descriptors allow, up to 10,000, none of which says a word: one that does is served, and all are gone after the time for a login."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            n = min(10000, hard - 256)
            crowd = []
            for i in range(n):
                s = socket.socket()
                # One address has not enough ports for all who come again soon.
                s.bind((f"127.0.{1 + i // 5000}.1", 0))
                s.connect(self.proxy.address)
                crowd.append(s)
            with self.proxy.modern() as c:
                self.assertStatus(c.create("crowded", 1 << 20), "OK")
                self.assertStatus(c.remove("crowded"), "OK")
            for s in crowd:
                s.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.proxy.wait_clients(0)

    def test_slow_loris(self):
        """A byte now and then is no login: the time runs from the beginning."""
        with Proxy(**{"login-limit": "700ms"}).start() as proxy:
            with proxy.connect() as c:
                packet = c.packet("LOGIN", b"alice".ljust(32, b"\0") + password_hex("secret"))
                with self.assertRaises((Closed, BrokenPipeError, ConnectionResetError, TimeoutError)):
                    for i in range(len(packet)):
                        c.send_raw(packet[i:i + 1])
                        c.socket.settimeout(0.1)
                        try:
                            c.receive()
                        except socket.timeout:
                            continue
                    self.fail("it was let in")


if __name__ == "__main__":
    unittest.main()
