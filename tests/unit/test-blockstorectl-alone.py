#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What blockstorectl does without a daemon: users files, and what it says of itself.

    test-blockstorectl-alone.py BLOCKSTORECTL
"""

import json
import os
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

from ctl_rig import Terminal, main, run  # noqa: E402


class UserTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='blockstorectl-')
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.file = f'{self.directory}/users.json'

    def user(self, *arguments, text=''):
        return run('user', *arguments, f'--file={self.file}', text=text)

    def load(self):
        with open(self.file, encoding='utf-8') as f:
            return {user['name']: user for user in json.load(f)['users']}

    def test_all(self):
        added = self.user('add', 'alice', '--read=*', '--write=vm-*', '--write', 'data', text='a long secret\n')
        self.assertEqual((added.returncode, added.stdout, added.stderr), (0, 'alice may log in.\n', ''))
        self.assertEqual(self.user('add', 'root', '--admin', '--no-classic', text='another secret').returncode, 0)
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

    def test_short_password(self):
        """It is taken, from a pipe as on a terminal, and not without a word. What counts are characters, not bytes."""
        short = self.user('add', 'alice', '--read=*', text='ab\n')
        self.assertEqual((short.returncode, short.stdout), (0, 'alice may log in.\n'))
        self.assertRegex(short.stderr, '^[^\n]*The password of alice has only 2 characters,[^\n]*use 12 or more[^\n]*blockstorectl user passwd alice\n$')
        self.assertIn('only 1 character,', self.user('passwd', 'alice', text='ä\n').stderr)
        self.assertIn('only 11 characters,', self.user('passwd', 'alice', text='ä' * 11 + '\n').stderr)
        self.assertEqual(self.user('passwd', 'alice', text='x' * 12 + '\n').stderr, '')

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
    main(bus=False)
