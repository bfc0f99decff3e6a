#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tools/bench says of figures: an aim is judged for what it is stated for.

    test-bench.py
"""

import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../bench'))

import vm  # noqa: E402


class StartsTest(unittest.TestCase):
    def sentence(self, images, seconds, up):
        """What is said of a machine in which so many images came up within so long."""
        found = {('images', images): {'start_s': seconds, 'up': up}}
        with tempfile.TemporaryDirectory(prefix='bench-') as share, mock.patch.object(vm.starts, 'read', return_value=found), \
                mock.patch.object(vm.starts, 'show', return_value=''):
            return vm.attaching(share, images)[0]

    def test_the_number_it_is_for(self):
        self.assertIn('100 images at once (aim: 10 s, met):', self.sentence(100, 9.0, 100))
        self.assertIn('100 images at once (aim: 10 s, **behind**):', self.sentence(100, 10.1, 100))
        self.assertIn('100 images at once (aim: 10 s, **behind**):', self.sentence(100, 9.0, 99))

    def test_other_numbers(self):
        for images in (10, 99, 500):
            for seconds in (3.0, 300.0):
                text = self.sentence(images, seconds, images)
                self.assertIn(f'{images} images at once (no aim, that is for 100):', text)
                self.assertNotRegex(text, 'met|behind')


if __name__ == '__main__':
    unittest.main(verbosity=2)
