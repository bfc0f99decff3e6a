#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What blockstorectl changes: what it asks of the daemon, waits for, asks back, and says of the outcome.

    test-blockstorectl-changes.py BLOCKSTORECTL MOCK-BLOCKSTORED
"""

import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

from ctl_rig import DEADLINE, BusTest, Terminal, directory, environment, failures, main, run, setUpModule, start, tearDownModule  # noqa: E402


class AttachTest(BusTest):
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
        self.check(run('detach', 'a@b'), 64, '', 'a snapshot is called "a:b" here')
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
        etc = os.path.join(directory(), 'short')
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


class ChangeTest(BusTest):
    def interrupt(self, *arguments):
        """Ctrl-C while the job of a command is followed cancels it."""
        self.mock.tell('linger')
        terminal = Terminal(*arguments)
        self.assertIn(b'1M of 3M', terminal.lines.until(b'1s left'))
        terminal.process.send_signal(signal.SIGINT)
        code, output = terminal.end()
        self.assertEqual(code, 130)
        self.assertIn(b'Nothing was made.', output)
        self.assertIn('Job.Cancel', self.mock.changes())

    def test_detach(self):
        self.populate()
        self.check(run('detach', 'vm1'), 0, 'vm1 is detached.\n')
        self.check(run('detach', 'vm1', '--json=short'), 0, '')
        self.check(run('detach', 'vm9'), 67, '', 'cannot detach "vm9"')

    def test_detach_what_has_failed(self):
        """What was not attached is not said to have been; what has a device yet was."""
        self.mock.tell('add vm1', 'set vm1 State failed')
        self.check(run('detach', 'vm1'), 0, 'vm1 was not attached. It had failed, which is forgotten now.\n')
        self.mock.tell('set vm1 State failed')
        self.check(run('detach', 'vm1', '--lazy'), 0, 'vm1 was not attached. It had failed, which is forgotten now.\n')
        self.mock.tell('set vm1 State failed', 'set vm1 Device /dev/nbd0')
        self.check(run('detach', 'vm1'), 0, 'vm1 is detached.\n')

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
        self.interrupt('create', '--preallocate', 'slow', '4K')

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
        self.interrupt('snapshot', 'create', 'slow@s')

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


if __name__ == '__main__':
    main()
