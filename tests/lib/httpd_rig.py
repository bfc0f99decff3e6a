# SPDX-License-Identifier: LGPL-2.1-or-later
"""blockstore-httpd as its unit tests run it: with sockets handed over as systemd does, on a bus of its own with the mock of the daemon.

They are called as TEST BLOCKSTORE-HTTPD MOCK-BLOCKSTORED.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import mock_blockstored
from lines import DEADLINE
from private_bus import PrivateBus

HTTPD, MOCK = sys.argv[1:3]
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
SKIP = 77
TOKEN = 'correct-horse-battery-staple'

state = {}


def setUpModule():
    state['directory'] = directory = tempfile.mkdtemp(prefix='blockstore-httpd-')
    state['bus'] = PrivateBus(directory)
    os.makedirs(os.path.join(directory, 'credentials'))
    with open(os.path.join(directory, 'credentials', 'token'), 'w', encoding='utf-8') as f:
        f.write(TOKEN + '\n')
    for index, size, pid in ((0, 0, None), (1, 0, '17'), (2, 0, None), (3, 2048, None), (10, 0, None)):
        device = os.path.join(directory, 'block', f'nbd{index}')
        os.makedirs(device)
        with open(os.path.join(device, 'size'), 'w', encoding='utf-8') as f:
            f.write(f'{size}\n')
        if pid:
            with open(os.path.join(device, 'pid'), 'w', encoding='utf-8') as f:
                f.write(pid + '\n')
    state['environment'] = state['bus'].environment(
        BLOCKSTORE_WEB_DIRECTORY=os.path.join(SOURCE, 'daemons/httpd/web'),
        BLOCKSTORE_SYSFS_BLOCK=os.path.join(directory, 'block'))


def tearDownModule():
    state['bus'].stop()
    shutil.rmtree(state['directory'])


def start_mock():
    return mock_blockstored.Mock(MOCK, state['environment'])


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=DEADLINE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self.path)


class Httpd:
    """The program as systemd starts it: with its sockets, here a TCP one and a Unix one."""

    def __init__(self, settings, token=True, credentials=None):
        """token: whether the credentials have the usual one. credentials: a directory of them instead, and then there is a socket for TLS, too."""
        self.directory = tempfile.mkdtemp(dir=state['directory'])
        with open(os.path.join(self.directory, 'httpd.json'), 'w', encoding='utf-8') as f:
            json.dump(settings, f)
        self.path = os.path.join(self.directory, 'http')
        self.sockets = [socket.socket(), socket.socket(socket.AF_UNIX)]
        self.sockets[0].bind(('127.0.0.1', 0))
        if credentials:
            self.sockets.append(socket.socket())
            self.sockets[2].bind(('127.0.0.1', 0))
            self.tls_port = self.sockets[2].getsockname()[1]
        self.sockets[1].bind(self.path)
        for s in self.sockets:
            s.listen(64)
        self.port = self.sockets[0].getsockname()[1]
        self.credentials = credentials or (os.path.join(state['directory'], 'credentials') if token else None)
        self.process = None
        self.start()

    def start(self):
        environment = {**state['environment'], 'BLOCKSTORE_CONFIG_DIRECTORY': self.directory}
        if self.credentials:
            environment['CREDENTIALS_DIRECTORY'] = self.credentials
        # The descriptors from 3 on may be something else of ours.
        high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(self.sockets)]
        moves = ' '.join(f'{3 + i}<&{100 + i} {100 + i}<&-' for i in range(len(high)))
        script = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(high)} LISTEN_FDNAMES={":".join(("plain", "plain", "https")[:len(high)])} exec "$0"'
        self.process = subprocess.Popen(['bash', '-c', script, HTTPD], env=environment, pass_fds=high, stderr=subprocess.PIPE)
        for fd in high:
            os.close(fd)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or http.client.HTTPConnection('127.0.0.1', self.port, timeout=DEADLINE)
        connection.request(method, path, body=body, headers=headers or {})
        answer = Answer(connection.getresponse())
        if own:
            connection.close()
        return answer

    def get(self, path, **headers):
        return self.request('GET', path, headers={k.replace('_', '-'): v for k, v in headers.items()})

    def post(self, path, value=None, **headers):
        given = {'Content-Type': 'application/json', 'X-Blockstore-CSRF': self.csrf()}
        given.update({k.replace('_', '-'): v for k, v in headers.items()})
        return self.request('POST', path, json.dumps(value) if value is not None else None, {k: v for k, v in given.items() if v is not None})

    def csrf(self):
        return self.get('/api/v1/session').json['csrf_token']

    def classic(self, **members):
        return self.request('POST', '/', json.dumps(members))

    def raw(self, data, leave=False):
        """What comes back for these bytes, until the other side closes. leave: nothing more will be sent, and that is said."""
        with socket.create_connection(('127.0.0.1', self.port), timeout=DEADLINE) as s:
            answer = b''
            try:
                s.sendall(data)
                if leave:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                return answer
            while True:
                try:
                    more = s.recv(65536)
                except ConnectionResetError:
                    break
                if not more:
                    break
                answer += more
            return answer

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        for s in self.sockets:
            s.close()
        assert 'Sanitizer' not in errors and 'runtime error' not in errors, errors
        return status, errors
