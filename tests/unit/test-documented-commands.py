#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the README, docs/ and the manual pages tell a reader to type can be typed.

    test-documented-commands.py BLOCKSTORECTL SOURCE-ROOT

Lines of code and code in a sentence are looked through for commands. Those of blockstorectl are held against its help (verb, options, how many arguments), calls by busctl against dbus/*.xml (members and their
types), names of units against units/, programs of the tree against the tree. Nothing is run but --help.
"""

import glob
import os
import re
import shlex
import subprocess
import sys
import unittest
import xml.etree.ElementTree as tree

CTL, SOURCE = sys.argv[1:3]
PATTERNS = ('README.md', 'docs/*.md', '*/*.[1-8]', '*/*/*.[1-8]')
ENDS = {'|', '&&', '||', ';', '&', '>', '>>', '<', '<<<'}


def read(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def markdown(text):
    """(line, code): indented lines, joined where a backslash says so, and code in sentences."""
    begun, number = '', 0
    for at, line in enumerate(text.splitlines(), 1):
        if line.startswith('    '):
            number = number if begun else at
            begun += line.strip()
            if begun.endswith('\\'):
                begun = begun[:-1]
                continue
            yield number, begun
            begun = ''
        else:
            begun = ''
            for code in re.findall(r'`([^`]+)`', line):
                yield at, code


def manual(text):
    """The same of a manual page: between .EX and .EE, or .nf and .fi, and what stands in bold."""
    literal = False
    for at, line in enumerate(text.splitlines(), 1):
        plain = re.sub(r'\\f[BIRP]|\\&', '', line).replace(r'\-', '-')
        if line in ('.EX', '.nf'):
            literal = True
        elif line in ('.EE', '.fi'):
            literal = False
        elif literal:
            yield at, plain
        elif line.startswith('.B '):
            yield at, plain[3:]


def commands():
    """(where, words) of each command."""
    for path in sorted(path for pattern in PATTERNS for path in glob.glob(os.path.join(SOURCE, pattern))):
        text = read(path)
        for at, code in markdown(text) if path.endswith('.md') else manual(text):
            # What a shell would split into commands, and what it would not run.
            for part in re.split(r'\$\(|\|(?= )|&&|;', code):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    continue
                end = next((i for i, word in enumerate(words) if word in ENDS or re.match(r'[<>)]', word)), len(words))
                if words[:end]:
                    yield f'{os.path.relpath(path, SOURCE)}:{at}: {code}', words[:end]


def called(program):
    return [(where, words[1:]) for where, words in commands() if words[0] == program]


class Verbs:
    def __init__(self):
        self.verbs, self.options, self.global_options = {}, {}, {}
        text = subprocess.run([CTL, '--help'], capture_output=True, encoding='utf-8', check=True).stdout
        options = None
        for line in text.splitlines():
            left = re.split(r'\s{2,}', line.strip())[0]
            if line == 'Options:':
                options = self.global_options
            elif re.match(r'  [a-z]', line):
                verb = ' '.join(re.findall(r'(?:^|(?<= ))[a-z][a-z-]*(?= |$)', left))
                arguments = left[len(verb):].split()
                self.verbs[verb] = (sum(not a.startswith('[') for a in arguments), 9 if '...]' in left else len(arguments))
                options = self.options[verb] = {}
            elif options is not None and line.strip().startswith('-'):
                for name in re.findall(r'(?<![\w-])(--?[a-z][a-z0-9-]*)', left):
                    options[name] = '=' in left and '[=' not in left

    def find(self, words):
        for n in (2, 1):
            if ' '.join(words[:n]) in self.verbs:
                return ' '.join(words[:n]), words[n:]
        return None, words

    def complaint(self, words):
        """What is wrong with this command line; None: nothing. A verb alone stands for itself."""
        arguments, options, i = [], [], 0
        while i < len(words):
            if re.match(r'--?[a-z]', words[i]):
                name = words[i].split('=')[0]
                options.append(name)
                known = {**self.global_options, **{k: v for verb in self.options.values() for k, v in verb.items()}}
                i += 1 if '=' in words[i] or not known.get(name) else 2
            else:
                arguments.append(words[i])
                i += 1
        if not arguments:
            return None
        if any(verb.startswith(arguments[0] + ' ') for verb in self.verbs) and len(arguments) > 1 and '|' in arguments[1]:
            return next(filter(None, (self.complaint([arguments[0], one, *options]) for one in arguments[1].split('|'))), None)
        verb, rest = self.find(arguments)
        if not verb:
            return None if any(v.startswith(arguments[0] + ' ') for v in self.verbs) and len(arguments) == 1 else f'no verb "{arguments[0]}"'
        for name in options:
            if name not in self.options[verb] and name not in self.global_options:
                return f'{verb} has no option {name}'
        least, most = self.verbs[verb]
        if len(rest) > most or (rest and len(rest) < least):
            return f'{verb} takes {least} to {most} arguments'
        return None


def interfaces():
    """{interface: ({method: types}, {property})}"""
    found = {}
    for path in glob.glob(os.path.join(SOURCE, 'dbus', 'org.*.xml')):
        for interface in tree.parse(path).getroot().iter('interface'):
            methods = {m.get('name'): ''.join(a.get('type') for a in m.iter('arg') if a.get('direction') != 'out') for m in interface.iter('method')}
            found[interface.get('name')] = (methods, {p.get('name') for p in interface.iter('property')})
    return found


def take(types, words):
    """The rest of the words after the values of a signature, in busctl's way of writing them."""
    i = 0
    while i < len(types):
        if types[i] == 'a':
            end = i + 1
            depth = 0
            while True:
                depth += (types[end] in '({') - (types[end] in ')}')
                end += 1
                if depth == 0 and types[end - 1] != 'a':
                    break
            element, n = types[i + 1:end].strip('(){}'), int(words[0])
            words = words[1:]
            for _ in range(n):
                words = take(element, words)
            i = end
        elif types[i] == 'v':
            words = take(words[0], words[1:])
            i += 1
        elif types[i] in '(){}':
            i += 1
        else:
            if not words:
                raise ValueError(f'there is no value for "{types[i]}"')
            words = words[1:]
            i += 1
    return words


class DocumentedCommands(unittest.TestCase):
    def test_blockstorectl(self):
        verbs, lines = Verbs(), called('blockstorectl')
        self.assertGreater(len(lines), 60)
        for where, words in lines:
            with self.subTest(where):
                if words and words[0].endswith(':'):  # what it prints
                    continue
                self.assertIsNone(verbs.complaint(words))

    def test_wrong_lines_are_found(self):
        verbs = Verbs()
        for line in ('atach vm1', 'attach --lazy vm1', 'create vm1', 'user add|ad --file FILE', 'limit NAME --iops 500 50M', 'snapshot make vm1@a'):
            with self.subTest(line):
                self.assertIsNotNone(verbs.complaint(line.split()))

    def test_busctl(self):
        known, lines = interfaces(), [(where, words) for where, words in called('busctl') if words]
        self.assertGreater(len(lines), 15)
        for where, words in lines:
            words = [word for word in words if not word.startswith('--')]
            with self.subTest(where):
                if words[0] == 'call' and words[3] in known:
                    self.assertIn(words[4], known[words[3]][0])
                    self.assertEqual((words[5:] or [''])[0], known[words[3]][0][words[4]])
                    self.assertEqual(take((words[5:] or [''])[0], words[6:]), [])
                elif words[0] in ('get-property', 'set-property'):
                    for name in words[4:]:
                        self.assertIn(name, known[words[3]][1])
                else:
                    self.assertIn(words[0], ('call', 'introspect', 'monitor', 'tree', 'status'))

    def test_units(self):
        units = {name for name in os.listdir(os.path.join(SOURCE, 'units')) if re.search(r'\.(service|socket|target)$', name)}
        n = 0
        for where, words in commands():
            if words[0] not in ('systemctl', 'journalctl'):
                continue
            for word in words[1:]:
                match = re.fullmatch(r'((?:image|blockstore[a-z-]*)(?:@?))([^@.]*)(\.\w+)?', word)
                if not match or words[0] == 'journalctl' and words[words.index(word) - 1] != '-u':
                    continue
                n += 1
                with self.subTest(where):
                    self.assertIn(match[1] + (match[3] or '.service'), units)
        self.assertGreater(n, 15)

    def test_programs_of_the_tree(self):
        for where, words in commands():
            if re.match(r'(tools|tests)/', words[0]) and not re.search(r'[A-Z*]', words[0]):
                with self.subTest(where):
                    self.assertTrue(os.path.exists(os.path.join(SOURCE, words[0])))

    def test_first_image(self):
        """What the README has a newcomer type is what the case of the virtual machine runs."""
        section = read(os.path.join(SOURCE, 'README.md')).split('## A first image')[1].split('To have it attached at each boot')[0]
        lines = re.findall(r'^    (?!/)(.+)$', section, re.M)
        self.assertGreater(len(lines), 10)
        case = re.sub(r'> +', '>', read(os.path.join(SOURCE, 'tests/vm/cases/first-image')).replace(' -q ', ' '))
        for line in lines:
            with self.subTest(line):
                self.assertIn(re.sub(r'> +', '>', line), case)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=1)
