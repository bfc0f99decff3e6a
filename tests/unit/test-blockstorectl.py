#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What blockstorectl shows: tables, JSON, events, colours; and what it says when something fails.

    test-blockstorectl.py BLOCKSTORECTL MOCK-BLOCKSTORED
"""

import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

from ctl_rig import DEADLINE, BusTest, Lines, Terminal, directory, environment, failures, main, run, setUpModule, start, tearDownModule  # noqa: E402

ESCAPE = b'\033'


class ListTest(BusTest):
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


class StatusTest(BusTest):
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


class ErrorTest(BusTest):
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
        nowhere = environment(DBUS_SYSTEM_BUS_ADDRESS=f'unix:path={directory()}/nothing')
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
                (('snapshot', 'data'), 'there is no verb "snapshot data": "snapshot" needs create, '),
                (('user', 'rights', 'x', '--read'), '--read needs a value'),
                (('user', 'add', 'x', '--raed=y'), 'there is no option --raed of "user add": did you mean --read?'),
                (('user', 'add', 'x', '-z'), 'there is no option -z'),
                (('user', 'add', 'x', '--admin=1'), '--admin takes no value'),
                (('store', 'staus'), 'did you mean "status"?'),
                (('create', 'x', '999999999T'), '"999999999T" is more than any image can have'),
                (('create', 'x', '8E'), '"8E" is more than any image can have'),
                (('resize', 'x', '-64M'), '"-64M" looks like a number below zero'),
                (('resize', '-5', 'x'), '"-5" looks like a number below zero'),
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
                result = run(*arguments)
                self.check(result, 64, '', text)
                # The help that is pointed to is there.
                for words in re.findall(r'^See: blockstorectl (help.*)$', result.stderr, re.M):
                    self.check(run(*words.split()), 0)
        self.assertEqual(self.mock.changes(), [])

    def test_heat_map_of_nothing(self):
        self.check(run('heatmap', 'nope'), 66, '', 'cannot draw the heat map of "nope"')

    def test_import_of_what_cannot_be(self):
        """Said before anybody is asked: what the head of the file tells."""
        def qcow2(version=3, backing=0, size=1 << 20, crypt=0, features=0):
            head = b'QFI\xfb' + version.to_bytes(4, 'big') + backing.to_bytes(8, 'big') + bytes(8) + size.to_bytes(8, 'big') + crypt.to_bytes(4, 'big')
            return head.ljust(72, b'\0') + features.to_bytes(8, 'big') + bytes(100)

        path = os.path.join(directory(), 'disk')
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
        self.check(run('import', directory(), 'vm1'), 64, '', 'is a directory')
        self.check(run('import', path + '2', 'vm1'), 64, '', 'cannot be opened')
        self.check(run('import', '/dev/null', 'vm1'), 64, '', 'is a character device')
        self.check(run('import', '--resume', '-', 'vm1'), 64, '', 'read once')
        self.check(run('export', 'vm1', path), 73, '', 'exists already')
        self.check(run('export', 'vm1', directory()), 64, '', 'is a directory')
        self.assertEqual(sorted(name for name in os.listdir(directory()) if name.startswith('disk')), ['disk'])
        self.assertEqual(self.mock.changes(), [])

    def test_output_cannot_be_written(self):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            process = start('help', stdout=full, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=DEADLINE)
        self.assertEqual(process.returncode, 74)
        self.assertIn(b'No space left', err)


class ColorTest(BusTest):
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


class MonitorTest(BusTest):
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


if __name__ == '__main__':
    main()
