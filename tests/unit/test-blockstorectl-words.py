#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Help, man page and shell completion of blockstorectl name the same verbs and options.

    test-blockstorectl-words.py BLOCKSTORECTL SOURCE-ROOT

The completion is asked the way a shell does, by filling COMP_WORDS and calling its function, not by looking for words in its text. The exit codes of the man page are held against the
table of failures as well.
"""

import re
import shutil
import subprocess
import sys
import unittest

CTL, SOURCE = sys.argv[1:3]
MAN = f'{SOURCE}/cli/blockstorectl.1'
COMPLETION = f'{SOURCE}/cli/completion.bash'
OPTION = re.compile(r'(?<![\w-])(--?[a-z][a-z0-9-]*)')


def read(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def from_help():
    """{verb: options}, with '' for the global options."""
    text = subprocess.run([CTL, '--help'], capture_output=True, encoding='utf-8', check=True).stdout
    words, verb = {}, None
    for line in text.splitlines():
        left = re.split(r'\s{2,}', line.strip())[0]
        if line == 'Options:':
            verb = ''
            words[verb] = set()
        elif re.match(r'  [a-z]', line):
            # the words in small letters are the verb, the others its arguments
            verb = ' '.join(re.findall(r'(?:^|(?<= ))[a-z][a-z-]*(?= |$)', left))
            words[verb] = set()
        elif verb is not None and line.strip().startswith('-'):
            words[verb] |= set(OPTION.findall(left))
    return words


def plain(roff):
    return re.sub(r'\\f[BIRP]|\\&', '', roff).replace(r'\-', '-')


def from_man():
    words, verb, section, entry = {}, None, None, False
    for line in read(MAN).splitlines():
        if line.startswith('.SH '):
            section = line[4:]
            verb = '' if section == 'OPTIONS' else None
        elif line.startswith('.SS ') and section == 'VERBS':
            # what is in italics are arguments
            verb = ' '.join(re.findall(r'[a-z][a-z-]*', re.sub(r'\\f[RI].*', '', line[4:]).replace('\\-', '-')))
        elif entry and verb is not None:
            words[verb] |= set(OPTION.findall(plain(line)))
        if verb is not None:
            words.setdefault(verb, set())
        entry = line == '.TP'
    return words


def complete(*words):
    """What bash would offer for the last word."""
    script = '''. "$1"; shift; COMP_WORDS=(blockstorectl "$@"); COMP_CWORD=$#; COMPREPLY=()
                _blockstorectl; [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\\n' "${COMPREPLY[@]}"'''
    result = subprocess.run([shutil.which('bash'), '-c', script, 'bash', COMPLETION, *words], capture_output=True, encoding='utf-8',
                            env={'PATH': '/nonexistent'}, check=True)
    return set(result.stdout.split())


class WordsTest(unittest.TestCase):
    maxDiff = None

    def test_help_is_understood(self):
        words = from_help()
        self.assertIn('user passwd', words)
        self.assertEqual(words['detach'], {'--wait', '--lazy', '--cancel'})
        self.assertEqual(words['list'], {'--local', '-l'})
        self.assertIn('--json', words[''])

    def test_man_page(self):
        self.assertEqual(from_man(), from_help())

    def test_completion_of_options(self):
        words = from_help()
        for verb, options in words.items():
            with self.subTest(verb):
                self.assertEqual(complete(*verb.split(), '-'), options | words[''])

    def test_completion_of_verbs(self):
        verbs = {verb.split()[0] for verb in from_help() if verb}
        self.assertEqual(complete(''), verbs)
        self.assertEqual(complete('help', ''), verbs)
        self.assertEqual(complete('user', ''), {verb.split()[1] for verb in from_help() if verb.startswith('user ')})
        self.assertEqual(complete('proxy', ''), {verb.split()[1] for verb in from_help() if verb.startswith('proxy ')})
        self.assertEqual(complete('--no-legend', '--json', '=', 'short', 'att'), {'attach'})

    def test_completion_of_values(self):
        self.assertEqual(complete('--json', '='), {'short', 'pretty'})
        self.assertEqual(complete('list', '--json', '=', 's'), {'short'})
        self.assertEqual(complete('attach', '--device', ''), {'nbd', 'none'})
        self.assertEqual(complete('create', 'x', ''), set())

    def test_completion_behind_values(self):
        text = subprocess.run([CTL, '--help'], capture_output=True, encoding='utf-8', check=True).stdout
        with_value = re.findall(r'^ +(?:(-\w) )?(--[a-z0-9-]+)=', text, re.M)
        self.assertIn(('-c', '--check'), with_value)
        for option in filter(None, (name for pair in with_value for name in pair)):
            with self.subTest(option):
                self.assertEqual(complete(option, '4711', 'detac'), {'detach'})
                self.assertEqual(complete('list', option, 'nothing begins so'), set())

    def test_exit_codes_of_man_page(self):
        numbers = re.findall(r'FAILURE_\w+ = (\d+)', read(f'{SOURCE}/libshared/error-table.h'))
        section = read(MAN).split('.SH EXIT STATUS')[1].split('.SH')[0]
        self.assertEqual(re.findall(r'^\.B (\d+)$', section, re.M), [n for n in numbers if n != '0'] + ['130'])


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
