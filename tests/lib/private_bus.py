# SPDX-License-Identifier: LGPL-2.1-or-later
"""A message bus of a test's own, on which everybody may do everything: what polkit and the policy say is tested in the container."""

import os
import subprocess

CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>{address}</listen><policy context="default"><allow user="*"/>
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>'''


class PrivateBus:
    def __init__(self, directory):
        self.path = os.path.join(directory, 'bus')
        self.address = f'unix:path={self.path}'
        config = os.path.join(directory, 'bus.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(CONFIG.format(address=self.address))
        self.process = subprocess.Popen(['dbus-daemon', f'--config-file={config}', '--nofork', '--print-address=1'],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        # The address is printed when it can be connected to.
        with self.process.stdout as out:
            if not out.readline():
                raise RuntimeError('dbus-daemon does not start')

    def stop(self):
        self.process.terminate()
        self.process.wait()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def environment(self, **more):
        """For a program that talks over this bus, and knows nothing else of the machine."""
        sanitizers = {name: os.environ[name] for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS') if name in os.environ}
        return {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8', 'DBUS_SYSTEM_BUS_ADDRESS': self.address, **sanitizers, **more}
