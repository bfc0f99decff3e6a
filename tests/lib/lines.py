# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lines of a pipe or a terminal, waited for with a deadline that only a failure reaches."""

import os
import select

DEADLINE = 30  # seconds


class Lines:
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
        return self.until(b'\n')[:-1].decode()

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
