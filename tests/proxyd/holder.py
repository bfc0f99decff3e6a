#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that holds an image as a proxy would, and behaves as it is told: holder.py STORE IMAGE BEHAVIOUR [ARGUMENT]. Written from the description in daemons/proxyd/hand-over-message.h and not
with its code. Prints "holding" when it does, and a line for whatever is asked of it; a line on its standard input ends what it waits for.

  slow       acknowledges every ask, and lets go when told
  busy       the same, when it has computed for a third of a second
  spins      computes for ever when it is asked
  deaf       listens and never answers
  freeze     acknowledges the first ask, and nothing after it
  dies       ends when it is asked
  hangs-up   closes the connection of every ask, keeps the image until told, and acknowledges the first ask so as not to be taken for frozen
  mute       has no socket; the holder file says what ARGUMENT says: "PID START"
  lock       has the lock of the image's directory, not of its data; does not answer
  lock-slow  the same, and answers
  lock-busy  the same, when it has computed for a third of a second
"""

import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

MAGIC, VERSION, ASK, ACKNOWLEDGED, RELEASED = 0x31564F48, 1, 1, 2, 3
F_OFD_SETLK = 37

store, image, behaviour = sys.argv[1:4]
directory = os.path.join(store, "images", image)


def start_time(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rsplit(")", 1)[1].split()[19])


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip().replace("-", "")


def say(text):
    print(text, flush=True)


def told():
    """Whether there is a line, or the end, on standard input."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def lock_data():
    data = os.open(os.path.join(directory, "data"), os.O_RDWR)
    while True:
        try:
            fcntl.fcntl(data, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            return data
        except BlockingIOError:
            time.sleep(0.005)  # the proxy that had it has not noticed yet that its client is gone


def unlock_data(data):
    fcntl.fcntl(data, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0))


def write_holder(pid, start, name):
    text = json.dumps({"pid": pid, "start-time": start, "boot-id": boot_id(), "socket": name})
    with open(os.path.join(directory, "holder"), "r+", encoding="ascii") as file:
        file.write(text.ljust(4096))


def listen(name):
    path = os.path.join(store, "proxies", name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # a path may be too long for an address
    listener.bind(name)
    os.chdir(here)
    listener.listen(16)
    return listener


def answer(connection, kind, uuid):
    try:
        connection.send(struct.pack("=IIII", MAGIC, VERSION, kind, 0) + uuid)
    except (BrokenPipeError, ConnectionResetError):
        pass  # gone meanwhile


def compute(seconds):
    """Of the processor's time, not the clock's."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def serve(listener, data):
    """Until the image is let go of."""
    waiting, acknowledged = {}, 0
    while True:
        ready = select.select([listener, *waiting], [], [], 0.02)[0]
        for one in ready:
            if one is listener:
                waiting[listener.accept()[0]] = None
                continue
            try:
                packet = one.recv(64)
            except ConnectionResetError:
                packet = b""
            if not packet:
                del waiting[one]
                continue
            magic, version, kind, why = struct.unpack("=IIII", packet[:16])
            assert (magic, version, kind) == (MAGIC, VERSION, ASK) and len(packet) == 32, packet
            waiting[one] = packet[16:]
            say(f"asked {why}")
            if behaviour == "dies":
                os._exit(0)
            if behaviour.endswith("busy") and not acknowledged:
                compute(0.33)
            if behaviour == "spins":
                compute(float("inf"))
            if behaviour == "freeze" and acknowledged:
                continue
            if behaviour == "hangs-up" and acknowledged:
                del waiting[one]
                one.close()
                continue
            answer(one, ACKNOWLEDGED, waiting[one])
            acknowledged += 1
            if behaviour in ("lock-slow", "lock-busy"):
                answer(one, RELEASED, waiting[one])
        if behaviour != "freeze" and told():
            sys.stdin.readline()
            if data is not None:
                unlock_data(data)
            for one, uuid in waiting.items():
                if uuid and behaviour in ("slow", "busy"):
                    answer(one, RELEASED, uuid)
            return


def main():
    uid = int(os.environ.get("HOLDER_UID", "0"))
    if uid:
        start_time(os.getpid())  # what the interpreter loads for that may be out of another user's sight
        os.setuid(uid)
    name = f"test-{os.getpid()}.sock"
    data = None
    try:
        os.nice(-20)  # on a busy machine an interpreter could be taken for frozen
    except PermissionError:
        pass
    if behaviour.startswith("lock"):
        locked = os.open(directory, os.O_RDONLY)
        fcntl.flock(locked, fcntl.LOCK_EX)
    else:
        data = lock_data()
    if behaviour == "mute":
        pid, start = sys.argv[4].split()
        write_holder(int(pid), int(start), name)
    else:
        listener = listen(name)
        write_holder(os.getpid(), start_time(os.getpid()), name)
    say("holding")
    if behaviour in ("deaf", "lock", "mute"):
        sys.stdin.readline()
    else:
        serve(listener, data)
        say("let go")
    if behaviour != "mute":
        os.unlink(os.path.join(store, "proxies", name))
    # A proxy goes on; who asks must not be helped by its end.
    if behaviour in ("slow", "busy"):
        sys.stdin.readline()


main()
