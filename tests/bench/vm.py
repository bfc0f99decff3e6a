# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench vm`: the kernel device, which needs a kernel with NBD and a systemd: a throw-away virtual machine, as the vm suite boots it. It is emulated, so what counts are
ratios; and it is slow, so what a request costs in the processes weighs more than natively."""

import json
import os
import shutil
import subprocess
from statistics import median

import load
from child import Child, Failed
from table import count, table
from works import WORKS

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PEERS, AT_LEAST = ("nbdkit", "nbd-server"), 0.8  # of nbd-client with nbdkit
LIMIT = 1500  # seconds for all of it
IMAGES, IMAGE_MIB = 100, 128


def borrow(root):
    """The peers' programs, which the root of the tests does not have; the libraries that they need it has."""
    plugins = subprocess.run(["nbdkit", "--dump-config"], stdout=subprocess.PIPE, text=True, timeout=10, check=True).stdout
    plugins = dict(line.split("=", 1) for line in plugins.splitlines() if "=" in line)["plugindir"]
    for path in (shutil.which("nbdkit"), shutil.which("nbd-server"), os.path.join(plugins, "nbdkit-file-plugin.so")):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy2(path, root + path)


def boot(options, directory, seconds, rounds):
    home = os.path.join(directory, "vm")
    os.makedirs(os.path.join(home, "share"))
    staged = subprocess.run([os.path.join(TOP, "tests/lib/stage"), options.build, home], timeout=300, check=False)
    if staged.returncode != 0:
        raise Failed("no root for the virtual machine could be made")
    borrow(os.path.join(home, "root"))
    works = "\n".join(f"{work.name} {work.rw} {work.block} {work.depth}" for work in WORKS)
    with open(os.path.join(home, "share/settings"), "w", encoding="ascii") as file:
        file.write(f"rounds={rounds} seconds={seconds:g} size={IMAGE_MIB} images={IMAGES}\nworks='{works}'\n")
    shutil.copy2(os.path.join(TOP, "tests/bench/vm-guest"), os.path.join(home, "share/job"))
    machine = Child("machine", [os.path.join(TOP, "tests/lib/machine"), home], directory, environment={"BOOT_LIMIT": str(LIMIT)})
    if machine.wait(LIMIT + 30) is None:
        machine.fail(f"has not ended after {LIMIT} s")
    return os.path.join(home, "share"), machine


def numbers(share, name):
    try:
        with open(os.path.join(share, name), encoding="ascii") as file:
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def collect(share, machine):
    samples = []
    folder = os.path.join(share, "runs")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        number, work, contestant = name.split(" ")
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        figures = load.figures(json.loads(text[text.index("{"):])["jobs"])
        samples.append({"round": int(number), "work": work, "contestant": contestant, **figures})
    log = os.path.join(share, "log")
    if numbers(share, "status") != [0]:
        with open(log, encoding="utf-8", errors="replace") if os.path.exists(log) else open(machine.log, encoding="utf-8", errors="replace") as file:
            raise Failed(f"the virtual machine's part has failed:\n{file.read()[-3000:]}")
    return samples


def compare(samples):
    by = {}
    for one in samples:
        by.setdefault((one["work"], one["contestant"]), []).append(one["iops"])
    rows, ratios = [], []
    for work in WORKS:
        row = [work.title]
        for name in ("blockstore", *PEERS):
            values = by[work.name, name]
            row.append(f"{count(median(values))} ({count(min(values))}–{count(max(values))})")
        for peer in PEERS:
            value = median(a / b for a, b in zip(by[work.name, "blockstore"], by[work.name, peer]))
            row.append(f"{value:.2f}")
            ratios.append({"work": work.name, "against": "kernel-device", "peer": peer, "value": round(value, 3), "target": AT_LEAST if peer == "nbdkit" else None})
        rows.append(row)
    text = table(["work, on the kernel device", "blockstore", "nbd-client + nbdkit", "nbd-client + nbd-server", "× nbdkit", "× nbd-server"], rows)
    return text, ratios


def run(options, directory, say):
    seconds, rounds = options.seconds or 2, options.rounds or (2 if options.quick else 5)
    share, machine = boot(options, directory, seconds, rounds)
    samples = collect(share, machine)
    text, ratios = compare(samples)
    one, many = numbers(share, "attach-one"), numbers(share, "attach-many")
    text += (f"\n`systemctl start` of one image until its device is there: {median(one)} ms ({min(one)}–{max(one)}); of {IMAGES} at once: {many[0] / 1e3:.1f} s, "
             f"{numbers(share, 'attached')[0]} active; stop of all of them {numbers(share, 'detach-many')[0] / 1e3:.1f} s.")  # fmt: skip
    print(text)
    return {"command": "tools/bench vm", "commit": options.commit, "settings": {"rounds": rounds, "seconds": seconds}, "samples": samples, "ratios": ratios,
            "attach_ms": one, "attach_many_ms": many, "images": IMAGES}  # fmt: skip
