#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page of a whole system in a headless Chromium: see tests/web/run.

    live.py SHARE SCREENSHOTS

The system is the container that tests/web/cases/live runs in. It has a network of its own, so the browser meets its Unix socket SHARE/http by way of a port here. What else is to happen there is ordered by a line in
the pipe SHARE/orders, and answered by one in SHARE/answers.
"""

import ctypes
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback

from browser import Browser

SHARE, SCREENSHOTS = sys.argv[1:3]
BOOT_PATIENCE = 180
PATIENCE = 60
PROXY_A, PROXY_B = '127.0.0.1:11417', '127.0.0.1:11418'
CARD = 'article[data-image="web1"] '
KIB = 1024
IMAGE_SIZE, READ_SIZE, WRITTEN_AT = 64 * KIB * KIB, 16 * KIB * KIB, 32 * KIB * KIB
COLUMN = IMAGE_SIZE // 1024


def wait(what, condition, patience):
    deadline = time.monotonic() + patience
    while (value := condition()) is None:
        assert time.monotonic() < deadline, f'never came: {what}'
        time.sleep(0.1)
    return value


def open_pipe(name, mode):
    """Without a peer there is no waiting without an end."""
    def attempt():
        try:
            return os.open(os.path.join(SHARE, name), mode | os.O_NONBLOCK)
        except OSError:
            return None
    return wait(name, attempt, BOOT_PATIENCE)


class System:
    def __init__(self):
        self.orders = open_pipe('orders', os.O_WRONLY)
        self.answers = open_pipe('answers', os.O_RDONLY)
        self.rest = b''

    def do(self, order):
        os.write(self.orders, order.encode() + b'\n')
        while b'\n' not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], PATIENCE)
            data = os.read(self.answers, 4096) if ready else b''
            assert data, f'no answer to "{order}"'
            self.rest += data
        line, self.rest = self.rest.split(b'\n', 1)
        answer = line.decode()
        assert not answer.startswith('failed'), f'{order}: {answer}'
        return answer


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for s in (source, sink):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def forward():
    """A port whose connections end at the system's socket."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(64)

    def accept():
        while True:
            near = listener.accept()[0]
            far = socket.socket(socket.AF_UNIX)
            far.connect(os.path.join(SHARE, 'http'))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def look_at_proxies(browser, system):
    """With nothing attached: the configured ones, who were asked for us."""
    for address in (PROXY_A, PROXY_B):
        browser.wait_text(f'tr[data-proxy="{address}"]', 'reachable')


def attach(browser, system):
    browser.wait_text(CARD, 'inactive')
    browser.click(CARD + 'h3 button')
    browser.wait_text('#confirm', 'Attach web1?')
    browser.screenshot('live-attach', 1280, 900)
    # Not before it is confirmed.
    assert system.do('state') == 'inactive'
    browser.click('#confirm-yes')
    browser.wait_text(CARD, 'attached')
    assert system.do('state') == 'attached'
    browser.wait_text(CARD, PROXY_A)
    browser.wait_text(CARD, f'in reserve {PROXY_B}')
    browser.wait_text(f'tr[data-proxy="{PROXY_A}"]', 'active')
    browser.wait_text(f'tr[data-proxy="{PROXY_B}"]', 'standby')


def look_at_load(browser, system):
    """Reading in the first quarter, writing in one place of the middle: charts and heat map say so."""
    system.do(f'load {READ_SIZE} {WRITTEN_AT}')
    browser.wait('throughput', r'return /read \d+(\.\d)? [MG]iB\/s/.test(document.querySelector(arguments[0]).innerText)', CARD + 'figcaption')
    browser.wait('a chart', 'return document.querySelector(arguments[0]).getAttribute("points").split(" ").length >= 3', CARD + 'polyline.read')
    pixels = browser.wait('a heat map that knows all of the load', """
        const canvas = document.querySelector(arguments[0]);
        if (!canvas || canvas.offsetHeight === 0 || canvas.width !== 1024) return null;
        const context = canvas.getContext('2d'), row = y => [...context.getImageData(0, y * canvas.height / 4, 1024, 1).data].filter((_, i) => i % 4 === 3);
        const reads = row(1), writes = row(3);
        return reads.slice(0, arguments[1]).every(Boolean) && writes[arguments[2]] ? { reads, writes } : null""",
                          CARD + '.heat canvas', READ_SIZE // COLUMN, WRITTEN_AT // COLUMN)
    assert not any(pixels['reads'][READ_SIZE // COLUMN:]), 'the heat map shows reads where nothing is read'
    assert [x for x, alpha in enumerate(pixels['writes']) if alpha] == [WRITTEN_AT // COLUMN], pixels['writes']


def watch_failover(browser, system):
    # Of this page, not of one that was loaded anew.
    browser.run("""
        window.states = [];
        const pill = document.querySelector(arguments[0]);
        new MutationObserver(() => window.states.push(pill.textContent)).observe(pill, { childList: true, characterData: true, subtree: true });""", CARD + '.pill')
    system.do('kill a')
    browser.wait_text('#failovers', f'{PROXY_A} → {PROXY_B}')
    browser.wait_text(CARD, '1 failover')
    browser.wait_text(CARD, f'{PROXY_B}')
    browser.wait_text(CARD, 'attached')
    browser.wait_text(f'tr[data-proxy="{PROXY_B}"]', 'active')
    browser.wait_text('#live', 'live')
    browser.screenshot('live-failover', 1280, 900)
    states = browser.run('return window.states')
    assert states is not None, 'the page was loaded anew'
    print('states that the page went through:', ', '.join(states) or 'none but attached')
    # The load goes on, and never saw an error.
    points = browser.run('return document.querySelector(arguments[0]).getAttribute("points")', CARD + 'polyline.read')
    browser.wait('movement', 'return document.querySelector(arguments[0]).getAttribute("points") !== arguments[1]', CARD + 'polyline.read', points)
    for scheme in ('dark', 'light'):
        browser.emulate(scheme)
        browser.screenshot(f'live-phone-{scheme}', 500, 900)
        assert browser.run('return document.documentElement.scrollWidth <= innerWidth'), 'the page is wider than a phone'
    browser.emulate('dark')
    browser.screenshot('live-dark', 1280, 900)
    system.do('end-load')


def detach(browser, system):
    browser.click(CARD + 'h3 button')
    browser.wait_text('#confirm', 'Detach web1?')
    assert system.do('state') == 'attached'
    browser.click('#confirm-yes')
    browser.wait_text(CARD, 'inactive')
    assert system.do('state') == 'inactive'
    refused = [c for c in browser.complaints() if 'Content Security Policy' in c or 'Uncaught' in c]
    assert not refused, refused


def walk(system):
    with tempfile.TemporaryDirectory() as directory:
        browser = Browser(directory, SCREENSHOTS)
        try:
            browser.open(f'http://127.0.0.1:{forward()}/')
            browser.wait_text('#live', 'live')
            for step in (look_at_proxies, attach, look_at_load, watch_failover, detach):
                print(f'{step.__name__} ...', flush=True)
                step(browser, system)
        except BaseException:
            browser.screenshot('live-failed', 1280, 1200)
            raise
        finally:
            browser.close()


def main():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: not without the container
    system = System()
    try:
        walk(system)
    except BaseException as error:
        traceback.print_exc()
        system.do(f'give-up {" ".join(str(error).split())[:300]}')
        sys.exit(1)
    system.do('end')


main()
