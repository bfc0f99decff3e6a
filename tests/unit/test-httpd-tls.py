#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""blockstore-httpd with TLS and client certificates, with the rig of test-httpd.py.

    test-httpd-tls.py BLOCKSTORE-HTTPD MOCK-BLOCKSTORED

Everything is on the loopback, from where reading is free: what a certificate is good for shows in changes, which "local-token" closes to whoever proves nothing. What other hosts may reach is in tests/integration/cases/web.
"""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

import httpd_rig  # noqa: E402
from httpd_rig import DEADLINE, SKIP, SOURCE, TOKEN, Httpd, start_mock  # noqa: E402

keys = {}


def openssl(*arguments):
    subprocess.run(['openssl', *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def path(name):
    return os.path.join(keys['directory'], name)


def make_authority(name):
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', f'/CN={name}', '-keyout', path(f'{name}.key'), '-out', path(f'{name}.pem'))


def make_certificate(name, authority, extensions, days='2'):
    with open(path('extensions'), 'w', encoding='utf-8') as f:
        f.write(extensions)
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout', path(f'{name}.key'), '-out', path('request'))
    openssl('x509', '-req', '-in', path('request'), '-CA', path(f'{authority}.pem'), '-CAkey', path(f'{authority}.key'), '-CAcreateserial', '-days', days,
            '-extfile', path('extensions'), '-out', path(f'{name}.pem'))


def credentials(**files):
    """A credentials directory: NAME=FILE of keys, or the text itself."""
    directory = tempfile.mkdtemp(dir=keys['directory'])
    for name, source in files.items():
        where = os.path.join(directory, name.replace('_', '-'))
        if os.path.exists(path(source)):
            shutil.copyfile(path(source), where)
        else:
            with open(where, 'w', encoding='utf-8') as f:
                f.write(source)
    return directory


def setUpModule():
    httpd_rig.setUpModule()
    keys['directory'] = tempfile.mkdtemp(dir=httpd_rig.state['directory'])
    for name in ('servers', 'clients', 'strangers'):
        make_authority(name)
    make_certificate('server', 'servers', 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
    make_certificate('client', 'clients', 'extendedKeyUsage=clientAuth\n')
    make_certificate('stranger', 'strangers', 'extendedKeyUsage=clientAuth\n')
    make_certificate('no-client', 'clients', 'extendedKeyUsage=serverAuth\n')
    make_certificate('expired', 'clients', 'extendedKeyUsage=clientAuth\n', days='-1')


def tearDownModule():
    httpd_rig.tearDownModule()


class Case(unittest.TestCase):
    settings = {'control': True, 'local-token': True}
    files = {'certificate': 'server.pem', 'key': 'server.key', 'client_ca': 'clients.pem', 'token': TOKEN + '\n'}

    @classmethod
    def setUpClass(cls):
        cls.mock = start_mock()
        cls.mock.tell('add vm1')
        cls.httpd = Httpd(cls.settings, credentials=credentials(**cls.files))

    @classmethod
    def tearDownClass(cls):
        status, errors = cls.httpd.close()
        cls.mock.close()
        assert status == 0, f'ended with {status}: {errors}'

    def context(self, certificate=None):
        context = ssl.create_default_context(cafile=path('servers.pem'))
        if certificate:
            context.load_cert_chain(path(f'{certificate}.pem'), path(f'{certificate}.key'))
        return context

    def connection(self, certificate=None):
        return http.client.HTTPSConnection('localhost', self.httpd.tls_port, timeout=DEADLINE, context=self.context(certificate))

    def request(self, method, where, body=None, headers=None, certificate=None):
        connection = self.connection(certificate)
        try:
            return self.httpd.request(method, where, body, headers, connection)
        finally:
            connection.close()

    def get(self, where, certificate=None):
        return self.request('GET', where, certificate=certificate)

    def detach(self, certificate=None, csrf=True, **headers):
        given = {'Content-Type': 'application/json', **headers}
        if csrf:
            given['X-Blockstore-CSRF'] = self.httpd.csrf()
        return self.request('POST', '/api/v1/images/vm1/detach', '{}', given, certificate)


class Tls(Case):
    def test_reading(self):
        self.assertEqual(self.get('/api/v1/images').json['images'][0]['name'], 'vm1')
        script = self.get('/assets/page.js')
        self.assertGreater(len(script.body), 10000)
        self.assertEqual(script.body, self.httpd.get('/assets/page.js').body)
        with open(os.path.join(SOURCE, 'daemons/httpd/web/page.js'), 'rb') as f:
            self.assertEqual(script.body, f.read())

    def test_kept_connection(self):
        connection = self.connection()
        for _ in range(10):
            self.assertEqual(self.httpd.request('GET', '/api/v1/images', connection=connection).status, 200)
        connection.close()

    def test_who_is_let_in(self):
        for certificate in (None, 'stranger', 'no-client', 'expired'):
            answer = self.detach(certificate)
            self.assertEqual((answer.status, answer.json['error']), (401, 'org.blockstore.Error.AccessDenied'), certificate)
            self.assertIn('client certificate', answer.json['message'])
            self.assertIs(self.get('/api/v1/session', certificate).json['token_needed'], True)
        self.assertEqual(self.mock.changes(), [])
        self.assertIs(self.get('/api/v1/session', 'client').json['token_needed'], False)
        self.assertEqual(self.detach('client').status, 200)
        self.assertEqual(self.mock.wait_change(), 'DetachImage vm1')
        # The token is as good.
        self.assertEqual(self.detach(csrf=False, Authorization=f'Bearer {TOKEN}').status, 200)
        self.assertEqual(self.mock.wait_change(), 'DetachImage vm1')

    def test_forgery(self):
        """A browser shows its certificate to whoever asks."""
        self.assertEqual(self.detach('client', csrf=False).json['error'], 'Forged')
        self.assertEqual(self.detach('client', Origin='https://evil.example').json['error'], 'Forged')
        self.assertEqual(self.mock.changes(), [])
        self.assertEqual(self.detach('client', Origin=f'https://localhost:{self.httpd.tls_port}').status, 200)
        self.mock.wait_change()

    def test_plain_sockets_know_no_certificates(self):
        answer = self.httpd.post('/api/v1/images/vm1/detach', {})
        self.assertEqual(answer.status, 401)

    def test_events(self):
        with self.context('client').wrap_socket(socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE), server_hostname='localhost') as s:
            s.sendall(b'GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n')
            lines = s.makefile('rb')
            while not lines.readline().startswith(b'event: snapshot'):
                pass
            self.mock.tell('set vm1 StateReason Told over TLS.')
            while b'Told over TLS.' not in lines.readline():
                pass
            self.mock.tell('set vm1 StateReason ')

    def test_listeners_that_leave_are_missed(self):
        """Also while there is nothing to tell: their places are free again, so that there is room for far more than fit at once."""
        for _ in range(40):
            with self.context().wrap_socket(socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE), server_hostname='localhost') as s:
                s.sendall(b'GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n')
                s.recv(1)
        deadline = time.monotonic() + DEADLINE
        while b' 200 ' not in (answer := self.first_line('/api/v1/events')):
            self.assertIn(b' 503 ', answer)
            self.assertLess(time.monotonic(), deadline)

    def first_line(self, where):
        with self.context().wrap_socket(socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE), server_hostname='localhost') as s:
            s.sendall(f'GET {where} HTTP/1.0\r\nHost: localhost\r\n\r\n'.encode())
            return s.makefile('rb').readline().strip()

    def test_hostile(self):
        old = self.context()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers('DEFAULT:@SECLEVEL=0')
        with self.assertRaises((ssl.SSLError, OSError)):
            with old.wrap_socket(socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE), server_hostname='localhost'):
                pass
        # HTTP in the clear, nonsense, half a handshake, and nothing at all.
        silent = [socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE) for _ in range(20)]
        for words in (b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', bytes(range(256)) * 20, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'):
            with socket.create_connection(('127.0.0.1', self.httpd.tls_port), timeout=DEADLINE) as s:
                try:
                    s.sendall(words)
                    s.shutdown(socket.SHUT_WR)
                    self.assertNotIn(b'HTTP', s.recv(4096))
                except OSError:
                    pass
        self.assertEqual(self.get('/api/v1/images').status, 200)
        for s in silent:
            s.close()
        self.assertIsNone(self.httpd.process.poll())


class WithoutClients(Case):
    """TLS alone encrypts, and proves nothing about who asks."""
    files = {'certificate': 'server.pem', 'key': 'server.key', 'token': TOKEN + '\n'}

    def test_certificate_is_not_asked_for(self):
        answer = self.detach('client')
        self.assertEqual(answer.status, 401)
        self.assertNotIn('certificate', answer.json['message'])
        self.assertEqual(self.mock.changes(), [])


class BadCredentials(unittest.TestCase):
    def test_refused(self):
        mock = start_mock()
        try:
            for files, words in (({}, 'Cannot serve TLS at 127.0.0.1:'),
                                 ({'certificate': 'server.pem'}, 'credential certificate: there is no credential key'),
                                 ({'key': 'server.key'}, 'credential key: there is no credential certificate'),
                                 ({'client_ca': 'clients.pem'}, 'credential client-ca'),
                                 ({'certificate': 'server.key', 'key': 'server.key'}, 'credential certificate: expected PEM'),
                                 ({'certificate': 'server.pem', 'key': 'client.key'}, 'Cannot set up TLS'),
                                 ({'certificate': 'server.pem', 'key': 'server.key', 'client_ca': '-----BEGIN CERTIFICATE-----\nx'}, 'Cannot set up TLS'),
                                 ({'certificate': 'server.pem', 'key': 'server.key', 'token': 'short'}, 'credential token')):
                httpd = Httpd({}, credentials=credentials(**files))
                httpd.process.wait(DEADLINE)
                status, errors = httpd.close()
                self.assertEqual(status, 78, (files, errors))
                self.assertIn(words, errors)
        finally:
            mock.close()


if __name__ == '__main__':
    for needed in ('dbus-daemon', 'openssl'):
        if not shutil.which(needed):
            print(f'skip: there is no {needed}')
            sys.exit(SKIP)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
