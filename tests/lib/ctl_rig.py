# SPDX-License-Identifier: LGPL-2.1-or-later
"""blockstorectl as its unit tests call it. They are given the program, and the mock of the daemon when they need one, as their arguments.

A test module that takes setUpModule() and tearDownModule() from here has a bus of its own, and BusTest puts a mock on it for each test. One that does not has a bus's address where nobody is.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from lines import DEADLINE, Lines
from mock_blockstored import Mock
from private_bus import PrivateBus

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
SKIP = 77

state = {'environment': {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8', 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent/bus'}}


def setUpModule():
    state['directory'] = tempfile.mkdtemp(prefix='blockstorectl-')
    state['bus'] = PrivateBus(directory())
    os.mkdir(os.path.join(directory(), 'etc'))
    state['environment'] = state['bus'].environment(TERM='xterm', BLOCKSTORE_CONFIG_DIRECTORY=os.path.join(directory(), 'etc'))


def tearDownModule():
    state['bus'].stop()
    shutil.rmtree(directory())


def directory():
    """Of the whole module, with the bus in it."""
    return state['directory']


def environment(**changes):
    return {**state['environment'], **changes}


def start(*arguments, env=None, **more):
    return subprocess.Popen([sys.argv[1], *arguments], env=env or environment(), **more)


def run(*arguments, env=None, text=''):
    return subprocess.run([sys.argv[1], *arguments], env=env or environment(), input=text, capture_output=True,
                          encoding='utf-8', timeout=DEADLINE, check=False)


class Terminal:
    """The program with a terminal as its stdin, stdout and stderr."""

    def __init__(self, *arguments, env=None):
        ours, theirs = pty.openpty()
        self.fd = ours
        self.lines = Lines(ours)
        self.process = start(*arguments, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
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


class BusTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.mock = Mock(sys.argv[2], environment())
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


def main(bus=True):
    if bus and not shutil.which('dbus-daemon'):
        print('dbus-daemon is not installed: the command line cannot be tried against a bus')
        sys.exit(SKIP)
    unittest.main(argv=sys.argv[:1] + sys.argv[3 if bus else 2:], verbosity=2)
