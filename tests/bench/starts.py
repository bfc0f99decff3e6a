# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench starts`: images started by systemd as a host does it, all at once, natively in a container with a systemd of its own, but without kernel devices. Beside them as many services that
run `true`, with a worker's sandbox and without: what is left to the image is the difference. (`tools/bench scale` starts workers by themselves, `tools/bench vm` images with devices.)"""

import os
import shutil
import subprocess
import time

from child import Child, Failed
from table import table

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NUMBERS = (1, 10, 50, 100)
LIMIT = 1200  # seconds
KINDS = ("images", "sandboxed", "bare")


def stage(build, home):
    """A root with us in it, and the folder that is shared with it."""
    os.makedirs(os.path.join(home, "share"))
    if subprocess.run([os.path.join(TOP, "tests/lib/stage"), build, home], timeout=300, check=False).returncode != 0:
        raise Failed("no root with a systemd of its own could be made")
    shutil.copy2(os.path.join(TOP, "tests/bench/starts.sh"), os.path.join(home, "share"))


def read(share):
    """By kind and number: how many were up, seconds until all were, and until all were down."""
    found = {}
    try:
        with open(os.path.join(share, "starts"), encoding="ascii") as file:
            for line in file:
                kind, *figures = line.split()
                number, up, start, stop = map(int, figures)
                found[kind, number] = {"kind": kind, "number": number, "up": up, "start_s": start / 1e3, "stop_s": stop / 1e3}
    except OSError:
        pass
    return found


def show(found):
    rows = []
    for number in sorted({number for _, number in found}):
        one = [found.get((kind, number)) for kind in KINDS]
        rows.append([str(number)] + ["–" if row is None else f"{row['start_s']:.2f}" + ("" if row["up"] == number else f" ({row['up']} are up)") for row in one]
                    + ["–" if row is None else f"{row['stop_s']:.2f}" for row in one])  # fmt: skip
    head = ["at once", "images up, s", "`true` in a worker's sandbox", "`true`", "images down, s", "`true` in a worker's sandbox", "`true`"]
    return table(head, rows)


def what_failed(share, machine):
    """None, or the end of what the guest has said."""
    try:
        with open(os.path.join(share, "status"), encoding="ascii") as file:
            if file.read().split() == ["0"]:
                return None
    except OSError:
        pass
    for path in (os.path.join(share, "log"), machine.log):
        if os.path.exists(path) and os.path.getsize(path) > 0:
            with open(path, encoding="utf-8", errors="replace") as file:
                return f"what runs under the other systemd has failed:\n{file.read()[-3000:]}"
    return "what runs under the other systemd has said nothing"


def run(options, directory, say):
    numbers = [int(n) for n in options.images.split(",")] if options.images else list(NUMBERS)
    home = os.path.join(directory, "starts")
    share = os.path.join(home, "share")
    stage(options.build, home)
    shutil.copy2(os.path.join(TOP, "tests/bench/container-guest"), os.path.join(share, "job"))
    with open(os.path.join(share, "settings"), "w", encoding="ascii") as file:
        file.write(f"numbers='{' '.join(map(str, sorted(numbers)))}'\n")
    # The container covers /run, where we are; mounts are our own (enclosure.py).
    subprocess.run(["mount", "--rbind", home, "/mnt"], timeout=30, check=True)
    container = Child("container", [os.path.join(TOP, "tests/lib/container"), "/mnt"], directory, environment={"BOOT_LIMIT": str(LIMIT)})
    end, known = time.monotonic() + LIMIT + 30, 0
    while container.wait(1) is None:
        if time.monotonic() > end:
            container.stop(5)
            break
        found = read(share)
        if len(found) != known:
            known = len(found)
            say(f"{known} of {len(numbers) * len(KINDS)} measured")
    found = read(share)
    text = show(found)
    print(text)
    result = {"command": "tools/bench starts", "commit": options.commit, "starts": list(found.values()), "text": text}
    failure = what_failed(share, container)
    if failure:
        raise Failed(failure, result)
    return result
