#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that systemd starts, started by a person: each tells what it is, and complains of what it does not know, without doing anything.

    test-programs.py PROGRAM...
"""

import os
import re
import subprocess
import sys
import unittest

PROGRAMS = sys.argv[1:]
DEADLINE = 30
USAGE = 64


def run(*arguments):
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, encoding='utf-8', timeout=DEADLINE, check=False)


class Programs(unittest.TestCase):
    def check(self, program, arguments, code):
        result = run(program, *arguments)
        with self.subTest(program=program, arguments=arguments):
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertEqual((result.stderr == '', result.stdout == ''), (code == 0, code != 0), result)
        return result.stdout

    def test_what_it_is(self):
        for program in PROGRAMS:
            name = os.path.basename(program)
            for option in ('--help', '-h'):
                self.assertTrue(self.check(program, [option], 0).startswith(f'Usage: {name}'), name)
            self.assertRegex(self.check(program, ['--version'], 0), rf'^{re.escape(name)} \d+\.\d+\.\d+\n$')

    def test_what_it_does_not_know(self):
        for program in PROGRAMS:
            self.check(program, ['--no-such-option'], USAGE)
            self.check(program, ['one', 'two', 'three', 'four'], USAGE)

    def test_no_name_of_an_image(self):
        for program in PROGRAMS:
            if os.path.basename(program) in ('blockstore-password', 'blockstore-release', 'blockstore-transfer'):
                for arguments in ([], [''], ['a/b'], ['-x']):
                    self.check(program, arguments, USAGE)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
