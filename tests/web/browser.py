# SPDX-License-Identifier: LGPL-2.1-or-later
"""A headless Chromium by way of chromedriver, and its patience: nothing here sleeps for a time, everything waits for what the page shows."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time

ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'  # W3C WebDriver, "Elements"
PATIENCE = 60


class Browser:
    """As much of WebDriver as is needed here, over plain HTTP."""

    def __init__(self, directory, screenshots):
        # Who is told to end has a browser to end first.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.screenshots = screenshots
        self.driver = subprocess.Popen(['chromedriver', '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
                                       env={**os.environ, 'HOME': directory, 'TMPDIR': directory})
        for line in self.driver.stdout:
            if b'started successfully on port' in line:
                self.port = int(line.split(b'port ')[1].strip(b'. \n'))
                break
        self.session = ''
        try:
            self.begin(directory)
        except BaseException:
            self.end_driver()
            raise

    def begin(self, directory):
        arguments = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--no-first-run',
                     '--window-size=1280,1000', f'--user-data-dir={directory}/profile']
        value = self.call('POST', '/session', {'capabilities': {'alwaysMatch': {
            'goog:chromeOptions': {'args': arguments}, 'goog:loggingPrefs': {'browser': 'ALL'}}}})
        self.session = '/session/' + value['sessionId']

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        connection.request(method, self.session + path, json.dumps(body if body is not None else {}) if method == 'POST' else None, {'Content-Type': 'application/json'})
        answer = json.loads(connection.getresponse().read())['value']
        connection.close()
        if isinstance(answer, dict) and 'error' in answer and 'stacktrace' in answer:
            raise AssertionError(f'{method} {path}: {answer["error"]}: {answer["message"]}')
        return answer

    def open(self, url):
        self.call('POST', '/url', {'url': url})

    def run(self, script, *arguments):
        return self.call('POST', '/execute/sync', {'script': script, 'args': list(arguments)})

    def click(self, selector):
        element = self.call('POST', '/element', {'using': 'css selector', 'value': selector})
        self.call('POST', f'/element/{element[ELEMENT]}/click')

    def text(self, selector):
        return self.run('return document.querySelector(arguments[0])?.innerText ?? null', selector)

    def wait(self, what, script, *arguments):
        deadline = time.monotonic() + PATIENCE
        while not (value := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f'never came: {what}; the page says: {self.text("body")}'
            time.sleep(0.1)
        return value

    def wait_text(self, selector, words):
        self.wait(f'{words!r} in {selector}', 'return (document.querySelector(arguments[0])?.innerText ?? "").includes(arguments[1])', selector, words)

    def screenshot(self, name, width, height):
        self.call('POST', '/window/rect', {'width': width, 'height': height})
        self.wait('the new size', 'return innerWidth <= arguments[0]', width)
        with open(os.path.join(self.screenshots, name + '.png'), 'wb') as f:
            f.write(base64.b64decode(self.call('GET', '/screenshot')))

    def emulate(self, scheme):
        self.call('POST', '/goog/cdp/execute', {'cmd': 'Emulation.setEmulatedMedia', 'params': {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]}})

    def complaints(self):
        return [entry['message'] for entry in self.call('POST', '/se/log', {'type': 'browser'}) if entry['level'] in ('SEVERE', 'WARNING')]

    def close(self):
        try:
            self.call('DELETE', '')
        finally:
            self.end_driver()

    def end_driver(self):
        os.killpg(self.driver.pid, signal.SIGTERM)
        self.driver.wait()
        self.driver.stdout.close()
