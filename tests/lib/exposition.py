#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict reader of what /metrics says, in the text format 0.0.4 or in OpenMetrics 1.0: what we use of them, and all else is an error. It follows the two specifications and the naming conventions of
Prometheus that `promtool check metrics` looks at; where promtool is installed, the test asks it, too.

    exposition.py [--openmetrics] < METRICS
"""

import re
import sys

NAME = re.compile('[a-zA-Z_:][a-zA-Z0-9_:]*$')
LABEL = re.compile('([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\\\n]|\\\\["\\\\n])*)"')
NUMBER = re.compile(r'-?[0-9]+(\.[0-9]+)?$')
UNITS = ('seconds', 'bytes', 'ratio')
NOT_BASE_UNITS = re.compile('_(usec|msec|milliseconds|microseconds|minutes|kilobytes|kib|mib|percent)(_|$)')


class Family:
    def __init__(self, name):
        self.name, self.type, self.help, self.unit, self.samples = name, None, None, None, {}


def parse_labels(text, line):
    labels, rest = [], text
    while rest:
        match = LABEL.match(rest)
        assert match, f'bad labels: {line}'
        labels.append((match[1], match[2].replace('\\"', '"').replace('\\n', '\n').replace('\\\\', '\\')))
        rest = rest[match.end():]
        if rest:
            assert rest[0] == ',' and len(rest) > 1, f'bad labels: {line}'
            rest = rest[1:]
    names = [name for name, _ in labels]
    assert len(set(names)) == len(names), f'a label twice: {line}'
    return tuple(labels)


def sample_names(family, openmetrics):
    if family.type == 'histogram':
        return tuple(family.name + suffix for suffix in ('_bucket', '_sum', '_count'))
    return (sample_name(family, openmetrics),)


def sample_name(family, openmetrics):
    if openmetrics and family.type == 'counter':
        return family.name + '_total'
    if openmetrics and family.type == 'info':
        return family.name + '_info'
    return family.name


def parse_comment(line, families, current, openmetrics):
    word, name, value = (line[2:].split(' ', 2) + ['', ''])[:3]
    assert word in (('HELP', 'TYPE', 'UNIT') if openmetrics else ('HELP', 'TYPE')), f'unknown comment: {line}'
    assert NAME.match(name) and value, f'bad comment: {line}'
    if current is None or current.name != name:
        assert name not in families, f'the family {name} is in two places'
        current = families[name] = Family(name)
    assert not current.samples, f'a comment behind samples: {line}'
    key = word.lower()
    assert getattr(current, key) is None, f'twice: {line}'
    setattr(current, key, value)
    return current


def check_histogram(family):
    """Samples are (part, labels): cumulative buckets whose bounds grow to +Inf, one sum, and a count that the last bucket agrees with."""
    buckets = {}
    for (part, labels), value in family.samples.items():
        if part == '_bucket':
            assert labels and labels[-1][0] == 'le', f'{family.name}: a bucket without le as its last label'
            bound = labels[-1][1]
            assert bound == '+Inf' or NUMBER.match(bound), f'{family.name}: le {bound}'
            buckets.setdefault(labels[:-1], []).append((float(bound), int(value)))
    for labels, values in buckets.items():
        assert [b for b, _ in values] == sorted({b for b, _ in values}), f'{family.name}: bounds do not grow: {labels}'
        assert [n for _, n in values] == sorted(n for _, n in values), f'{family.name}: not cumulative: {labels}'
        assert values[-1][0] == float('inf'), f'{family.name}: no +Inf: {labels}'
        assert family.samples[('_count', labels)] == str(values[-1][1]), f'{family.name}: count: {labels}'
        assert ('_sum', labels) in family.samples, f'{family.name}: no sum: {labels}'
    assert len(family.samples) == sum(len(v) + 2 for v in buckets.values()), f'{family.name}: sums or counts without buckets'


def check_family(family, openmetrics):
    name = family.name
    types = ('counter', 'gauge', 'histogram', 'info', 'stateset') if openmetrics else ('counter', 'gauge', 'histogram')
    assert family.type in types, f'{name}: type {family.type}'
    assert family.help, f'{name}: no HELP'
    assert family.help.endswith('.'), f'{name}: HELP is no sentence'
    assert NOT_BASE_UNITS.search(name) is None, f'{name}: not a base unit'
    if openmetrics:
        assert not name.endswith(('_total', '_info')), f'{name}: a suffix in the name of a family'
        assert family.unit is None or name.endswith('_' + family.unit), f'{name}: unit {family.unit}'
        assert not name.endswith(tuple('_' + u for u in UNITS)) or family.unit, f'{name}: no UNIT'
    else:
        assert (family.type == 'counter') == name.endswith('_total'), f'{name}: _total is for counters'
    if family.type == 'histogram':
        check_histogram(family)
    if family.type == 'stateset':
        for labels, value in family.samples.items():
            assert dict(labels)[name] and value in '01', f'{name}: no stateset: {labels}'


def parse(text, openmetrics=False):
    """The families by name. Raises AssertionError for whatever is wrong."""
    families, current = {}, None
    assert text.endswith('\n'), 'the last line has no end'
    lines = text[:-1].split('\n')
    if openmetrics:
        assert lines.pop() == '# EOF', 'no EOF'
    for line in lines:
        if line.startswith('# '):
            current = parse_comment(line, families, current, openmetrics)
            continue
        match = re.match(r'([^{ ]+)(?:\{(.*)\})? ([^ ]+)$', line)
        assert match, f'bad line: {line!r}'
        assert current and match[1] in sample_names(current, openmetrics), f'not of the family {current and current.name}: {line}'
        assert NUMBER.match(match[3]), f'bad number: {line}'
        labels = parse_labels(match[2] or '', line)
        key = (match[1][len(current.name):], labels) if current.type == 'histogram' else labels
        assert key not in current.samples, f'twice: {line}'
        current.samples[key] = match[3]
    for family in families.values():
        check_family(family, openmetrics)
    return families


if __name__ == '__main__':
    found = parse(sys.stdin.read(), '--openmetrics' in sys.argv)
    print(f'{len(found)} families, {sum(len(f.samples) for f in found.values())} samples')
