# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/unit/mock-blockstored.c as its tests talk with it: commands in, "ok" out, and between them a line of each call that it got."""

import subprocess

from lines import DEADLINE, Lines

# What only asks. ProbeProxies is among them: it changes nothing that anybody sees.
READS = ('GetAll', 'GetManagedObjects', 'GetImage', 'HeatMap', 'ListStoreImages', 'ListProxies', 'ProbeProxies')


class Mock:
    def __init__(self, program, environment):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
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
        """The next call that begins so; those before it are forgotten."""
        while True:
            line = self.calls.pop(0) if self.calls else self.lines.line()
            if line.startswith('call ' + beginning):
                return line[5:]

    def wait_change(self):
        """The next call that is no question."""
        while (line := self.wait_call('')).split()[0] in READS:
            pass
        return line

    def changes(self):
        """What was asked to be changed since the last question."""
        self.tell('fail none')
        calls = [c[5:] for c in self.calls if c.split()[1] not in READS]
        self.calls = []
        return calls

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(DEADLINE)
        self.process.stdout.close()
        assert code == 0, f'the mock ended with {code}'
