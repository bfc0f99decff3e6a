#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""blockstorectl against a mock of org.blockstore on a bus of its own.

    test-blockstorectl.py BLOCKSTORECTL MOCK-BLOCKSTORED SOURCE-ROOT

What is checked is what a user or a script meets: tables, JSON, exit codes, what is asked of the daemon, and what is said when something fails. Nothing here waits for a length of time:
the test waits for a line, with a deadline that only a failure reaches.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CTL, MOCK, SOURCE = sys.argv[1:4]
sys.path.insert(0, os.path.join(SOURCE, 'tests/lib'))

from private_bus import PrivateBus  # pylint: disable=wrong-import-position

DEADLINE = 30
ESCAPE = b'\033'
SKIP = 77

state = {}


def setUpModule():
    state['directory'] = directory = tempfile.mkdtemp(prefix='blockstorectl-')
    state['bus'] = PrivateBus(directory)
    os.mkdir(os.path.join(directory, 'etc'))
    state['environment'] = state['bus'].environment(
        TERM='xterm',
        BLOCKSTORE_CONFIG_DIRECTORY=os.path.join(directory, 'etc'))


def tearDownModule():
    state['bus'].stop()
    shutil.rmtree(state['directory'])


class Lines:
    """Lines of a pipe or a terminal, waited for with a deadline."""

    def __init__(self, fd):
        self.fd = fd
        self.seen = b''

    def more(self):
        ready, _, _ = select.select([self.fd], [], [], DEADLINE)
        if not ready:
            raise AssertionError(f'nothing more came after {self.seen!r}')
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # a terminal whose other end is closed
            data = b''
        self.seen += data
        return data

    def line(self):
        while b'\n' not in self.seen:
            if not self.more():
                raise AssertionError(f'the end came after {self.seen!r}')
        line, self.seen = self.seen.split(b'\n', 1)
        return line.decode()

    def until(self, text):
        """Everything up to and with text."""
        while text not in self.seen:
            if not self.more():
                raise AssertionError(f'the end came after {self.seen!r}, without {text!r}')
        at = self.seen.index(text) + len(text)
        before, self.seen = self.seen[:at], self.seen[at:]
        return before

    def rest(self):
        while self.more():
            pass
        return self.seen


class Mock:
    def __init__(self):
        self.process = subprocess.Popen([MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=state['environment'])
        self.lines = Lines(self.process.stdout.fileno())
        self.calls = []
        assert self.lines.line() == 'ready'

    def tell(self, *commands):
        for command in commands:
            self.process.stdin.write(command.encode() + b'\n')
            self.process.stdin.flush()
            while (line := self.lines.line()) != 'ok':
                self.calls.append(line)

    def wait_call(self, beginning):
        while True:
            line = self.calls.pop(0) if self.calls else self.lines.line()
            if line.startswith('call ' + beginning):
                return line[5:]

    def changes(self):
        """What was asked to be changed since the last question."""
        self.tell('fail none')
        reads = ('GetAll', 'GetManagedObjects', 'GetImage', 'ListStoreImages', 'ListProxies', 'ProbeProxies')
        calls = [c[5:] for c in self.calls if c.split()[1] not in reads]
        self.calls = []
        return calls

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(DEADLINE)
        self.process.stdout.close()
        assert code == 0, f'the mock ended with {code}'


def environment(**changes):
    return {**state['environment'], **changes}


def start(*arguments, env=None, **more):
    return subprocess.Popen([CTL, *arguments], env=env or state['environment'], **more)


def run(*arguments, env=None, text=''):
    return subprocess.run([CTL, *arguments], env=env or state['environment'], input=text, capture_output=True,
                          encoding='utf-8', timeout=DEADLINE, check=False)


class Terminal:
    """The program with a terminal as its stdin, stdout and stderr."""

    def __init__(self, *arguments, env=None):
        ours, theirs = pty.openpty()
        self.fd = ours
        self.lines = Lines(ours)
        self.process = subprocess.Popen([CTL, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
                                        env=env or state['environment'], start_new_session=True)
        os.close(theirs)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Its exit code and all it has written since it was last looked at."""
        output = self.lines.rest()
        code = self.process.wait(DEADLINE)
        os.close(self.fd)
        return code, output


def failures():
    """The rows of the one table of failures, from its source: [(number, name on the bus)]."""
    with open(f'{SOURCE}/libshared/error-table.h', encoding='utf-8') as f:
        numbers = dict(re.findall(r'(FAILURE_\w+) = (\d+)', f.read()))
    with open(f'{SOURCE}/libshared/error-table.c', encoding='utf-8') as f:
        rows = re.findall(r'\{ (FAILURE_\w+), "(org\.blockstore\.Error\.\w+)"', f.read())
    return [(int(numbers[symbol]), name) for symbol, name in rows]


class Base(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.mock = Mock()
        self.addCleanup(self.mock.close)

    def populate(self):
        self.mock.tell(
            'proxy 127.0.0.1:11417 0 active 350 configured',
            'proxy [::1]:11417 1 unreachable 0 announced', 'health [::1]:11417 3 connection refused',
            'add vm1', 'set vm1 State attached', 'set vm1 Size 1610612736', 'set vm1 Device /dev/nbd0',
            'set vm1 UUID 1d0a4f0e-0000-4000-8000-000000000001', 'set vm1 Configured 1',
            'set vm1 ActiveProxy 127.0.0.1:11417', 'set vm1 ReadOperations 12', 'set vm1 ReadBytes 49152',
            'set vm1 LatencyUSec 1250',
            'add backup', 'set backup ImageName nightly-backup', 'set backup State failed',
            'set backup StateReason 127.0.0.1:11417 refused the login of "host"',
            'store nightly-backup 1099511627776 524288 1d0a4f0e-0000-4000-8000-000000000002 0',
            'store other 512 0 1d0a4f0e-0000-4000-8000-000000000003 1',
            'store vm1 1610612736 12582912 1d0a4f0e-0000-4000-8000-000000000001 1')

    def check(self, result, code, out=None, err=None):
        self.assertEqual(result.returncode, code, result.stderr)
        if out is not None:
            self.assertEqual(result.stdout, out)
        if err is not None:
            self.assertIn(err, result.stderr)
        if code == 0 and err is None:
            self.assertEqual(result.stderr, '')


class ListTest(Base):
    def test_table(self):
        self.populate()
        self.check(run('list'), 0, '''\
NAME    STATE     SIZE  USED  DEVICE     CONFIGURED  IN STORE  IN USE
backup  failed      1T  512K  -          no          yes       no
vm1     attached  1.5G   12M  /dev/nbd0  yes         yes       yes
other   -          512     0  -          no          yes       yes
''')

    def test_local_without_titles(self):
        self.populate()
        self.check(run('list', '--local', '--no-legend'), 0, '''\
backup  failed       -  -  -          no   -  -
vm1     attached  1.5G  -  /dev/nbd0  yes  -  -
''')
        self.mock.tell('fail none')
        self.assertNotIn('call ListStoreImages', self.mock.calls)

    def test_json(self):
        self.populate()
        result = run('--json=short', 'list')
        self.check(result, 0)
        self.assertEqual(result.stdout.count('\n'), 1)
        images = {image['name']: image for image in json.loads(result.stdout)}
        self.assertEqual(images['vm1'], {
            'name': 'vm1', 'image_name': 'vm1', 'state': 'attached', 'size': 1610612736, 'used': 12582912,
            'uuid': '1d0a4f0e-0000-4000-8000-000000000001', 'read_only': False, 'device': '/dev/nbd0',
            'configured': True, 'in_store': True, 'in_use': True})
        self.assertEqual(images['backup']['image_name'], 'nightly-backup')
        self.assertEqual(images['backup']['size'], 1 << 40)
        self.assertIsNone(images['other']['state'])

        pretty = run('list', '--json=pretty')
        self.assertGreater(pretty.stdout.count('\n'), 10)
        self.assertEqual(json.loads(pretty.stdout), json.loads(result.stdout))

    def test_store_fails(self):
        self.populate()
        self.mock.tell('fail ListStoreImages org.blockstore.Error.NoProxy No proxy answers.')
        result = run('list')
        self.check(result, 69, err='No proxy answers.')
        self.assertIn('vm1     attached', result.stdout)
        self.assertIn('blockstorectl proxies', result.stderr)

    def test_image_gone_from_store(self):
        self.mock.tell('add lost', 'set lost Configured 1')
        self.assertEqual(json.loads(run('list', '--json=short').stdout)[0]['in_store'], False)

    def test_nothing(self):
        self.check(run('list', '--no-legend'), 0, '')
        self.check(run('list', '--json=short'), 0, '[]\n')

    def test_hostile_name(self):
        self.mock.tell('store evil\033[31m\u009b1mname 512 0 x 0')
        self.assertIn('evil?[31m?1mname', run('list').stdout)


class StatusTest(Base):
    def test_image(self):
        self.populate()
        self.check(run('status', 'vm1'), 0, '''\
● vm1
       State: attached
       Image: vm1
        UUID: 1d0a4f0e-0000-4000-8000-000000000001
        Size: 1.5G (1610612736 bytes), read-write
      Device: /dev/blockstore/vm1 (/dev/nbd0)
        Unit: image@vm1.service (configured in /etc/blockstore/images.d/vm1.json)
     Proxies: 127.0.0.1:11417 (active, 350us)
              [::1]:11417 (unreachable, 3 failures: connection refused)
    Sessions: 0 to 127.0.0.1:11417
         I/O: 12 reads (48K), 0 writes (0), 0 flushes, 0 errors
   In flight: 0, mean latency 1.2ms
     Latency: reads p50 within 50us, p99 within 20.0ms
   Failovers: 0
''')

    def test_failover(self):
        self.populate()
        self.mock.tell('set vm1 State parked', f'set vm1 StateSince {int(time.time() - 185) * 1000000}',
                       'set vm1 StateReason 127.0.0.1:11417: no answer.', 'set vm1 ActiveProxy',
                       'set vm1 RetainedBytes 12582912')
        text = run('status', 'vm1', env=environment(TZ='UTC')).stdout
        self.assertRegex(text, r'State: parked since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, 3min( \d+s)?: 127.0.0.1:11417: no answer\.')
        self.assertIn('Sessions: 0\n', text)
        self.assertIn('Retained: 12M acknowledged, kept until known to be durable\n', text)
        self.mock.tell('set vm1 State attached', 'set vm1 ActiveProxy [::1]:11417', 'set vm1 Sessions 4',
                       'set vm1 StandbyProxy 127.0.0.1:11417')
        text = run('status', 'vm1').stdout
        self.assertIn('Sessions: 4 to [::1]:11417, one in reserve to 127.0.0.1:11417\n', text)
        image = json.loads(run('status', 'vm1', '--json=short').stdout)
        self.assertEqual((image['sessions'], image['standby_proxy'], image['retained_bytes'], image['missing_features']),
                         (4, '127.0.0.1:11417', 12582912, []))
        self.assertNotIn('proxy_health', image)

    def test_stalls(self):
        self.populate()
        self.assertNotIn('Stalls', run('status', 'vm1').stdout)
        self.mock.tell('set vm1 Stalls 2', 'set vm1 LongestStallUSec 3100000', 'set vm1 Reconnects 4', 'set vm1 Failovers 1')
        text = run('status', 'vm1').stdout
        self.assertIn('Stalls: 2, the longest 3.1s\n', text)
        self.assertIn('Failovers: 1, 4 connections made anew\n', text)
        self.mock.tell('set vm1 StalledUSec 1500000')
        self.assertIn('Stalls: 2, the longest 3.1s; nothing has been answered for 1.5s\n', run('status', 'vm1').stdout)

    def test_classic_server(self):
        self.populate()
        self.mock.tell('set vm1 MissingFeatures lease fence flush durability')
        text = run('status', 'vm1').stdout
        self.assertIn('Not given: lease: another host that attaches the image is not kept away', text)
        for feature in ('fence', 'flush', 'durability'):
            self.assertRegex(text, rf'\n {{14}}{feature}: \w+')
        self.assertEqual(json.loads(run('status', 'vm1', '--json=short').stdout)['missing_features'],
                         ['lease', 'fence', 'flush', 'durability'])
        # What a newer daemon names is at least named.
        self.mock.tell('set vm1 MissingFeatures levitation')
        self.assertIn('Not given: levitation\n', run('status', 'vm1').stdout)

    def test_failed(self):
        self.populate()
        text = run('status', 'backup').stdout
        self.assertIn('Once mended: systemctl reset-failed image@backup.service && systemctl start image@backup.service\n', text)
        self.assertIn('To forget it: systemctl reset-failed image@backup.service\n', text)
        self.mock.tell('set backup Configured 1')
        self.assertNotIn('To forget it', run('status', 'backup').stdout)

    def test_plain_characters(self):
        self.populate()
        self.assertTrue(run('status', 'vm1', env=environment(LC_ALL='C')).stdout.startswith('* vm1\n'))

    def test_image_json(self):
        self.populate()
        image = json.loads(run('status', 'vm1', '--json=short').stdout)
        self.assertEqual(image['size'], 1610612736)
        self.assertEqual(image['read_operations'], 12)
        self.assertEqual(image['latency_usec'], 1250)
        self.assertEqual(image['proxies'][0], {'address': '127.0.0.1:11417', 'priority': 0, 'state': 'active',
                                               'round_trip_usec': 350, 'origin': 'configured', 'failures': 0,
                                               'reason': ''})

    def test_unknown_image(self):
        self.check(run('status', 'nope'), 66, '', 'cannot show "nope": This host knows no image "nope".')

    def test_summary(self):
        self.populate()
        self.check(run('status'), 0, '''\
blockstored 0.1.0-mock, 2 images: 1 failed, 1 attached
  backup: failed: 127.0.0.1:11417 refused the login of "host"
''')
        summary = json.loads(run('status', '--json=short').stdout)
        self.assertEqual(summary['states'], {'attached': 1, 'failed': 1})
        self.assertEqual([i['name'] for i in summary['images']], ['backup', 'vm1'])


class AttachTest(Base):
    def test_done(self):
        self.mock.tell('store vm1 1073741824 0 x 0')
        self.check(run('attach', 'vm1'), 0, 'vm1 is attached: /dev/blockstore/vm1, 1G, read-write.\n')
        self.assertEqual(self.mock.changes(), ['AttachImage vm1 interactive'])

    def test_options(self):
        self.mock.tell('add vm1')
        self.check(run('attach', '--no-ask-password', '-r', 'vm1', '--device', 'none', '--steal', '--proxy=h1',
                       '--proxy', '[::1]:7'), 0)
        self.assertEqual(self.mock.changes(),
                         ['AttachImage vm1 read-only=true steal=true device=none proxies=h1:11417,[::1]:7,'])

    def test_json(self):
        self.mock.tell('add vm1')
        image = json.loads(run('attach', 'vm1', '--json=short').stdout)
        self.assertEqual((image['name'], image['state'], image['size']), ('vm1', 'attached', 1 << 30))

    def test_wrong_words(self):
        self.check(run('attach', 'a/b'), 64, '', '"a/b" cannot be an image\'s name')
        self.check(run('attach', 'vm1', '--device=ublk'), 64, '', 'expected nbd or none')
        self.check(run('attach', 'vm1', '--proxy=:::'), 64, '', '--proxy=:::: expected HOST')
        self.assertEqual(self.mock.changes(), [])

    def waiting(self, **more):
        """An attach whose call has been answered, with the image still attaching."""
        self.mock.tell('add vm1', 'outcome attaching')
        process = start('attach', 'vm1', stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8', **more)
        self.mock.wait_call('AttachImage')
        self.mock.wait_call('GetAll')
        return process

    def end(self, process):
        out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def test_waits(self):
        process = self.waiting()
        self.mock.tell('set vm1 StateReason no proxy answers', 'set vm1 Size 512', 'set vm1 Device /dev/nbd1')
        self.assertIsNone(process.poll())
        self.mock.tell('set vm1 State attached')
        self.check(self.end(process), 0, 'vm1 is attached: /dev/blockstore/vm1, 512, read-write.\n')

    def test_waits_and_fails(self):
        for number, name in failures():
            with self.subTest(name):
                process = self.waiting()
                self.mock.tell(f'set vm1 Failure {name}', 'set vm1 StateReason It went wrong.', 'set vm1 State failed')
                self.check(self.end(process), number, '', 'cannot attach "vm1": It went wrong.\n')
                self.mock.tell('drop vm1')

    def test_detached_meanwhile(self):
        process = self.waiting()
        self.mock.tell('set vm1 State inactive')
        self.check(self.end(process), 67, '', '"vm1" was detached while it was being attached')
        self.mock.tell('drop vm1')
        process = self.waiting()
        self.mock.tell('set vm1 State detaching')
        self.check(self.end(process), 67)

    def test_interrupt(self):
        process = self.waiting()
        process.send_signal(signal.SIGINT)
        result = self.end(process)
        self.check(result, 130, '', 'Stopped waiting; the attach of vm1 goes on.')
        self.assertIn('blockstorectl detach vm1', result.stderr)
        self.assertEqual(self.mock.changes(), [])

    def test_timeout(self):
        etc = os.path.join(state['directory'], 'short')
        os.mkdir(etc)
        with open(f'{etc}/blockstore.json', 'w', encoding='utf-8') as f:
            f.write('{ "proxies": ["127.0.0.1"], "attach-timeout": "1s" }')
        process = self.waiting(env=environment(BLOCKSTORE_CONFIG_DIRECTORY=etc))
        self.check(self.end(process), 76, '', '"vm1" is still being attached after attach-timeout')
        self.assertEqual(self.mock.changes(), [])

    def test_daemon_restarted(self):
        process = self.waiting()
        self.mock.tell('set vm1 State attached', 'disown')
        self.mock.tell('own')
        self.check(self.end(process), 0)

    def test_progress_on_terminal(self):
        self.mock.tell('add vm1', 'outcome attaching')
        terminal = Terminal('attach', 'vm1')
        self.mock.wait_call('AttachImage')
        self.mock.tell('set vm1 StateReason 127.0.0.1:11417: connection refused')
        terminal.lines.until(b'vm1: attaching: 127.0.0.1:11417: connection refused')
        self.mock.tell('set vm1 State attached')
        code, output = terminal.end()
        self.assertEqual(code, 0)
        self.assertIn(b'vm1 is attached', output)


class ChangeTest(Base):
    def test_detach(self):
        self.populate()
        self.check(run('detach', 'vm1'), 0, 'vm1 is detached.\n')
        self.check(run('detach', 'vm1', '--json=short'), 0, '')
        self.check(run('detach', 'vm9'), 67, '', 'cannot detach "vm9"')

    def test_detached_without_a_flush(self):
        self.mock.tell('add vm1', 'set vm1 State attached', 'set vm1 Device /dev/nbd0', 'fail DetachImage org.blockstore.Error.IO The last flush did not succeed.')
        result = run('detach', 'vm1')
        self.check(result, 74, '', 'The last flush did not succeed.')
        self.assertNotIn('detached all the same', result.stderr)
        self.mock.tell('set vm1 State failed', 'set vm1 Device ')
        self.check(run('detach', 'vm1'), 74, '', 'vm1 is detached all the same.')

    def test_create(self):
        self.check(run('create', 'new', '1.5G'), 0, 'new is created: 1.5G, UUID 0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03.\n')
        self.check(run('create', 'with space', '512', '--json=short'), 0)
        self.assertEqual(self.mock.changes(), ['CreateImage new 1610612736 interactive',
                                               'CreateImage with space 512 interactive'])
        image = json.loads(run('create', 'new', '4096', '--json=short').stdout)
        self.assertEqual(image, {'name': 'new', 'size': 4096, 'uuid': '0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03'})

    def test_create_preallocated(self):
        self.check(run('create', '--preallocate', '--checksums', 'new', '512'), 0,
                   'new is created: 512, UUID 0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03.\n')
        self.assertEqual(self.mock.changes(), ['PreallocateImage new 512 interactive checksums=true'])
        self.check(run('create', '--preallocate', 'new', '512'), 73)
        # A job: followed, and what it has made is shown as ever.
        lines = [json.loads(line) for line in run('create', '--preallocate', 'slow', '4K', '--json=short').stdout.splitlines()]
        self.assertEqual([line.get('state') for line in lines], ['running', 'done', None])
        self.assertEqual(lines[2], {'name': 'slow', 'size': 4096, 'uuid': '0a6f3c1e-8f2b-4f6e-9a59-2f4c7d1b8e03'})

    def test_create_preallocated_cancelled(self):
        terminal = Terminal('create', '--preallocate', 'slow', '4K')
        self.assertIn(b'1M of 3M', terminal.lines.until(b'1s left'))
        terminal.process.send_signal(signal.SIGINT)
        code, output = terminal.end()
        self.assertEqual(code, 130)
        self.assertIn(b'Nothing was made.', output)
        self.assertIn('Job.Cancel', self.mock.changes())

    def test_scrub_all(self):
        self.check(run('scrub', '--all'), 0, 'The store has no images.\n')
        self.mock.tell('store ceph1 512 0 - 0', 'store ceph2 512 0 - 0')
        result = run('scrub', '--all')
        self.check(result, 0)
        self.assertRegex(result.stdout, 'Nothing was scrubbed: .*Ceph.*checksums of its own.*deep')
        lines = [json.loads(line) for line in run('scrub', '--all', '--json=short').stdout.splitlines()]
        self.assertEqual([(line['name'], line['checksums'], line['checked_by_store']) for line in lines],
                         [('ceph1', False, True), ('ceph2', False, True)])
        self.assertEqual([c for c in self.mock.changes() if c.startswith('ScrubImage')], [])

    def test_scrub_some(self):
        self.mock.tell('store plain 512 0 - 0', 'store sums1 512 0 - 0', 'store sums2 512 0 - 0')
        self.check(run('scrub', '--all'), 0, 'sums1: was never scrubbed\nsums2: was never scrubbed\n'
                   '1 of 3 images have no checksums, and cannot be scrubbed: they were made without --checksums.\n')
        self.assertEqual([c for c in self.mock.changes() if c.startswith('ScrubImage')],
                         ['ScrubImage sums1', 'ScrubImage sums2'])

    def test_store_status_of_many(self):
        self.mock.tell(*(f'store sums{i} 512 0 - 0' for i in range(300)), 'store gone 512 0 - 0', 'store sums-last 512 0 - 0')
        status = json.loads(run('store', 'status', '--json=short').stdout)
        self.assertEqual(status['looked_at'], 302)
        self.assertEqual({i['name']: i['scrub'] for i in status['images']},
                         {**{f'sums{i}': 'never' for i in range(300)}, 'gone': '', 'sums-last': 'never'})
        output = run('store', 'status').stdout
        self.assertRegex(output, r'(?m)^sums-last .* never$')
        self.assertNotIn('Only the first', output)

    def test_rename(self):
        self.check(run('rename', 'old', 'new'), 0, 'old is called new now.\n')
        self.assertEqual(self.mock.changes(), ['RenameImage old new interactive'])

    def test_snapshots(self):
        self.check(run('snapshot', 'create', 'vm1@monday'), 0, 'vm1@monday is made.\n')
        self.check(run('clone', 'vm1@monday', 'copy'), 0, 'copy is made.\n')
        for verb in (('create',), ('remove', '--yes'), ('rollback', '--yes')):
            for wrong in ('vm1', 'vm1@', '@monday', '', 'vm1@a/b'):
                self.check(run('snapshot', *verb, '--', wrong), 64, '', 'expected NAME@SNAP')
        for verb in ('remove', 'rollback'):
            self.check(run('snapshot', verb, 'vm1@monday'), 64, '', 'say --yes')
        self.check(run('snapshot', 'rollback', '--yes', 'vm1@monday'), 0, 'vm1 is rolled back.\n')
        self.check(run('snapshot', 'remove', '-y', 'vm1@monday'), 0, 'vm1@monday is removed.\n')
        self.assertEqual(self.mock.changes(), [
            'CreateSnapshot vm1 monday interactive', 'CloneImage vm1 monday copy interactive',
            'RollBackImage vm1 monday interactive', 'RemoveSnapshot vm1 monday interactive'])

    def test_list_snapshots(self):
        output = run('snapshot', 'list', 'vm1').stdout
        self.assertRegex(output, r'SNAPSHOT +SIZE +USED +MADE +IN USE\nmonday +1G +1M +2023-11-1\d \d\d:\d\d:\d\d +yes\n')
        found = json.loads(run('snapshot', 'list', 'vm1', '--json=short').stdout)
        self.assertEqual(found[0]['created_usec'], 1700000000000000)
        self.check(run('snapshot', 'list', 'other'), 66, '', 'cannot list the snapshots of "other"')

    def test_roll_back_asks(self):
        for answer, code, calls in (('n', 130, []), ('y', 0, ['RollBackImage vm1 monday interactive'])):
            terminal = Terminal('snapshot', 'rollback', 'vm1@monday')
            self.assertIn(b'vm1@monday?', terminal.lines.until(b'[y/N] '))
            terminal.type(answer + '\n')
            self.assertEqual(terminal.end()[0], code)
            self.assertEqual(self.mock.changes(), calls)

    def test_job(self):
        self.check(run('snapshot', 'create', 'slow@s'), 0, 'slow@s is made.\n')
        lines = [json.loads(line) for line in run('clone', 'slow@s', 'copy', '--json=short').stdout.splitlines()]
        self.assertEqual([line['state'] for line in lines], ['running', 'done'])
        self.assertEqual([line['progress'] for line in lines], [1 << 20, 3 << 20])
        self.assertEqual(lines[1]['total'], 3 << 20)
        self.check(run('snapshot', 'create', '--no-wait', 'slow@s'), 0, '', 'goes on as job 0a6f3c1e')
        terminal = Terminal('snapshot', 'create', 'slow@s')
        self.assertIn(b'1M of 3M', terminal.lines.until(b'1s left'))
        terminal.process.send_signal(signal.SIGINT)
        code, output = terminal.end()
        self.assertEqual(code, 130)
        self.assertIn(b'Nothing was made.', output)
        self.assertIn('Job.Cancel', self.mock.changes())

    def test_attach_a_snapshot(self):
        self.mock.tell('fail AttachImage org.blockstore.Error.Busy no')
        run('attach', 'vm1@monday')
        run('attach', 'vm1@monday', '--as', 'old')
        run('attach', 'vm1', '--as', 'new')
        self.assertEqual(self.mock.changes(), [
            'AttachImage vm1:monday interactive image=vm1@monday read-only=true',
            'AttachImage old interactive image=vm1@monday read-only=true', 'AttachImage new interactive image=vm1'])

    def test_create_wrong_words(self):
        for size in ('', '0', '100', '1.5', '10X', '-1', '99999999999G'):
            self.check(run('create', '--', 'new', size), 64, '')
        self.check(run('create', '', '1G'), 64, '')
        self.check(run('create', 'x' * 256, '1G'), 64, '')
        self.assertEqual(self.mock.changes(), [])

    def test_resize(self):
        self.populate()
        self.check(run('resize', 'vm1', '64G'), 0, 'vm1 has 64G now, and had 1.5G.\n')
        # By its name on this host; by the store's.
        self.check(run('resize', 'backup', '+1T'), 0, 'backup has 2T now, and had 1T.\n')
        result = run('resize', 'other', '+512', '--json=short')
        self.assertEqual(json.loads(result.stdout), {'name': 'other', 'size': 1024, 'old_size': 512})
        self.check(run('resize', 'vm1', '1M'), 64, '', '--force-shrink')
        self.check(run('resize', '--force-shrink', 'vm1', '1M'), 0)
        self.assertEqual(self.mock.changes(), ['ResizeImage vm1 68719476736 interactive',
                                               'ResizeImage nightly-backup 2199023255552 interactive',
                                               'ResizeImage other 1024 interactive',
                                               'ResizeImage vm1 1048576 interactive force-shrink=true'])
        self.check(run('resize', 'nowhere', '+1M'), 66, '', 'neither on this host nor in the store')
        for size in ('', '+', '0', '+0', '1.5', '++1M', '99999999999G', '+8E'):
            self.check(run('resize', 'vm1', size), 64, '')
        self.check(run('resize', '', '1G'), 64, '')
        self.assertEqual(self.mock.changes(), [])

    def test_remove_needs_yes(self):
        self.populate()
        self.check(run('remove', 'other'), 64, '', 'nothing was removed; say --yes')
        self.assertEqual(self.mock.changes(), [])
        self.check(run('remove', 'other', '--yes'), 0, 'other is removed.\n')
        self.check(run('remove', '-y', 'vm9'), 66, '', 'cannot remove "vm9"')
        self.assertEqual(self.mock.changes(), ['RemoveImage other interactive', 'RemoveImage vm9 interactive'])

    def test_remove_asks(self):
        self.populate()
        for answer, code, calls in (('n', 130, []), ('', 130, []), ('yes please', 130, []),
                                    ('y', 0, ['RemoveImage nightly-backup interactive '
                                              'uuid=1d0a4f0e-0000-4000-8000-000000000002'])):
            with self.subTest(answer):
                terminal = Terminal('remove', 'nightly-backup')
                question = terminal.lines.until(b'[y/N] ')
                self.assertIn(b'nightly-backup (1T, 512K used, UUID 1d0a4f0e', question)
                terminal.type(answer + '\n')
                self.assertEqual(terminal.end()[0], code)
                self.assertEqual(self.mock.changes(), calls)

    def test_remove_asks_only_about_what_is_there(self):
        code, output = Terminal('remove', 'vm9').end()
        self.assertEqual(code, 66)
        self.assertIn(b'no image of that name in the store', output)

    def test_proxies(self):
        self.populate()
        self.check(run('proxies'), 0, '''\
PROXY            PRIORITY  STATE        ROUND TRIP  FAILURES  ORIGIN      REASON
127.0.0.1:11417         0  active            350us         0  configured  -
[::1]:11417             1  unreachable           -         3  announced   connection refused
''')
        self.assertEqual(json.loads(run('proxies', '--json=short').stdout)[1], {
            'address': '[::1]:11417', 'priority': 1, 'state': 'unreachable', 'round_trip_usec': 0,
            'origin': 'announced', 'failures': 3, 'reason': 'connection refused'})
        # The same of an image, and nobody was asked.
        self.mock.changes()
        self.assertEqual(run('proxies', 'vm1').stdout, run('proxies').stdout)
        self.check(run('proxies', 'nope'), 66, '', 'cannot list the proxies of "nope"')
        self.check(run('proxies', 'a/b'), 64, '', 'cannot be an image')

    def test_drain(self):
        self.populate()
        process = start('proxy', 'drain', '127.0.0.1', stdout=subprocess.PIPE, encoding='utf-8')
        self.assertEqual(self.mock.wait_call('DrainProxy'), 'DrainProxy 127.0.0.1:11417 drain interactive')
        self.assertEqual(process.stdout.readline(),
                         '127.0.0.1:11417 is draining: what comes to it is sent to other proxies.\n')
        # Between two proxies is not yet moved.
        self.mock.tell('set vm1 ActiveProxy', 'set vm1 ActiveProxy [::1]:11417')
        self.assertEqual(process.stdout.read(), 'vm1 is served by [::1]:11417\n')
        self.assertEqual(process.wait(DEADLINE), 0)
        process.stdout.close()

    def test_drain_json(self):
        self.populate()
        process = start('proxy', 'drain', '127.0.0.1', '--json=short', stdout=subprocess.PIPE, encoding='utf-8')
        self.mock.wait_call('DrainProxy')
        self.mock.tell('set vm1 ActiveProxy [::1]:11417')
        self.assertEqual(json.loads(process.communicate(timeout=DEADLINE)[0]),
                         {'proxy': '127.0.0.1:11417', 'draining': True, 'moved': ['vm1'], 'served': []})

    def test_drain_of_one_that_serves_nobody(self):
        self.populate()
        self.check(run('proxy', 'drain', 'Storage9:4711'), 0,
                   'storage9:4711 is draining: what comes to it is sent to other proxies.\n')
        self.check(run('proxy', 'drain', '--undo', 'storage9:4711'), 0, 'storage9:4711 serves again.\n')
        self.assertEqual(self.mock.changes(), ['DrainProxy storage9:4711 drain interactive',
                                               'DrainProxy storage9:4711 undo interactive'])

    def test_drain_wrong_words(self):
        self.check(run('proxy', 'drain', 'a:b:c'), 64, '', 'expected HOST, HOST:PORT or [IPV6]:PORT')
        self.check(run('proxy', 'drain'), 64, '')
        self.check(run('proxy'), 64, '', '"proxy" needs a verb')
        self.assertEqual(self.mock.changes(), [])


class ErrorTest(Base):
    CALLS = (('AttachImage', 'attach', 'vm1'), ('DetachImage', 'detach', 'vm1'), ('GetImage', 'status', 'vm1'),
             ('ListStoreImages', 'list'), ('CreateImage', 'create', 'vm1', '1G'),
             ('ResizeImage', 'resize', 'vm1', '512G'), ('RemoveImage', 'remove', '--yes', 'vm1'), ('ProbeProxies', 'proxies'),
             ('DrainProxy', 'proxy', 'drain', '127.0.0.1'))

    def test_every_failure_of_every_verb(self):
        self.assertGreater(len(failures()), 10)
        for method, *arguments in self.CALLS:
            for number, name in failures():
                with self.subTest(f'{method} {name}'):
                    self.mock.tell(f'fail {method} {name} The cause, as the daemon tells it')
                    result = run(*arguments)
                    self.check(result, number, err='The cause, as the daemon tells it.')
                    self.assertNotIn('\033', result.stdout + result.stderr)
                    # What to do about it stands below.
                    self.assertGreaterEqual(result.stderr.count('\n'), 2)
                    if 'vm1' in arguments:
                        self.assertIn('"vm1"', result.stderr)
                        self.assertNotIn('help vm1', result.stderr)

    def test_errors_of_the_bus(self):
        for name, number in (('org.freedesktop.DBus.Error.AccessDenied', 77),
                             ('org.freedesktop.DBus.Error.InteractiveAuthorizationRequired', 77),
                             ('org.freedesktop.DBus.Error.NoReply', 76),
                             ('org.freedesktop.DBus.Error.SomethingNew', 70)):
            self.mock.tell(f'fail DetachImage {name} Why.')
            self.check(run('detach', 'vm1'), number, err='cannot detach "vm1": Why.')
        # It could not be started, and it is older than its client.
        for name, text in (('org.freedesktop.systemd1.UnitMasked', 'blockstored cannot be reached on the system bus: Why.'),
                           ('org.freedesktop.DBus.Error.Spawn.ChildExited', 'blockstored cannot be reached on the system bus: Why.'),
                           ('org.freedesktop.DBus.Error.UnknownMethod', 'systemctl restart blockstored')):
            self.mock.tell(f'fail DetachImage {name} Why.')
            self.check(run('detach', 'vm1'), 71, err=text)

    def test_daemon_not_there(self):
        self.mock.tell('disown')
        for arguments in (('list',), ('status',), ('status', 'x'), ('attach', 'x'), ('detach', 'x'), ('proxies',),
                          ('create', 'x', '1G'), ('remove', '--yes', 'x')):
            result = run(*arguments)
            self.check(result, 71, '', 'blockstored cannot be reached on the system bus')
            self.assertIn('systemctl status blockstored', result.stderr)

    def test_bus_not_there(self):
        nowhere = environment(DBUS_SYSTEM_BUS_ADDRESS=f'unix:path={state["directory"]}/nothing')
        result = run('list', env=nowhere)
        self.check(result, 71, '', 'blockstored cannot be reached on the system bus: No such file or directory.')
        self.assertIn('systemctl status blockstored', result.stderr)

    def test_wrong_words(self):
        for arguments, text in (
                ((), 'no verb was given'),
                (('atach', 'x'), 'did you mean "attach"?'),
                (('xyzzy',), 'there is no verb "xyzzy".'),
                (('user', 'lits'), 'did you mean "list"?'),
                (('user',), '"user" needs a verb: add, passwd, rights, remove or list'),
                (('store',), '"store" needs a verb: status.'),
                (('store', 'staus'), 'did you mean "status"?'),
                (('resize', 'x', '-5G'), '"-5" looks like a number below zero'),
                (('doctor', '--check=xyzzy'), 'The second word of each line'),
                (('import', 'file'), '"import" needs FILE NAME'),
                (('export', 'x'), '"export" needs NAME[@SNAP] FILE'),
                (('export', 'x', '--format=vhd', 'y'), 'expected raw or qcow2'),
                (('list', '--lokal'), 'did you mean --local?'),
                (('--steal', 'attach', 'x'), '--steal is an option of "attach": it stands behind the verb'),
                (('list', '-x'), 'there is no option -x'),
                (('attach',), '"attach" needs NAME'),
                (('attach', 'a', 'b'), '"b" is too much'),
                (('list', '--local=1'), '--local takes no value'),
                (('attach', 'x', '--device'), '--device needs a value'),
                (('--json=long', 'list'), 'expected short or pretty'),
                (('help', 'atach'), 'did you mean "attach"?'),
                (('attach', 'x', *('--proxy=h',) * 65), 'more than 64 times')):
            with self.subTest(arguments[:3]):
                self.check(run(*arguments), 64, '', text)
        self.assertEqual(self.mock.changes(), [])

    def test_import_of_what_cannot_be(self):
        """Said before anybody is asked: what the head of the file tells."""
        def qcow2(version=3, backing=0, size=1 << 20, crypt=0, features=0):
            head = b'QFI\xfb' + version.to_bytes(4, 'big') + backing.to_bytes(8, 'big') + bytes(8) + size.to_bytes(8, 'big') + crypt.to_bytes(4, 'big')
            return head.ljust(72, b'\0') + features.to_bytes(8, 'big') + bytes(100)

        path = os.path.join(state['directory'], 'disk')
        for content, arguments, text in (
                (qcow2(backing=512), (), 'its backing file'),
                (qcow2(features=4), (), 'are in another file'),
                (qcow2(crypt=1), (), 'is encrypted'),
                (qcow2(version=4), (), 'of version 4'),
                (qcow2(size=0), (), 'is damaged'),
                (qcow2(size=1 << 63), (), 'is damaged'),
                (b'QFI\xfb', (), 'is no qcow2 file'),
                (b'raw', ('--format=qcow2',), 'is no qcow2 file'),
                (b'KDMV' + bytes(600), (), 'is a VMDK file'),
                (b'\x1f\x8b\x08' + bytes(600), (), 'Unpack it first'),
                (b'', (), 'is empty'),
                (b'raw', ('--size=1G',), 'of %s it is known' % path),
                (b'raw', ('--format=vhd',), 'expected raw or qcow2'),
                (b'raw', ('--sha256=abc',), 'expected 64 hexadecimal digits'),
                (b'raw', ('--sha256=' + 'a' * 64, '--no-checksum'), 'needs the checksum')):
            with self.subTest(text):
                with open(path, 'wb') as file:
                    file.write(content)
                self.check(run('import', *arguments, path, 'vm1'), 64, '', text)
        self.check(run('import', state['directory'], 'vm1'), 64, '', 'is a directory')
        self.check(run('import', path + '2', 'vm1'), 64, '', 'cannot be opened')
        self.check(run('import', '/dev/null', 'vm1'), 64, '', 'is a character device')
        self.check(run('import', '--resume', '-', 'vm1'), 64, '', 'read once')
        self.check(run('export', 'vm1', path), 73, '', 'exists already')
        self.check(run('export', 'vm1', state['directory']), 64, '', 'is a directory')
        self.assertEqual(sorted(name for name in os.listdir(state['directory']) if name.startswith('disk')), ['disk'])
        self.assertEqual(self.mock.changes(), [])

    def test_output_cannot_be_written(self):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            process = start('help', stdout=full, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, 74)
        self.assertIn(b'No space left', err)


class ColorTest(Base):
    def test_pipe(self):
        self.populate()
        for arguments in (('list',), ('status',), ('status', 'vm1'), ('proxies',), ('help',)):
            self.assertNotIn('\033', run(*arguments).stdout)

    def terminal(self, *arguments, **changes):
        code, output = Terminal(*arguments, env=environment(**changes)).end()
        self.assertEqual(code, 0, output)
        return output

    def test_terminal(self):
        self.populate()
        output = self.terminal('list')
        self.assertIn(b'\033[32mattached\033[0m', output)
        self.assertIn(b'\033[31mfailed\033[0m', output)
        self.assertIn(b'\033[32mattached\033[0m', self.terminal('status', 'vm1'))
        self.assertNotIn(ESCAPE, self.terminal('list', '--json=pretty'))

    def test_not_wanted(self):
        self.populate()
        self.assertNotIn(ESCAPE, self.terminal('list', NO_COLOR='1'))
        self.assertNotIn(ESCAPE, self.terminal('list', TERM='dumb'))
        self.assertIn(ESCAPE, self.terminal('list', NO_COLOR=''))


class MonitorTest(Base):
    def monitor(self, *arguments):
        process = start('monitor', *arguments, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, DEADLINE)
        self.addCleanup(process.terminate)
        return Lines(process.stdout.fileno())

    def test_json(self):
        lines = self.monitor('--json=short')
        first = json.loads(lines.line())
        self.assertEqual(first['event'], 'watching')
        self.assertTrue(first['owner'].startswith(':'))

        self.mock.tell('add vm1')
        event = json.loads(lines.line())
        self.assertEqual((event['event'], event['image'], event['properties']['state']), ('added', 'vm1', 'inactive'))
        self.assertGreater(event['time_usec'], 1600000000 * 1000000)

        self.mock.tell('set vm1 State attached', 'set vm1 Size 4096', 'set vm1 ReadOnly 1')
        for expected in ({'state': 'attached'}, {'size': 4096}, {'read_only': True}):
            event = json.loads(lines.line())
            self.assertEqual((event['event'], event['image'], event['properties']), ('changed', 'vm1', expected))

        self.mock.tell('drop vm1')
        event = json.loads(lines.line())
        self.assertEqual((event['event'], event['image']), ('removed', 'vm1'))

        self.mock.tell('disown')
        self.assertEqual(json.loads(lines.line())['event'], 'stopped')
        self.mock.tell('own')
        self.assertEqual(json.loads(lines.line())['event'], 'started')

    def test_text(self):
        self.mock.tell('add vm.1')
        lines = self.monitor()
        self.assertRegex(lines.line(), r'^\d\d:\d\d:\d\d\.\d{3} blockstored: watching \(:1\.\d+\)$')
        self.mock.tell('set vm.1 StateReason no proxy\tanswers')
        self.assertRegex(lines.line(), r'^\S+ vm\.1: changed state_reason=no proxy\?answers$')

    def test_does_not_start_the_daemon(self):
        self.mock.tell('disown')
        self.assertEqual(json.loads(self.monitor('--json=short').line())['event'], 'watching, and not running')


class UserTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(dir=state['directory'])
        self.file = f'{self.directory}/users.json'

    def user(self, *arguments, text=''):
        return run('user', *arguments, f'--file={self.file}', text=text)

    def load(self):
        with open(self.file, encoding='utf-8') as f:
            return {user['name']: user for user in json.load(f)['users']}

    def test_all(self):
        added = self.user('add', 'alice', '--read=*', '--write=vm-*', '--write', 'data', text='secret\n')
        self.assertEqual((added.returncode, added.stdout, added.stderr), (0, 'alice may log in.\n', ''))
        self.assertEqual(self.user('add', 'root', '--admin', '--no-classic', text='other').returncode, 0)
        bare = self.user('add', 'bare', text='x\n')
        self.assertEqual(bare.returncode, 0)
        self.assertIn('bare has no rights yet', bare.stderr)

        users = self.load()
        self.assertEqual((users['alice']['read'], users['alice']['write'], users['alice']['admin']),
                         (['*'], ['vm-*', 'data'], False))
        self.assertTrue(users['root']['admin'])
        self.assertTrue(users['alice']['hash'].startswith('$'))
        self.assertTrue(users['alice']['scram'].startswith('SCRAM-SHA-512$100000:'))
        self.assertNotIn('hash', users['root'])
        self.assertEqual(os.stat(self.file).st_mode & 0o007, 0)
        with open(self.file, encoding='utf-8') as f:
            self.assertNotIn('secret', f.read())

        self.assertEqual(self.user('list').stdout, '''\
USER   READ  WRITE      ADMIN  LOGIN
alice  *     vm-*,data  no     scram,classic
root   -     -          yes    scram
bare   -     -          no     scram,classic
''')
        self.assertEqual(json.loads(self.user('list', '--json=short').stdout)[0],
                         {'name': 'alice', 'read': ['*'], 'write': ['vm-*', 'data'], 'admin': False, 'login': ['scram', 'classic']})

        self.assertEqual(self.user('passwd', 'alice', text='new\n').returncode, 0)
        self.assertNotEqual(self.load()['alice']['hash'], users['alice']['hash'])
        self.assertEqual(self.load()['alice']['write'], ['vm-*', 'data'])
        self.assertEqual(self.load()['root'], users['root'])
        self.assertNotEqual(self.load()['alice']['scram'], users['alice']['scram'])
        self.assertEqual(self.user('passwd', 'bare', '--no-classic', text='y\n').returncode, 0)
        self.assertNotIn('hash', self.load()['bare'])
        self.assertEqual(self.user('rights', 'alice', '--no-classic').returncode, 64)

        hash_before = self.load()['alice']['hash']
        self.assertEqual(self.user('rights', 'alice', '--read', 'vm-*', '--admin').stdout, 'The rights of alice are changed.\n')
        alice = self.load()['alice']
        self.assertEqual((alice['read'], alice['write'], alice['admin'], alice['hash']), (['vm-*'], [], True, hash_before))
        self.assertIn('has no rights now', self.user('rights', 'alice').stderr)
        self.assertEqual(self.user('rights', 'alice', '--read', '').returncode, 64)

        self.assertEqual(self.user('remove', 'alice').returncode, 0)
        self.assertEqual(sorted(self.load()), ['bare', 'root'])

    def test_refused(self):
        self.assertEqual(self.user('list').returncode, 78)
        self.assertEqual(self.user('add', 'alice', text='x\n').returncode, 0)
        with open(self.file, 'rb') as f:
            before = f.read()
        for code, words, arguments, text in (
                (73, 'already', ('add', 'alice'), 'x\n'),
                (66, 'no user bob', ('passwd', 'bob'), 'x\n'),
                (66, 'no user bob', ('remove', 'bob'), ''),
                (66, 'no user bob', ('rights', 'bob', '--admin'), ''),
                (64, 'no password was given', ('add', 'bob'), ''),
                (64, 'empty password', ('add', 'bob'), '\n'),
                (64, 'longer than', ('add', 'bob'), 'x' * 1024),
                (64, 'NUL byte', ('add', 'bob'), 'a\0b\n'),
                (64, "cannot be a user's name", ('add', 'x' * 33), 'x\n'),
                (64, "cannot be a user's name", ('add', ''), 'x\n'),
                (64, '"secret" is too much', ('add', 'bob', 'secret'), '')):
            with self.subTest(arguments):
                result = self.user(*arguments, text=text)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn(words, result.stderr)
        with open(self.file, 'rb') as f:
            self.assertEqual(f.read(), before)

        with open(self.file, 'w', encoding='utf-8') as f:
            f.write('{ "users": [\n  { "name": 3 } ] }')
        result = self.user('add', 'bob', text='x\n')
        self.assertEqual(result.returncode, 78)
        self.assertIn(f'{self.file}:2:', result.stderr)

        gone = run('user', 'add', 'bob', f'--file={self.directory}/none/users.json', text='x\n')
        self.assertEqual(gone.returncode, 78)
        self.assertIn('no directory', gone.stderr)

    def test_asks_without_echo(self):
        terminal = Terminal('user', 'add', 'alice', '--read=*', '--file', self.file)
        terminal.lines.until(b'New password of alice: ')
        terminal.type('top secret\n')
        terminal.lines.until(b'Again: ')
        terminal.type('top secret\n')
        code, output = terminal.end()
        self.assertEqual(code, 0, output)
        self.assertNotIn(b'top', output)
        self.assertIn('alice', self.load())

        terminal = Terminal('user', 'passwd', 'alice', '--file', self.file)
        terminal.lines.until(b'New password of alice: ')
        terminal.type('one\n')
        terminal.lines.until(b'Again: ')
        terminal.type('another\n')
        code, output = terminal.end()
        self.assertEqual(code, 64)
        self.assertIn(b'the two passwords differ', output)

    def test_interrupted_question(self):
        terminal = Terminal('user', 'add', 'alice', '--file', self.file)
        terminal.lines.until(b'New password of alice: ')
        terminal.process.send_signal(signal.SIGINT)
        code, output = terminal.end()
        self.assertEqual(code, 130)
        self.assertIn(b'Nothing was changed', output)
        self.assertFalse(os.path.exists(self.file))


class VersionTest(unittest.TestCase):
    def test_version(self):
        self.assertRegex(run('version').stdout, r'^blockstorectl \d+\.\d+\.\d+\n$')
        self.assertEqual(run('--version').stdout, run('version').stdout)
        self.assertRegex(json.loads(run('version', '--json=short').stdout)['version'], r'^\d+\.\d+\.\d+$')

    def test_help(self):
        self.assertEqual(run('help').stdout, run('--help').stdout)
        self.assertEqual(run('help', 'attach').stdout, run('attach', '--help').stdout)
        self.assertEqual(run('help', 'user', 'add').stdout, run('user', 'add', '-h').stdout)


if __name__ == '__main__':
    if not shutil.which('dbus-daemon'):
        print('dbus-daemon is not installed: the command line cannot be tried against a bus')
        sys.exit(SKIP)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
