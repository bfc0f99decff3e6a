#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tools/bench says of figures: an aim is judged for what it is stated for.

    test-bench.py
"""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../bench'))

import vm  # noqa: E402


class StartsTest(unittest.TestCase):
    def starts(self, images, milliseconds, active):
        """The sentence about a machine that has left such files."""
        with tempfile.TemporaryDirectory(prefix='bench-') as share:
            for name, value in (('attach-many', milliseconds), ('attached', active), ('detach-many', 1500), ('nothing-many', 700)):
                with open(os.path.join(share, name), 'w', encoding='ascii') as file:
                    file.write(f'{value}\n')
            return vm.starts(share, images)[0]

    def test_the_number_it_is_for(self):
        self.assertIn('100 images at once: 9.0 s, 100 active (aim: 10 s, met);', self.starts(100, 9000, 100))
        self.assertIn('100 images at once: 10.1 s, 100 active (aim: 10 s, **behind**);', self.starts(100, 10100, 100))
        self.assertIn('100 images at once: 9.0 s, 99 active (aim: 10 s, **behind**);', self.starts(100, 9000, 99))

    def test_other_numbers(self):
        for images in (10, 99, 500):
            text = self.starts(images, 3000, images)
            self.assertIn(f'{images} images at once: 3.0 s, {images} active (no aim, that is for 100);', text)
            self.assertNotIn('met', text)
            self.assertNotIn('behind', self.starts(images, 300000, images))


if __name__ == '__main__':
    unittest.main(verbosity=2)
