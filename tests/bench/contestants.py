# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who takes part: our pair and its peers, all over the same file, all reached by a Unix socket, all running all the time.

Those of two hops have TCP over the loopback between them, as ours have. Peers run with their own defaults, but for what would hold them back here: qemu-nbd's lock on the
file (it is shared by all) and its thread pool (io_uring is faster). nbd-server has no client to make a second hop of.
"""

import os
import socket
import subprocess

from child import Child, wait_for
from pair import Pair

IMAGE = "bench"
PATIENCE = 10  # seconds until a server takes a connection


class Contestant:
    def __init__(self, name, title, hops, uri, processes):
        self.name, self.title, self.hops, self.uri = name, title, hops, uri
        self.processes = processes  # what each does, and the Child


def answers(family, address):
    with socket.socket(family) as s:
        return s.connect_ex(address) == 0


def on_unix(child, path):
    wait_for(lambda: child.wait(0) is not None or answers(socket.AF_UNIX, path), PATIENCE, f"{child.name} listens")
    if child.returncode is not None:
        child.fail(f"ended with {child.returncode}")
    return child


def on_port(child, port):
    wait_for(lambda: child.wait(0) is not None or answers(socket.AF_INET, ("127.0.0.1", port)), PATIENCE, f"{child.name} listens")
    if child.returncode is not None:
        child.fail(f"ended with {child.returncode}")
    return child


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ours(build, directory, size, settings):
    os.mkdir(os.path.join(directory, "pair"))
    pair = Pair(build, os.path.join(directory, "pair"), settings)
    pair.create([IMAGE], size)
    worker = pair.start(IMAGE)
    worker.wait_ready(30)
    return pair, Contestant("blockstore", "blockstore", 2, pair.uri(IMAGE), {"worker": worker, "proxy": pair.proxy})


def nbdkit(directory, data):
    def server(name, *arguments):
        return Child(name, ["nbdkit", "--foreground", "--exit-with-parent", "--pidfile", f"{directory}/{name}.pid", *arguments], directory)

    one, two, port = f"{directory}/nbdkit-one.sock", f"{directory}/nbdkit-two.sock", free_port()
    yield Contestant("nbdkit-1", "nbdkit file", 1, f"nbd+unix:///?socket={one}", {
        "file": on_unix(server("nbdkit-one", "--unix", one, "file", data), one)})  # fmt: skip
    back = on_port(server("nbdkit-back", "--port", str(port), "--ipaddr", "127.0.0.1", "file", data), port)
    yield Contestant("nbdkit-2", "nbdkit nbd, nbdkit file", 2, f"nbd+unix:///?socket={two}", {
        "nbd": on_unix(server("nbdkit-front", "--unix", two, "nbd", f"uri=nbd://127.0.0.1:{port}"), two), "file": back})  # fmt: skip


def qemu_nbd(directory, data):
    def server(name, *arguments):
        return Child(name, ["qemu-nbd", "--persistent", "--shared=0", "--export-name=", *arguments], directory)

    file = f"driver=raw,file.driver=file,file.filename={data},file.locking=off,file.aio=io_uring"
    one, two, port = f"{directory}/qemu-one.sock", f"{directory}/qemu-two.sock", free_port()
    yield Contestant("qemu-nbd-1", "qemu-nbd", 1, f"nbd+unix:///?socket={one}", {
        "file": on_unix(server("qemu-one", f"--socket={one}", "--image-opts", file), one)})  # fmt: skip
    back = on_port(server("qemu-back", f"--port={port}", "--bind=127.0.0.1", "--image-opts", file), port)
    yield Contestant("qemu-nbd-2", "qemu-nbd twice", 2, f"nbd+unix:///?socket={two}", {
        "nbd": on_unix(server("qemu-front", f"--socket={two}", "--format=raw", f"nbd://127.0.0.1:{port}/"), two), "file": back})  # fmt: skip


def nbd_server(directory, data):
    path, configuration = f"{directory}/nbd-server.sock", f"{directory}/nbd-server.conf"
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(f"[generic]\nunixsock = {path}\nallowlist = true\n[{IMAGE}]\nexportname = {data}\n")
    # In the foreground it would serve one client and end.
    pid_file = f"{directory}/nbd-server.pid"
    launcher = Child("nbd-server", ["nbd-server", "-C", configuration, "-p", pid_file], directory)
    # It has left the launcher's group by then, all of which ends with the launcher.
    wait_for(lambda: os.path.exists(pid_file) and os.path.getsize(pid_file) > 0, PATIENCE, "nbd-server writes its process id")
    if launcher.wait(PATIENCE) != 0:
        launcher.fail("does not start")
    with open(pid_file, encoding="ascii") as file:
        child = Child.adopt(launcher, int(file.read()))
    yield Contestant("nbd-server", "nbd-server", 1, f"nbd+unix:///{IMAGE}?socket={path}", {"file": on_unix(child, path)})


def start_all(build, directory, size, settings):
    """Ours first, whose image is the file of all; it is filled, so that no read is of a hole."""
    pair, first = ours(build, directory, size, settings)
    block = os.urandom(1 << 20)
    with open(pair.data(IMAGE), "r+b", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(block)
    found = [first]
    for peers in (nbdkit, qemu_nbd, nbd_server):
        found += peers(directory, pair.data(IMAGE))
    return found


def versions():
    """What was measured against: the first line of what each program says of itself."""
    said = {}
    for program, argument in (("fio", "--version"), ("nbdkit", "--version"), ("qemu-nbd", "--version"), ("nbd-server", "-V"), ("uname", "-sr")):
        lines = subprocess.run([program, argument], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False).stdout.splitlines()
        said[program] = lines[0].strip() if lines else "?"
    return said
