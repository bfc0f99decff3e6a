# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench soak`: nothing grows with uptime. Clients come, write and read at depth 32, and go, for as many minutes as wanted; memory and descriptors of worker and proxy
are looked at while no client is there, after the first few clients and at the end.

Fails when a process has more descriptors at the end, or more than GROWTH_KIB of resident memory more: that is no target of speed, but a leak.
"""

import time

import load
import procfs
from child import Failed, hear_all
from pair import Pair
from table import table
from works import Work

SIZE = 256 << 20
RUN = 5  # seconds a client stays
WARM_UP = 3  # clients before the first look
SETTLE = 6  # seconds without a client before a look, for what is given back only after a while
GROWTH_KIB = 1024
WORK = Work("soak", "4k mixed 70/30, depth 32", "randrw", 4096, 32, None, None)
BIG = Work("soak-1m", "1M mixed 70/30, depth 8", "randrw", 1 << 20, 8, None, None)


def look(pair, worker, began):
    hear_all(SETTLE)
    return {
        "minute": round((time.monotonic() - began) / 60, 1),
        **{role: {"rss_kib": procfs.rss_kib(child.pid), "descriptors": procfs.descriptors(child.pid)}
           for role, child in (("worker", worker), ("proxy", pair.proxy))},
    }  # fmt: skip


def client(directory, pair, number):
    """Every fourth client has big requests, so that buffers grow and have to be given back."""
    work = BIG if number % 4 == 3 else WORK
    return load.finish(load.start(directory, work, pair.uri("soak"), RUN))["requests"]


def run(options, directory, say):
    pair = Pair(options.build, directory, dict(options.set or []))
    pair.create(["soak"], SIZE)
    worker = pair.start("soak")
    worker.wait_ready(30)
    requests = n = 0
    for n in range(1, WARM_UP + 2):
        requests += client(directory, pair, n)
    began = time.monotonic() + SETTLE
    looks = [look(pair, worker, began)]
    end = began + options.minutes * 60
    while time.monotonic() < end:
        next_look = min(time.monotonic() + 60, end)
        while time.monotonic() < next_look:
            n += 1
            requests += client(directory, pair, n)
        looks.append(look(pair, worker, began))
        say(f"minute {looks[-1]['minute']}: {requests:,} requests, " + ", ".join(
            f"{role} {looks[-1][role]['rss_kib']} KiB, {looks[-1][role]['descriptors']} descriptors" for role in ("worker", "proxy")))  # fmt: skip
    pair.stop()
    text = table(["", "worker RSS KiB", "worker descriptors", "proxy RSS KiB", "proxy descriptors"], [
        [f"minute {one['minute']}"] + [one[role][key] for role in ("worker", "proxy") for key in ("rss_kib", "descriptors")]
        for one in (looks[0], looks[-1])])  # fmt: skip
    text += f"\n{requests:,} requests of {n} clients.\n"
    print(text)
    result = {"command": f"tools/bench soak --minutes {options.minutes:g}", "commit": options.commit, "requests": requests, "soak": looks, "text": text}
    grown = [role for role in ("worker", "proxy") if looks[-1][role]["rss_kib"] > looks[0][role]["rss_kib"] + GROWTH_KIB or
             looks[-1][role]["descriptors"] > looks[0][role]["descriptors"]]  # fmt: skip
    if grown:
        raise Failed(f"has grown: {' and '.join(grown)}", result)
    return result
