#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""blockstore-httpd against a mock of org.blockstore on a bus of its own, over TCP on the loopback and over a Unix socket.

    test-httpd.py BLOCKSTORE-HTTPD MOCK-BLOCKSTORED

What is checked is what a browser, Prometheus, an old control program or somebody hostile meets. The test waits for a line or an answer, with a deadline that only a failure reaches.
"""

import http.client
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

from httpd_rig import DEADLINE, SKIP, SOURCE, TOKEN, Httpd, UnixConnection, setUpModule, start_mock, state, tearDownModule  # noqa: E402


class Events:
    """A listener to /api/v1/events."""

    def __init__(self, httpd):
        self.socket = socket.create_connection(('127.0.0.1', httpd.port), timeout=DEADLINE)
        self.socket.sendall(b'GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n')
        self.file = self.socket.makefile('rb')
        self.head = b''
        while (line := self.file.readline()) not in (b'\r\n', b''):
            self.head += line

    def next(self, *names):
        """The next event that has one of these names."""
        name = None
        while True:
            line = self.file.readline().decode()
            if not line:
                raise AssertionError('the stream has ended')
            if line.startswith('event: '):
                name = line[7:-1]
            elif line.startswith('data: ') and name in names:
                return name, json.loads(line[6:])

    def close(self):
        self.file.close()
        self.socket.close()


class Case(unittest.TestCase):
    settings = {'control': True, 'classic': True}
    token = False

    @classmethod
    def setUpClass(cls):
        cls.mock = start_mock()
        cls.mock.tell('proxy 127.0.0.1:11417 100 active 350 configured', 'proxy 127.0.0.1:11418 100 unreachable 0 announced',
                    'health 127.0.0.1:11418 3 connection refused', 'store vm1 1073741824 4096 c0ffee00-0000-4000-8000-000000000001 0',
                    'add vm1', 'set vm1 Configured 1', 'add quo"te')
        cls.httpd = Httpd(cls.settings, cls.token)

    @classmethod
    def tearDownClass(cls):
        status, errors = cls.httpd.close()
        cls.mock.close()
        assert status == 0, f'ended with {status}: {errors}'

    def assert_failure(self, answer, status, error=None):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(sorted(answer.json), ['error', 'message'])
        if error:
            self.assertEqual(answer.json['error'], error)


class Reading(Case):
    def test_images(self):
        answer = self.httpd.get('/api/v1/images')
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers['Content-Type'], 'application/json')
        images = answer.json['images']
        self.assertEqual([image['name'] for image in images], ['quo"te', 'vm1'])
        vm1 = images[1]
        self.assertEqual(vm1['state'], 'inactive')
        self.assertIs(vm1['configured'], True)
        for key in ('read_operations', 'latency_usec', 'retained_bytes', 'state_since', 'active_proxy'):
            self.assertIn(key, vm1)
        proxy = [p for p in vm1['proxies'] if p['address'] == '127.0.0.1:11418'][0]
        self.assertEqual((proxy['failures'], proxy['reason']), (3, 'connection refused'))
        self.assertEqual(self.httpd.get('/api/v1/images/vm1').json['name'], 'vm1')
        self.assertEqual(self.httpd.get('/api/v1/images/quo%22te').json['name'], 'quo"te')

    def test_counters_are_fresh(self):
        for n in (5, 6):
            self.mock.tell(f'set vm1 ReadOperations {n}')
            # What was asked for a fifth of a second ago counts as fresh; so ask until it is there.
            deadline = time.monotonic() + DEADLINE
            while self.httpd.get('/api/v1/images/vm1').json['read_operations'] != n:
                self.assertLess(time.monotonic(), deadline)

    def test_proxies(self):
        proxies = self.httpd.get('/api/v1/proxies').json['proxies']
        self.assertEqual([p['address'] for p in proxies], ['127.0.0.1:11417', '127.0.0.1:11418'])
        self.assertEqual(proxies[0]['state'], 'active')
        self.assertEqual(proxies[0]['images'][1]['name'], 'vm1')
        self.assertEqual(proxies[1]['reason'], 'connection refused')

    def test_jobs_failovers_session(self):
        self.assertEqual(self.httpd.get('/api/v1/jobs').json, {'jobs': []})
        self.assert_failure(self.httpd.get('/api/v1/jobs/1'), 404)
        self.assertIn('failovers', self.httpd.get('/api/v1/failovers').json)
        session = self.httpd.get('/api/v1/session').json
        self.assertEqual((session['control'], session['token_needed']), (True, False))
        self.assertRegex(session['csrf_token'], '^[0-9a-f]{32}$')

    def test_unix_socket(self):
        answer = self.httpd.request('GET', '/api/v1/images', connection=UnixConnection(self.httpd.path))
        self.assertEqual(answer.status, 200)

    def test_head_and_keep_alive(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.httpd.port, timeout=DEADLINE)
        for _ in range(20):
            answer = self.httpd.request('HEAD', '/api/v1/images', connection=connection)
            self.assertEqual((answer.status, answer.body), (200, b''))
        connection.close()

    def test_openapi_is_true(self):
        """Every address of the document exists, and every image's members are described."""
        document = self.httpd.get('/api/v1/openapi.json').json
        self.assertTrue(document['openapi'].startswith('3.'))
        for path, methods in document['paths'].items():
            for method in methods:
                where = path.replace('{name}', 'vm1').replace('{id}', '1')
                if method == 'get' and 'events' not in path and '{id}' not in path:
                    answer = self.httpd.get(where)
                    self.assertIn(str(answer.status), methods[method]['responses'], where)
        described = document['components']['schemas']['Image']['properties']
        for key in self.httpd.get('/api/v1/images/vm1').json:
            self.assertIn(key, described)
        xml = open(os.path.join(SOURCE, 'dbus/org.blockstore.Image.xml'), encoding='utf-8').read()
        for name in re.findall('<property name="([A-Za-z]+)"', xml):
            snake = re.sub('(?<=[a-z])(?=[A-Z])', '_', name).lower()
            if name not in ('ProxyHealth', 'HeatMap'):
                self.assertIn(snake, described)

    def test_page(self):
        page = self.httpd.get('/')
        self.assertEqual(page.headers['Content-Type'], 'text/html; charset=utf-8')
        policy = page.headers['Content-Security-Policy']
        self.assertIn("default-src 'none'", policy)
        self.assertIn("script-src 'self'", policy)
        self.assertNotIn('unsafe', policy)
        self.assertEqual(page.headers['X-Content-Type-Options'], 'nosniff')
        # Nothing inline, and nothing from elsewhere.
        self.assertNotRegex(page.text, r'<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|style=|javascript:')
        self.assertEqual(re.findall(r'(?:src|href)="(?:https?:)?//', page.text), [])
        for name in re.findall(r'(?:src|href)="(/[^"]*)"', page.text):
            self.assertEqual(self.httpd.get(name).status, 200, name)
        script = self.httpd.get('/assets/page.js')
        self.assertEqual(script.headers['Content-Type'], 'text/javascript; charset=utf-8')
        self.assertNotRegex(script.text, r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|https?://(?!www\.w3\.org/)')
        again = self.httpd.get('/assets/page.js', If_None_Match=script.headers['ETag'])
        self.assertEqual((again.status, again.body), (304, b''))

    def test_health(self):
        self.assertEqual(self.httpd.get('/check-health').status, 200)
        self.mock.tell('set vm1 StateReason No proxy can be reached.', 'set vm1 State parked')
        sick = self.wait_for_status('/check-health', 503)
        self.assertEqual(sick.json['problems'], [{'image': 'vm1', 'state': 'parked', 'reason': 'No proxy can be reached.'}])
        self.mock.tell('set vm1 State inactive', 'set vm1 StateReason ')
        self.wait_for_status('/check-health', 200)

    def wait_for_status(self, path, status):
        deadline = time.monotonic() + DEADLINE
        while (answer := self.httpd.get(path)).status != status:
            self.assertLess(time.monotonic(), deadline, answer.body)
        return answer


class Metrics(Case):
    def parse(self, text, openmetrics):
        """A strict reader of our own: families, their types, samples. It knows what we use of the two formats, and refuses all else."""
        from exposition import parse  # pylint: disable=import-outside-toplevel
        return parse(text, openmetrics)

    def test_text(self):
        answer = self.httpd.get('/metrics')
        self.assertEqual(answer.headers['Content-Type'], 'text/plain; version=0.0.4; charset=utf-8')
        families = self.parse(answer.text, False)
        self.assertEqual(families['blockstore_up'].samples, {(): '1'})
        operations = families['blockstore_image_operations_total']
        self.assertEqual(operations.type, 'counter')
        self.assertIn((('image', 'quo"te'), ('operation', 'flush')), operations.samples)
        promtool = os.environ.get('PROMTOOL') or shutil.which('promtool')
        if promtool:
            check = subprocess.run([promtool, 'check', 'metrics'], input=answer.body, capture_output=True, check=False)
            self.assertEqual((check.returncode, check.stdout, check.stderr), (0, b'', b''))

    def test_openmetrics(self):
        answer = self.httpd.get('/metrics', Accept='application/openmetrics-text;version=1.0.0,text/plain;q=0.5')
        self.assertEqual(answer.headers['Content-Type'], 'application/openmetrics-text; version=1.0.0; charset=utf-8')
        families = self.parse(answer.text, True)
        self.assertEqual(families['blockstore_image_state'].type, 'stateset')
        self.assertEqual(families['blockstore_image_read_bytes'].unit, 'bytes')

    def test_values(self):
        self.mock.tell('set vm1 LatencyUSec 1500', 'set vm1 ReadBytes 4096', 'set vm1 State attached')
        deadline = time.monotonic() + DEADLINE
        while True:
            families = self.parse(self.httpd.get('/metrics').text, False)
            if families['blockstore_image_read_bytes_total'].samples[(('image', 'vm1'),)] == '4096':
                break
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(families['blockstore_image_latency_seconds'].samples[(('image', 'vm1'),)], '0.001500')
        proxies = families['blockstore_proxy_up'].samples
        self.assertEqual(proxies[(('image', 'vm1'), ('proxy', '127.0.0.1:11417'))], '1')
        self.assertEqual(proxies[(('image', 'vm1'), ('proxy', '127.0.0.1:11418'))], '0')
        self.mock.tell('set vm1 State inactive')

    def test_without_supervisor(self):
        self.mock.tell('disown')
        deadline = time.monotonic() + DEADLINE
        while (families := self.parse(self.httpd.get('/metrics').text, False))['blockstore_up'].samples != {(): '0'}:
            self.assertLess(time.monotonic(), deadline)
        self.assertNotIn('blockstore_image_size_bytes', families)
        self.assertEqual(self.httpd.get('/check-health').status, 503)
        self.assert_failure(self.httpd.get('/api/v1/images'), 503)
        self.mock.tell('own')
        while self.httpd.get('/api/v1/images').status != 200:
            self.assertLess(time.monotonic(), deadline)


    def test_histograms(self):
        self.mock.tell('set vm1 Stalls 2', 'set vm1 LongestStallUSec 3100000', 'set vm1 StalledUSec 1500000', 'set vm1 Reconnects 5', 'set vm1 State attached')
        for accept, openmetrics in (('', False), ('application/openmetrics-text', True)):
            deadline = time.monotonic() + DEADLINE
            while not (families := self.parse(self.httpd.get('/metrics', Accept=accept).text, openmetrics))['blockstore_image_request_duration_seconds'].samples:
                self.assertLess(time.monotonic(), deadline)
            histogram = families['blockstore_image_request_duration_seconds']
            self.assertEqual(histogram.type, 'histogram')
            reads = (('image', 'vm1'), ('operation', 'read'))
            # Of a worker, and of a kind of requests, that does not count there is nothing, not a row of zeroes.
            self.assertEqual(histogram.samples, {
                ('_bucket', reads + (('le', '0.00005'),)): '60', ('_bucket', reads + (('le', '0.02'),)): '99', ('_bucket', reads + (('le', '1.0'),)): '99',
                ('_bucket', reads + (('le', '+Inf'),)): '100', ('_sum', reads): '60.500000', ('_count', reads): '100'})
            total = '' if openmetrics else '_total'
            vm1 = (('image', 'vm1'),)
            for name, value in ((f'stalls{total}', '2'), ('longest_stall_seconds', '3.100000'), ('stalled_seconds', '1.500000'), (f'reconnects{total}', '5')):
                self.assertEqual(families[f'blockstore_image_{name}'].samples[vm1], value)
        self.assertEqual(self.httpd.get('/api/v1/images/vm1').json['read_latency'], {'sum_usec': 60500000, 'buckets': [
            {'up_to_usec': 50, 'count': 60}, {'up_to_usec': 20000, 'count': 39}, {'up_to_usec': 1000000, 'count': 0}, {'count': 1}]})
        self.mock.tell('set vm1 State inactive')


class Live(Case):
    def test_events(self):
        events = Events(self.httpd)
        self.addCleanup(events.close)
        self.assertIn(b'text/event-stream', events.head)
        _, snapshot = events.next('snapshot')
        self.assertEqual([image['name'] for image in snapshot['images']], ['quo"te', 'vm1'])

        self.mock.tell('set vm1 ActiveProxy 127.0.0.1:11417', 'set vm1 State attached')
        while True:
            _, image = events.next('image')
            if image['state'] == 'attached':
                break
        self.mock.tell('set vm1 ReadOperations 77')
        while True:
            _, counters = events.next('counters')
            if counters[0]['read_operations'] == 77:
                break
        self.assertEqual([c['name'] for c in counters], ['vm1'])

        self.mock.tell('set vm1 State reconnecting', 'set vm1 ActiveProxy ', 'set vm1 Failovers 1', 'set vm1 ActiveProxy 127.0.0.1:11418', 'set vm1 State attached')
        _, failover = events.next('failover')
        self.assertEqual((failover['image'], failover['from'], failover['to']), ('vm1', '127.0.0.1:11417', '127.0.0.1:11418'))
        self.assertEqual(self.httpd.get('/api/v1/failovers').json['failovers'], [failover])

        self.mock.tell('add other')
        while events.next('image')[1]['name'] != 'other':
            pass
        self.mock.tell('drop other')
        self.assertEqual(events.next('image-removed')[1], {'name': 'other'})
        self.mock.tell('set vm1 State inactive')

    def test_too_many_listeners(self):
        listeners = []
        deadline = time.monotonic() + DEADLINE
        try:
            while len(listeners) < 16:
                # One that has left may count for a second still.
                self.assertLess(time.monotonic(), deadline)
                listener = Events(self.httpd)
                if b' 200 ' in listener.head:
                    listener.next('snapshot')
                    listeners.append(listener)
                else:
                    listener.close()
            self.assert_failure(self.httpd.get('/api/v1/events'), 503, 'Busy')
        finally:
            for listener in listeners:
                listener.close()


class Unattached(Case):
    """No image, so no worker that knows a proxy."""
    @classmethod
    def setUpClass(cls):
        cls.mock = start_mock()
        cls.mock.tell('proxy 127.0.0.1:11417 100 reachable 350 configured', 'proxy 127.0.0.1:11418 100 unreachable 0 configured')
        cls.httpd = Httpd(cls.settings, cls.token)

    def test_proxies(self):
        self.assertEqual(self.httpd.get('/api/v1/images').json, {'images': []})
        self.assertEqual(self.httpd.get('/api/v1/proxies').json['proxies'], [
            {'address': '127.0.0.1:11417', 'priority': 100, 'state': 'reachable', 'round_trip_usec': 350, 'origin': 'configured', 'images': []},
            {'address': '127.0.0.1:11418', 'priority': 100, 'state': 'unreachable', 'round_trip_usec': 0, 'origin': 'configured', 'images': []}])
        self.mock.tell('fail ListProxies org.blockstore.Error.NoProxy No proxy is configured.')
        self.assert_failure(self.httpd.get('/api/v1/proxies'), 503, 'org.blockstore.Error.NoProxy')
        self.mock.tell('fail none')


class Control(Case):
    def test_attach_and_detach(self):
        answer = self.httpd.post('/api/v1/images/vm1/attach', {'read_only': True})
        self.assertEqual((answer.status, answer.json), (200, {}))
        self.assertEqual(self.mock.wait_change(), 'AttachImage vm1 read-only=true')
        self.assertEqual(self.httpd.get('/api/v1/images/vm1').json['state'], 'attached')
        self.assertEqual(self.httpd.post('/api/v1/images/vm1/detach').status, 200)
        self.assertEqual(self.mock.wait_change(), 'DetachImage vm1')

    def test_heat_map(self):
        self.assert_failure(self.httpd.get('/api/v1/images/quo%22te/heatmap'), 409, 'org.blockstore.Error.NotAttached')
        self.mock.tell('set vm1 State attached')
        heat = self.httpd.get('/api/v1/images/vm1/heatmap').json
        self.assertEqual((heat['half_life_usec'], len(heat['reads']), heat['reads'][255], heat['reads'][256], heat['writes'][512]), (60000000, 1024, 10, 0, 2.5))
        self.assertGreaterEqual(self.httpd.get('/api/v1/images/nothere/heatmap').status, 400)
        self.mock.tell('set vm1 State inactive')

    def test_what_the_supervisor_refuses(self):
        for name, status in (('Busy', 409), ('AccessDenied', 403), ('NoSuchImage', 404), ('Held', 409), ('NoProxy', 503), ('Timeout', 504)):
            self.mock.tell(f'fail DetachImage org.blockstore.Error.{name} The reason why.')
            answer = self.httpd.post('/api/v1/images/vm1/detach', {})
            self.assert_failure(answer, status, f'org.blockstore.Error.{name}')
            self.assertEqual(answer.json['message'], 'The reason why.')
            self.mock.wait_change()
        self.mock.tell('fail none')

    def test_bad_bodies(self):
        for body in ('[]', '"x"', '{', '{"read_only": 1}', '{"lazy": true}', '{"x": true}', '{"read_only": true} {}', '{"a":' * 20, '\x00', 'nul'):
            answer = self.httpd.request('POST', '/api/v1/images/vm1/attach', body, {'Content-Type': 'application/json', 'X-Blockstore-CSRF': self.httpd.csrf()})
            self.assert_failure(answer, 400)
        for name in ('a%20b', '..', '%2e%2e', '-x', 'x' * 65, 'a%00b'):
            answer = self.httpd.post(f'/api/v1/images/{name}/attach', {})
            self.assertIn(answer.status, (400, 404), name)
        self.assertEqual(self.mock.changes(), [])

    def test_forgery(self):
        own = f'127.0.0.1:{self.httpd.port}'
        for headers in ({'X_Blockstore_CSRF': None}, {'X_Blockstore_CSRF': 'guess'}, {'Origin': 'http://evil.example'}, {'Origin': 'null'},
                        {'Origin': f'http://{own}.evil.example'}, {'Sec_Fetch_Site': 'cross-site'}, {'Sec_Fetch_Site': 'same-site'}):
            self.assert_failure(self.httpd.post('/api/v1/images/vm1/attach', {}, **headers), 403, 'Forged')
        for content_type in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'application/jsonx'):
            self.assert_failure(self.httpd.post('/api/v1/images/vm1/attach', {}, Content_Type=content_type), 415)
        # The old protocol knows no such header: it is not for browsers.
        for headers in ({'Origin': f'http://{own}'}, {'Sec-Fetch-Site': 'same-origin'}, {'Origin': 'http://evil.example'}):
            self.assert_failure(self.httpd.request('POST', '/', '{"Command":"disc"}', headers), 403, 'Forged')
        self.assertEqual(self.mock.changes(), [])
        # The page itself.
        answer = self.httpd.post('/api/v1/images/vm1/attach', {}, Origin=f'http://{own}', Sec_Fetch_Site='same-origin')
        self.assertEqual(answer.status, 200)
        self.mock.wait_change()

    def test_rebinding(self):
        for host in ('evil.example', f'evil.example:{self.httpd.port}', '127.0.0.1.evil.example', 'localhost.evil.example', '', '[::1', 'a:b'):
            self.assert_failure(self.httpd.get('/api/v1/images', Host=host), 421, 'Misdirected')
        for host in ('localhost', 'LOCALHOST:80', '[::1]:8080', '192.0.2.1', socket.gethostname()):
            self.assertEqual(self.httpd.get('/api/v1/session', Host=host).status, 200, host)


class Switches(Case):
    settings = {'hosts': ['store.example'], 'local-token': True}
    token = True

    def test_all_off(self):
        self.assertFalse(self.httpd.get('/api/v1/session').json['control'])
        self.assertEqual(self.httpd.get('/status/').status, 404)
        self.assertEqual(self.httpd.classic(Command='check').status, 404)
        answer = self.httpd.post('/api/v1/images/vm1/attach', {}, Authorization=f'Bearer {TOKEN}')
        self.assert_failure(answer, 403, 'org.blockstore.Error.AccessDenied')

    def test_token(self):
        for value in (None, 'Bearer', 'Bearer ', f'Bearer {TOKEN}x', f'Bearer {TOKEN[:-1]}', f'Basic {TOKEN}', TOKEN):
            self.assert_failure(self.httpd.post('/api/v1/images/vm1/attach', {}, Authorization=value), 401)
        # Who has the token needs no other.
        answer = self.httpd.post('/api/v1/images/vm1/attach', {}, Authorization=f'Bearer {TOKEN}', X_Blockstore_CSRF=None)
        self.assertEqual(answer.status, 403)
        self.assertIn('control', answer.json['message'])

    def test_hosts(self):
        self.assertEqual(self.httpd.get('/', Host='store.example:8080').status, 200)


class Classic(Case):
    def forget_device(self):
        """The mock's devices stay when they are detached."""
        self.mock.tell('set vm1 Device ')
        deadline = time.monotonic() + DEADLINE
        while '/dev/nbd0' in self.httpd.classic(Command='listm').text:
            self.assertLess(time.monotonic(), deadline)

    def test_words(self):
        self.assertEqual(self.httpd.classic(Command='check').text, 'The server is online.\n')
        self.assertEqual(self.httpd.classic(Command='lista').text, 'Available devices:\n/dev/nbd0\n/dev/nbd2\n/dev/nbd10\n')
        self.assertEqual(self.httpd.classic(Command='listm').text, 'Mounted devices:\n')
        self.assertEqual(self.httpd.get('/status/json').json, {'Mounted': []})
        # Keys in any case, as the old decoder took them; a line end behind.
        self.assertEqual(self.httpd.request('POST', '/', '{"cOMMAND":"check"}\n').status, 200)

    def test_mount_and_unmount(self):
        answer = self.httpd.classic(Command='mount', Device='/dev/nbd0', Image='vm1', User='demo', Pass='a secret')
        self.assertEqual((answer.status, answer.text), (200, 'Mounted image vm1 on /dev/nbd0\n'))
        call = self.mock.wait_change()
        self.assertEqual(call, 'AttachImage vm1 user=demo')
        self.assertEqual(self.httpd.classic(Command='listm').text, 'Mounted devices:\n/dev/nbd0\tvm1\n')
        self.assertEqual(self.httpd.get('/status/').text, 'Mounted devices:\n/dev/nbd0\tvm1\n')
        self.assertEqual(self.httpd.get('/status/json').json, {'Mounted': [{'NbdDevice': '/dev/nbd0', 'ImageName': 'vm1'}]})

        again = self.httpd.classic(Command='mount', Device='/dev/nbd0', Image='vm1')
        self.assertEqual(again.status, 409)
        self.assertIn('image vm1 is mounted on it', again.text)

        self.mock.tell('fail DetachImage org.blockstore.Error.Busy /dev/nbd0 is mounted on /srv.')
        self.assertEqual(self.httpd.classic(Command='unmount', Device='/dev/nbd0').text, 'Error: /dev/nbd0 is mounted on /srv.\n')
        self.mock.wait_change()
        self.mock.tell('fail none')
        self.assertEqual(self.httpd.classic(Command='unmount', Device='/dev/nbd0').text, 'Unmounted\n')
        self.assertEqual(self.mock.wait_change(), 'DetachImage vm1')
        self.forget_device()

    def test_mount_is_honest(self):
        for device, status, words in (('/dev/nbd1', 409, 'in use, by somebody else'), ('/dev/nbd3', 409, 'in use'), ('/dev/nbd2', 409, '/dev/nbd0 next'),
                                      ('/dev/nbd77', 404, 'there is no'), ('/dev/sda', 400, '/dev/nbdN'), ('/dev/nbd0/../sda', 400, '/dev/nbdN'),
                                      ('/dev/nbd00', 400, '/dev/nbdN'), ('', 400, '/dev/nbdN')):
            answer = self.httpd.classic(Command='mount', Device=device, Image='vm1')
            self.assertEqual(answer.status, status, device)
            self.assertIn(words, answer.text)
        self.assertEqual(self.httpd.classic(Command='mount', Device='/dev/nbd0', Image='../x').status, 400)
        self.assertEqual(self.mock.changes(), [])
        answer = self.httpd.classic(Command='mount', Device='/dev/nbd0', Image='nothere')
        self.assertEqual((answer.status, answer.text), (404, 'Error: The store has no image "nothere".\n'))
        self.mock.wait_change()
        self.assertEqual(self.httpd.classic(Command='unmount', Device='/dev/nbd1').text, 'Error: no image is mounted on /dev/nbd1\n')

    def test_another_device(self):
        """The kernel gives another device than was asked for: nothing stays."""
        os.rename(os.path.join(state['directory'], 'block/nbd0'), os.path.join(state['directory'], 'block/away'))
        try:
            answer = self.httpd.classic(Command='mount', Device='/dev/nbd2', Image='vm1')
        finally:
            os.rename(os.path.join(state['directory'], 'block/away'), os.path.join(state['directory'], 'block/nbd0'))
        self.assertEqual(answer.status, 409)
        self.assertIn('nothing is mounted', answer.text)
        self.assertEqual([self.mock.wait_change(), self.mock.wait_change()], ['AttachImage vm1', 'DetachImage vm1'])
        self.forget_device()

    def test_malformed(self):
        for body in ('', '{', '[]', '{}', '{"Command":1}', '{"Command":"format"}', '{"Command":"check"}}', 'Command=check', '{"Command":"mount","Device":["/dev/nbd0"]}'):
            answer = self.httpd.request('POST', '/', body)
            self.assertEqual(answer.status, 400, body)
            self.assertTrue(answer.text.startswith('Error: '))

    def test_z_disc(self):
        answer = self.httpd.classic(Command='disc')
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.httpd.process.wait(DEADLINE), 0)
        self.assertEqual(self.mock.changes(), [])
        # The next request starts it again: here the test does what systemd would.
        self.httpd.process.stderr.close()
        self.httpd.start()
        self.assertEqual(self.httpd.classic(Command='check').status, 200)


class Hostile(Case):
    def still_fine(self):
        self.assertEqual(self.httpd.get('/api/v1/images').status, 200)
        self.assertIsNone(self.httpd.process.poll())

    def test_methods(self):
        for method, path, allowed in (('DELETE', '/api/v1/images', 'GET, HEAD'), ('PUT', '/', 'GET, HEAD, POST'), ('TRACE', '/metrics', 'GET, HEAD'),
                                      ('GET', '/api/v1/images/vm1/attach', 'POST'), ('OPTIONS', '/api/v1/images/vm1/attach', 'POST')):
            answer = self.httpd.request(method, path)
            self.assertEqual((answer.status, answer.headers['Allow']), (405, allowed), (method, path))
            self.assertNotIn('Access-Control-Allow-Origin', answer.headers)

    def test_paths(self):
        for path in ('/assets/../../../../etc/passwd', '/assets/..%2f..%2f..%2fetc%2fpasswd', '/assets/%2e%2e/httpd.json', '/assets/', '/assets//etc/passwd',
                     '//etc/passwd', '/api/v1/images/../session', '/api/v1/images//attach', '/api/v2/images', '/%00', '/assets/page.js%00.html', '/assets/index.html/'):
            self.assertIn(self.httpd.raw(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'.encode())[9:12], (b'404', b'400'), path)
        self.assertEqual(self.httpd.get('/' + 'a' * 2000).status, 414)
        self.still_fine()

    def test_large_bodies(self):
        for path in ('/', '/api/v1/images/vm1/attach'):
            answer = self.httpd.raw(f'POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Blockstore-CSRF: {self.httpd.csrf()}\r\nContent-Length: 100000000000\r\n\r\n'.encode() + b'x' * 1000)
            self.assertIn(answer[9:12], (b'413',), path)
            # Without a length, and without an end: not listened to for long.
            with socket.create_connection(('127.0.0.1', self.httpd.port), timeout=DEADLINE) as s:
                s.sendall(f'POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Blockstore-CSRF: {self.httpd.csrf()}\r\nTransfer-Encoding: chunked\r\n\r\n'.encode())
                with self.assertRaises(OSError):
                    for _ in range(100000):
                        s.sendall(b'1000\r\n' + b' ' * 4096 + b'\r\n')
        # A whole one that is a little too large.
        answer = self.httpd.request('POST', '/', iter([b' ' * 10000, b' ' * 10000]))
        self.assertEqual(answer.status, 413)
        self.still_fine()

    def test_headers(self):
        self.httpd.raw(b'GET / HTTP/1.1\r\nHost: localhost\r\n' + b'X-Header: ' + b'a' * 100000 + b'\r\n\r\n', True)
        self.httpd.raw(b'GET / HTTP/1.1\r\nHost: localhost\r\n' + b'A: b\r\n' * 20000 + b'\r\n', True)
        self.assertIn(self.httpd.raw(b'GET / HTTP/1.1\r\nConnection: close\r\n\r\n')[9:12], (b'400', b'421'))
        self.httpd.raw(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(range(256)) + b'\r\n\r\n', True)
        self.httpd.raw(b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n', True)
        self.httpd.raw(b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551616\r\n\r\n', True)
        self.still_fine()

    def test_slow_and_many(self):
        """A client that never ends its request is hung up on, also when it keeps sending, and others are served meanwhile."""
        slow = socket.create_connection(('127.0.0.1', self.httpd.port), timeout=DEADLINE)
        slow.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ')
        idle = [socket.create_connection(('127.0.0.1', self.httpd.port), timeout=DEADLINE) for _ in range(40)]
        self.still_fine()
        # More than there are places for: those that find none are closed.
        more = [socket.create_connection(('127.0.0.1', self.httpd.port), timeout=DEADLINE) for _ in range(60)]
        deadline = time.monotonic() + DEADLINE
        # 64 places, one of which the slow one has and 40 the idle ones.
        while len(select.select(more, [], [], 0.1)[0]) < 37:
            self.assertLess(time.monotonic(), deadline)
        for s in idle + more:
            s.close()
        deadline = time.monotonic() + 2 * DEADLINE
        slow.settimeout(0.5)
        while True:
            self.assertLess(time.monotonic(), deadline)
            try:
                slow.sendall(b'x')
                if not slow.recv(100):
                    break
            except (TimeoutError, socket.timeout):
                continue
            except OSError:
                break
        slow.close()
        self.still_fine()

    def test_reader_that_does_not_read(self):
        with socket.create_connection(('127.0.0.1', self.httpd.port), timeout=DEADLINE) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            s.sendall(b'GET /assets/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n' * 200)
            self.still_fine()


class BadSettings(unittest.TestCase):
    def test_refused(self):
        mock = start_mock()
        try:
            for settings, words in (({'contrl': True}, 'control'), ({'control': 'yes'}, 'httpd.json:1'), ({'hosts': ['a b']}, 'hosts'), ({'hosts': 'x'}, 'hosts')):
                httpd = Httpd(settings)
                httpd.process.wait(DEADLINE)
                status, errors = httpd.close()
                self.assertEqual(status, 78)
                self.assertIn(words, errors)
        finally:
            mock.close()


if __name__ == '__main__':
    if not shutil.which('dbus-daemon'):
        print('skip: there is no dbus-daemon')
        sys.exit(SKIP)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
