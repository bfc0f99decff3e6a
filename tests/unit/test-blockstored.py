#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The supervisor on a bus of its own, without systemd, polkit and kernel devices.

    test-blockstored.py BLOCKSTORED SOURCE-ROOT

What is checked is its face on the bus (introspection, objects, signals, names of errors) and that it bears a bus that comes, goes and comes back. Conditions are waited for with a deadline
that only a failure reaches. Needs dbus-daemon and busctl; exit status 77, skipped, without.
"""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as tree

BLOCKSTORED, SOURCE = sys.argv[1:3]
sys.path.insert(0, os.path.join(SOURCE, 'tests/lib'))

from private_bus import PrivateBus  # pylint: disable=wrong-import-position

DEADLINE = 30
SKIP = 77
MANAGER = ('/org/blockstore', 'org.blockstore.Manager')


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'not so after {DEADLINE} s: {what}')
        time.sleep(0.02)
    return result


class Rig(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='blockstored-')
        os.chmod(self.directory, 0o755)
        self.address = f'unix:path={self.directory}/bus'
        self.images = os.path.join(self.directory, 'etc', 'images.d')
        os.makedirs(self.images)
        self.environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=self.address, BLOCKSTORE_RUNTIME_DIRECTORY=self.directory,
                                BLOCKSTORE_CONFIG_DIRECTORY=os.path.join(self.directory, 'etc'),
                                BLOCKSTORE_SYSTEMD_SOCKET=os.path.join(self.directory, 'no-systemd'), LC_ALL='C.UTF-8')
        for name in ('LISTEN_FDS', 'LISTEN_PID', 'NOTIFY_SOCKET', 'JOURNAL_STREAM'):
            self.environment.pop(name, None)
        self.bus = self.supervisor = self.monitor = None
        self.log = open(os.path.join(self.directory, 'log'), 'w+', encoding='utf-8')

    def tearDown(self):
        if self.supervisor:
            self.stop_supervisor()
        if self.monitor:
            self.monitor.kill()
            self.monitor.wait()
        if self.bus:
            self.bus.stop()
        self.log.close()
        shutil.rmtree(self.directory)

    def start_bus(self):
        self.bus = PrivateBus(self.directory)

    def stop_bus(self):
        self.bus.stop()
        self.bus = None

    def start_supervisor(self):
        self.supervisor = subprocess.Popen([BLOCKSTORED], env=self.environment, stdin=subprocess.DEVNULL, stderr=self.log)

    def stop_supervisor(self):
        self.supervisor.send_signal(signal.SIGTERM)
        status = self.supervisor.wait(DEADLINE)
        self.supervisor = None
        self.log.seek(0)
        # A sanitizer's findings are in the status too.
        self.assertEqual(status, 0, self.log.read())

    def busctl(self, *arguments, user=None):
        command = ['busctl', f'--address={self.address}', '--json=short', '--', *arguments]
        if user is not None:
            command = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups', *command]
        done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
        return done.returncode, done.stdout, done.stderr.strip()

    def call(self, *arguments):
        status, out, error = self.busctl('call', 'org.blockstore', *arguments)
        self.assertEqual(status, 0, error)
        return json.loads(out)['data'] if out else None

    def is_named(self):
        status, out, _ = self.busctl('call', 'org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'NameHasOwner', 's', 'org.blockstore')
        return status == 0 and json.loads(out)['data'][0]

    def start(self):
        self.start_bus()
        self.start_supervisor()
        wait_for(self.is_named, 'org.blockstore has an owner')

    def start_monitor(self):
        self.monitor_log = os.path.join(self.directory, 'monitor')
        with open(self.monitor_log, 'w', encoding='utf-8') as f:
            self.monitor = subprocess.Popen(['busctl', f'--address={self.address}', '--json=short', 'monitor', 'org.blockstore'], stdout=f,
                                            stderr=subprocess.DEVNULL)

        def watches():
            self.call('/org/blockstore', 'org.freedesktop.DBus.Peer', 'Ping')
            return os.path.getsize(self.monitor_log) > 0
        wait_for(watches, 'the monitor sees something')

    def signals(self, member):
        found = []
        with open(self.monitor_log, encoding='utf-8') as f:
            for line in f:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # being written
                if message.get('member') == member:
                    found.append(message)
        return found

    def configure(self, name, text='{}'):
        # As an editor does it: beside, then renamed.
        path = os.path.join(self.images, name + '.json')
        with open(path + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(path + '.new', path)

    def property(self, path, name):
        status, out, error = self.busctl('get-property', 'org.blockstore', path, 'org.blockstore.Image', name)
        self.assertEqual(status, 0, error)
        return json.loads(out)['data']

    def error_name(self, *arguments, user=None):
        """Sends a call by hand, for busctl prints an error's message only: the monitor has its name."""
        before = len(self.errors())
        status, _, _ = self.busctl('call', 'org.blockstore', *arguments, user=user)
        self.assertNotEqual(status, 0)
        return wait_for(lambda: self.errors()[before:], 'the error is seen')[0]

    def errors(self):
        found = []
        with open(self.monitor_log, encoding='utf-8') as f:
            for line in f:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue
                # Not those that the bus itself answers the supervisor with.
                name = message.get('error_name', '')
                if message.get('type') == 'error' and name.startswith('org.blockstore.'):
                    found.append((name, message['payload']['data'][0]))
        return found


def members(root):
    found = {}
    for interface in root.iter('interface'):
        if not interface.get('name').startswith('org.blockstore.'):
            continue
        for member in interface:
            if member.tag not in ('method', 'signal', 'property'):
                continue
            arguments = [(a.get('name'), a.get('type'), a.get('direction', 'in')) for a in member.iter('arg')]
            emits = [a.get('value') for a in member.iter('annotation') if a.get('name').endswith('EmitsChangedSignal')]
            found[(interface.get('name'), member.tag, member.get('name'))] = (member.get('type'), member.get('access'), arguments,
                                                                              emits or ['true'] if member.tag == 'property' else None)
    return found


class Interfaces(Rig):
    def test_introspection_is_what_the_files_say(self):
        self.configure('vm1')
        self.start()
        documented, answered = {}, {}
        for path in glob.glob(os.path.join(SOURCE, 'dbus', 'org.blockstore.*.xml')):
            documented.update(members(tree.parse(path).getroot()))
        # With no worker there is nothing to be done; the job stays for a while.
        job = self.call('/org/blockstore', 'org.blockstore.Manager', 'Upgrade', 'a{sv}', '0')[0]
        self.assertEqual(job, '/org/blockstore/job/1')
        for path in ('/org/blockstore', '/org/blockstore/image/vm1', job):
            xml = self.call(path, 'org.freedesktop.DBus.Introspectable', 'Introspect')[0]
            answered.update(members(tree.fromstring(xml)))
        self.assertGreater(len(documented), 25)
        self.maxDiff = None
        self.assertEqual(answered, documented)

    def test_version(self):
        self.start()
        status, out, _ = self.busctl('get-property', 'org.blockstore', *MANAGER, 'Version')
        self.assertEqual(status, 0)
        self.assertRegex(json.loads(out)['data'], r'^\d+\.\d+')


class Objects(Rig):
    def managed(self):
        return sorted(self.call('/org/blockstore', 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')[0])

    def test_configured_images_come_change_and_go(self):
        self.configure('vm1', '{"image": "disk of vm1", "read-only": true}')
        self.start()
        self.start_monitor()
        self.assertEqual(self.managed(), ['/org/blockstore/image/vm1'])
        self.assertEqual(self.call(*MANAGER, 'ListImages')[0], [['vm1', 'inactive', '', True, '/org/blockstore/image/vm1']])
        self.assertEqual(self.property('/org/blockstore/image/vm1', 'ImageName'), 'disk of vm1')
        self.assertEqual(self.property('/org/blockstore/image/vm1', 'ReadOnly'), True)
        self.assertEqual(self.property('/org/blockstore/image/vm1', 'Unit'), 'image@vm1.service')

        self.configure('a.b-1')
        added = wait_for(lambda: self.signals('InterfacesAdded'), 'InterfacesAdded')
        path, interfaces = added[0]['payload']['data']
        self.assertEqual(path, '/org/blockstore/image/a_2eb_2d1')
        self.assertEqual(interfaces['org.blockstore.Image']['Name']['data'], 'a.b-1')
        self.assertEqual(self.call(*MANAGER, 'GetImage', 's', 'a.b-1'), [path])

        # Exactly what has changed.
        self.configure('vm1', '{"image": "another", "read-only": true}')
        changed = wait_for(lambda: [s for s in self.signals('PropertiesChanged') if s['path'].endswith('/vm1')], 'PropertiesChanged')
        self.assertEqual(changed[0]['payload']['data'], ['org.blockstore.Image', {'ImageName': {'type': 's', 'data': 'another'}}, []])

        self.configure('vm1', '{"colour": "red"}')
        wait_for(lambda: 'colour' in self.property('/org/blockstore/image/vm1', 'StateReason'), 'StateReason tells of the wrong file')

        os.unlink(os.path.join(self.images, 'vm1.json'))
        removed = wait_for(lambda: self.signals('InterfacesRemoved'), 'InterfacesRemoved')
        self.assertEqual(removed[0]['payload']['data'][0], '/org/blockstore/image/vm1')
        self.assertEqual(self.managed(), ['/org/blockstore/image/a_2eb_2d1'])

    def test_a_directory_that_comes_later(self):
        os.rmdir(self.images)
        self.start()
        self.assertEqual(self.managed(), [])
        os.mkdir(self.images)
        self.configure('late')
        wait_for(lambda: self.managed() == ['/org/blockstore/image/late'], 'the image is known')

    def test_a_directory_in_the_place_of_another(self):
        self.configure('vm1')
        self.start()
        os.rename(self.images, self.images + '.old')
        wait_for(lambda: self.managed() == [], 'the image is gone')
        os.mkdir(self.images)
        self.configure('vm2')
        wait_for(lambda: self.managed() == ['/org/blockstore/image/vm2'], 'the image is known')
        os.unlink(os.path.join(self.images, 'vm2.json'))
        wait_for(lambda: self.managed() == [], 'the image is gone')


class Errors(Rig):
    def setUp(self):
        super().setUp()
        self.start()
        self.start_monitor()

    def check(self, name, word, *arguments, user=None):
        error, message = self.error_name(*arguments, user=user)
        self.assertEqual(error, name, message)
        self.assertIn(word, message)

    def test_named(self):
        error = 'org.blockstore.Error.'
        for name in ('a/b', '..', '', '-x', 'x' * 65, 'new\nline'):
            for method in ('AttachImage', 'DetachImage'):
                self.check(error + 'InvalidArgument', 'valid', *MANAGER, method, 'sa{sv}', name, '0')
        for name in ('', 'a/b', '..', 'bell\a', 'x' * 256):
            self.check(error + 'InvalidArgument', 'valid', *MANAGER, 'CreateImage', 'sta{sv}', name, '512', '0')
        self.check(error + 'InvalidArgument', "not beginning with '.'", *MANAGER, 'CreateImage', 'sta{sv}', '.x', '512', '0')
        for method in ('CreateImage', 'PreallocateImage'):
            self.check(error + 'InvalidArgument', "'@' stands between an image and its snapshot", *MANAGER, method, 'sta{sv}', 'a@b', '512', '0')
        for size in (0, 511, 1 << 63):
            self.check(error + 'InvalidArgument', '512', *MANAGER, 'CreateImage', 'sta{sv}', 'new', str(size), '0')
        self.check(error + 'InvalidArgument', 'colour', *MANAGER, 'AttachImage', 'sa{sv}', 'vm1', '1', 'colour', 's', 'red')
        self.check(error + 'InvalidArgument', 'force', *MANAGER, 'DetachImage', 'sa{sv}', 'vm1', '1', 'force', 'b', 'true')
        self.check(error + 'NotAttached', 'vm1', *MANAGER, 'DetachImage', 'sa{sv}', 'vm1', '0')
        self.check(error + 'NoSuchImage', 'vm1', *MANAGER, 'GetImage', 's', 'vm1')
        for name in ('', 'vm1', '0a6f3c1e8f2b4f6e9a592f4c7d1b8e0'):
            self.check(error + 'InvalidArgument', 'id of a job', *MANAGER, 'FollowStoreJob', 's', name)

    @unittest.skipIf(os.geteuid() != 0, 'only root is let through without polkit')
    def test_without_systemd(self):
        self.check('org.blockstore.Error.SystemNotReady', 'systemd', *MANAGER, 'AttachImage', 'sa{sv}', 'vm1', '0')
        self.assertFalse(os.path.exists(f'{self.directory}/options/vm1.json'))
        self.check('org.blockstore.Error.SystemNotReady', 'store', *MANAGER, 'ListStoreImages')

    @unittest.skipIf(os.geteuid() != 0, 'needs to be somebody else')
    def test_without_polkit(self):
        for arguments in (('AttachImage', 'sa{sv}', 'vm1', '0'), ('CreateImage', 'sta{sv}', 'vm1', '512', '0'), ('RemoveImage', 'sa{sv}', 'vm1', '0')):
            self.check('org.blockstore.Error.AccessDenied', 'polkit', *MANAGER, *arguments, user=65534)
        self.assertEqual(self.busctl('call', 'org.blockstore', *MANAGER, 'ListImages', user=65534)[0], 0)


class Bus(Rig):
    def test_bus_that_comes_late_and_goes(self):
        self.configure('vm1')
        self.start_supervisor()
        # It is up for workers before there is a bus.
        wait_for(lambda: os.path.exists(f'{self.directory}/supervisor'), 'the socket is there')
        self.start_bus()
        wait_for(self.is_named, 'the name is taken when the bus comes')
        pid = self.supervisor.pid
        self.stop_bus()
        self.start_bus()
        wait_for(self.is_named, 'the name is taken again')
        self.assertEqual(self.supervisor.pid, pid)
        self.assertIsNone(self.supervisor.poll())
        self.assertEqual(self.call(*MANAGER, 'GetImage', 's', 'vm1'), ['/org/blockstore/image/vm1'])

    def test_a_process_that_is_no_worker(self):
        self.start()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE)
            s.connect(f'{self.directory}/supervisor')
            try:
                s.sendall(b'\0AUTH EXTERNAL\r\n')
                self.assertEqual(s.recv(100), b'')
            except (BrokenPipeError, ConnectionResetError):
                pass  # closed before, or with our words unread
        self.assertTrue(self.is_named())


if __name__ == '__main__':
    if not shutil.which('dbus-daemon') or not shutil.which('busctl'):
        print('dbus-daemon and busctl are needed')
        sys.exit(SKIP)
    unittest.main(argv=sys.argv[:1], verbosity=2)
