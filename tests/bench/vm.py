# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench vm`: the kernel device, which needs a kernel with NBD and a systemd: a throw-away virtual machine, as the vm suite boots it. It is emulated, so what counts are
ratios; and it is slow, so what a request costs in the processes weighs more than natively."""

import json
import os
import shutil
import subprocess
import time
from statistics import median

import load
import starts
from child import Child, Failed
from table import count, table
from works import WORKS

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PEERS, AT_LEAST = ("nbdkit", "nbd-server"), 0.8  # of nbd-client with nbdkit
LIMIT, BUDGET = 1500, 1000  # seconds for all of it; after which the guest begins no further round
AT_ONCE = 10  # seconds for IMAGES at once
IMAGES, IMAGE_MIB = 100, 128


def borrow(root):
    """The peers' programs, which the root of the tests does not have; the libraries that they need it has."""
    plugins = subprocess.run(["nbdkit", "--dump-config"], stdout=subprocess.PIPE, text=True, timeout=10, check=True).stdout
    plugins = dict(line.split("=", 1) for line in plugins.splitlines() if "=" in line)["plugindir"]
    for path in (shutil.which("nbdkit"), shutil.which("nbd-server"), os.path.join(plugins, "nbdkit-file-plugin.so")):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy2(path, root + path)


def boot(options, directory, images, seconds, rounds, say):
    home = os.path.join(directory, "vm")
    starts.stage(options.build, home)
    borrow(os.path.join(home, "root"))
    works = "\n".join(f"{work.name} {work.rw} {work.block} {work.depth}" for work in WORKS)
    with open(os.path.join(home, "share/settings"), "w", encoding="ascii") as file:
        file.write(f"rounds={rounds} seconds={int(seconds * 1000)}ms size={IMAGE_MIB} images={images} budget={BUDGET}\nworks='{works}'\n")
    shutil.copy2(os.path.join(TOP, "tests/bench/vm-guest"), os.path.join(home, "share/job"))
    machine = Child("machine", [os.path.join(TOP, "tests/lib/machine"), home], directory, environment={"BOOT_LIMIT": str(LIMIT)})
    share, end = os.path.join(home, "share"), time.monotonic() + LIMIT + 30
    runs = -1
    while machine.wait(10) is None:
        if time.monotonic() > end:
            machine.stop(5)
            break
        folder = os.path.join(share, "runs")
        if os.path.isdir(folder) and len(os.listdir(folder)) != runs:
            runs = len(os.listdir(folder))
            say(f"{runs} of {rounds * len(WORKS) * (1 + len(PEERS))} runs")
    return share, machine


def numbers(share, name):
    try:
        with open(os.path.join(share, name), encoding="ascii") as file:
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def collect(share):
    """The runs that have come to their end; the last may have been cut."""
    samples = []
    folder = os.path.join(share, "runs")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        number, work, contestant = name.split(" ")
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        try:
            figures = load.figures(json.loads(text[text.index("{"):])["jobs"])
        except (ValueError, KeyError):
            continue
        samples.append({"round": int(number), "work": work, "contestant": contestant, **figures})
    return samples


def compare(samples):
    by = {}
    for one in samples:
        by.setdefault((one["work"], one["contestant"]), {})[one["round"]] = one["iops"]
    rows, ratios = [], []
    for work in WORKS:
        # Rounds in which all three have had their turn.
        whole = set.intersection(*(set(by.get((work.name, name), ())) for name in ("blockstore", *PEERS)))
        if not whole:
            continue
        values = {name: [by[work.name, name][number] for number in sorted(whole)] for name in ("blockstore", *PEERS)}
        row = [work.title] + [f"{count(median(of))} ({count(min(of))}–{count(max(of))})" for of in values.values()]
        for peer in PEERS:
            value = median(a / b for a, b in zip(values["blockstore"], values[peer]))
            target = AT_LEAST if peer == "nbdkit" else None
            row += [f"{value:.2f}"] + (["met" if value >= target else "**behind**"] if target else [])
            ratios.append({"work": work.name, "against": "kernel-device", "peer": peer, "value": round(value, 3), "target": target})
        rows.append(row)
    head = ["IOPS on the kernel device", "blockstore", "nbd-client + nbdkit", "nbd-client + nbd-server", "× nbdkit", f"≥ {AT_LEAST}", "× nbd-server"]
    return table(head, rows), ratios


def attaching(share, images):
    one, found = numbers(share, "attach-one"), starts.read(share)
    text = f"`systemctl start` of one image until it is attached and has its device: {median(one):.0f} ms ({min(one)}–{max(one)}).\n" if one else ""
    many = found.get(("images", images))
    if many:
        aim = f"aim: {AT_ONCE} s, {'met' if many['start_s'] <= AT_ONCE and many['up'] == images else '**behind**'}"
        if images != IMAGES:
            aim = f"no aim, that is for {IMAGES}"
        text += f"{images} images at once ({aim}):\n\n{starts.show(found)}"
    return text + "\n", {"attach_ms": one, "starts": list(found.values())}


def run(options, directory, say):
    images = int(options.images or IMAGES)
    seconds, rounds = options.seconds or 2, options.rounds or (2 if options.quick else 5)
    share, machine = boot(options, directory, images, seconds, rounds, say)
    samples = collect(share)
    text, ratios = compare(samples)
    sentence, times = attaching(share, images)
    done = len({sample["round"] for sample in samples})
    text += f"\n{done} rounds of {seconds:g} s. {sentence}"
    print(text)
    result = {"command": "tools/bench vm" + (" --quick" if options.quick else ""), "commit": options.commit, "settings": {"rounds": done, "seconds": seconds}, "samples": samples, "ratios": ratios,
              **times, "images": images, "text": text}  # fmt: skip
    failure = starts.what_failed(share, machine)
    if failure:
        raise Failed(failure, result)
    return result
