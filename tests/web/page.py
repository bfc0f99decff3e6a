#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page in a headless Chromium: see tests/web/run.

    page.py BLOCKSTORE-HTTPD MOCK-BLOCKSTORED SCREENSHOTS
"""

import os
import signal
import sys
import tempfile
import time

from browser import PATIENCE, Browser

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../lib'))

import httpd_rig  # noqa: E402

SCREENSHOTS = sys.argv[3]


def load(mock, name, state, seconds):
    """Some seconds of reading, with a latency that comes and goes."""
    for _ in range(seconds):
        state['n'] += 1
        wave = 1 + (state['n'] * 7 % 11)
        state['bytes'] += wave * 9_000_000
        mock.tell(f'set {name} ReadBytes {state["bytes"]}', f'set {name} ReadOperations {state["bytes"] // 65536}', f'set {name} LatencyUSec {300 + wave * 60}')
        time.sleep(1)


def walk(browser, mock, httpd):
    card = 'article[data-image="vm1"] '
    browser.open(f'http://127.0.0.1:{httpd.port}/')
    browser.wait_text('#live', 'live')
    browser.wait_text(card, 'inactive')
    # A name with a quote and a bracket is a name.
    assert browser.run('return document.querySelectorAll("#images b, #images img").length') == 0
    browser.wait_text('#images', '<img')

    # Attach, after a question; first it is taken back.
    browser.click(card + 'h3 button')
    browser.wait_text('#confirm', 'Attach vm1?')
    browser.click('#confirm button[value=no]')
    browser.wait('the end of the question', 'return !document.querySelector("#confirm").open')
    browser.click(card + 'h3 button')
    browser.wait_text('#confirm', 'Attach vm1?')
    browser.click('#confirm-yes')
    assert mock.wait_change() == 'AttachImage vm1'
    browser.wait_text(card, 'attached')
    browser.wait_text(card, '/dev/nbd0')
    mock.tell('set vm1 ActiveProxy 127.0.0.1:11417', 'set vm1 StandbyProxy 127.0.0.1:11418', 'set vm1 Sessions 4')
    browser.wait_text(card, 'in reserve 127.0.0.1:11418')

    # The charts move.
    numbers = {'n': 0, 'bytes': 0}
    load(mock, 'vm1', numbers, 8)
    browser.wait('points of a chart', 'return document.querySelector(arguments[0]).getAttribute("points").split(" ").length >= 4', card + 'polyline.read')
    browser.wait_text(card, 'latency')
    before = browser.run('return document.querySelector(arguments[0]).getAttribute("points")', card + 'polyline.read')
    load(mock, 'vm1', numbers, 2)
    browser.wait('movement', 'return document.querySelector(arguments[0]).getAttribute("points") !== arguments[1]', card + 'polyline.read', before)

    # The heat map: read in the first quarter, written in one place.
    pixels = browser.wait('the heat map', """
        const canvas = document.querySelector(arguments[0]);
        if (!canvas || canvas.offsetHeight === 0) return null;
        const alpha = (x, y) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3];
        const reads = canvas.height / 4, writes = 3 * reads;
        return [canvas.width, alpha(0, reads), alpha(255, reads), alpha(256, reads), alpha(512, writes), alpha(511, writes), alpha(512, reads)]""", card + '.heat canvas')
    assert pixels[0] == 1024 and pixels[1] == pixels[2] > 200 and pixels[3] == 0 and pixels[4] > 50 and pixels[5] == 0 and pixels[6] == 0, pixels

    # A failover, as it happens.
    mock.tell('set vm1 State reconnecting', 'set vm1 StateReason 127.0.0.1:11417 has closed the connection.', 'set vm1 ActiveProxy ')
    browser.wait_text(card, 'reconnecting')
    browser.wait_text('#summary', '1 reconnecting')
    browser.emulate('light')
    browser.screenshot('reconnecting-light', 1280, 900)
    mock.tell('set vm1 Failovers 1', 'set vm1 ActiveProxy 127.0.0.1:11418', 'set vm1 StandbyProxy ', 'set vm1 StateReason ', 'set vm1 State attached')
    browser.wait_text('#failovers', '127.0.0.1:11417 → 127.0.0.1:11418')
    browser.wait_text(card, '1 failover')
    load(mock, 'vm1', numbers, 6)
    browser.emulate('dark')
    browser.screenshot('page-dark', 1280, 900)
    assert browser.run('return document.documentElement.scrollWidth <= innerWidth')
    browser.screenshot('phone-dark', 500, 900)
    assert browser.run('return document.documentElement.scrollWidth <= innerWidth'), 'the page is wider than a phone'
    browser.emulate('light')
    browser.screenshot('page-light', 1280, 900)

    # What the supervisor refuses is said, and nothing else happens.
    mock.tell('fail DetachImage org.blockstore.Error.Busy /dev/nbd0 is mounted on /srv.')
    browser.click(card + 'h3 button')
    browser.wait_text('#confirm', 'Detach vm1?')
    browser.screenshot('detach-light', 1280, 900)
    browser.click('#confirm-yes')
    browser.wait_text('#notice', '/dev/nbd0 is mounted on /srv.')
    mock.tell('fail none')
    browser.click(card + 'h3 button')
    browser.click('#confirm-yes')
    browser.wait_text(card, 'inactive')
    mock.tell('drop vm1')
    browser.wait('the end of the card', 'return !document.querySelector(arguments[0])', card)

    # The service goes and comes: the page comes back by itself.
    httpd.process.send_signal(signal.SIGTERM)
    httpd.process.wait(PATIENCE)
    browser.wait_text('#live', 'connecting')
    httpd.process.stderr.close()
    httpd.start()
    browser.wait_text('#live', 'live')

    refused = [c for c in browser.complaints() if 'Content Security Policy' in c or 'Uncaught' in c]
    assert not refused, refused


def main():
    httpd_rig.setUpModule()
    mock = httpd_rig.start_mock()
    mock.tell('proxy 127.0.0.1:11417 100 active 350 configured', 'proxy 127.0.0.1:11418 100 standby 410 announced', 'store vm1 1073741824 4096 c0ffee00-0000-4000-8000-000000000001 0',
            'add vm1', 'set vm1 Configured 1', 'add db', 'set db Size 53687091200', 'set db State parked', 'set db StateReason No proxy can be reached.', 'add <img/src=x>')
    httpd = httpd_rig.Httpd({'control': True}, False)
    with tempfile.TemporaryDirectory() as directory:
        browser = Browser(directory, SCREENSHOTS)
        try:
            walk(browser, mock, httpd)
        finally:
            browser.close()
    status, errors = httpd.close()
    assert status == 0, errors
    mock.close()
    httpd_rig.tearDownModule()


main()
