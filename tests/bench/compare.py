# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench [compare]`: us and our peers, side by side."""

import json
import os
import time
from datetime import datetime, timezone

import contestants
import rounds
import summary
import table
from chart import svg
from child import Failed
from works import BY_NAME, WORKS

# Seconds a run and rounds: thorough, which takes about 12 minutes, and what is done in three.
FULL, QUICK = (2.5, 5), (0.5, 3)
TRACED_WORKS = ("randread-4k-qd1", "randread-4k-qd32", "randwrite-4k-qd32", "read-1m")


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "?")


def pick(wanted, known, what):
    names = wanted.split(",") if wanted else list(known)
    for name in names:
        if name not in known:
            raise Failed(f"no {what} '{name}'; there are: {' '.join(known)}")
    return names


def run(options, directory, say):
    seconds, n_rounds = QUICK if options.quick else FULL
    seconds, n_rounds = options.seconds or seconds, options.rounds or n_rounds
    works = [BY_NAME[name] for name in pick(options.works, BY_NAME, "work")]
    size = options.size << 20
    load_before = os.getloadavg()[0]
    began = time.monotonic()
    taking_part = contestants.start_all(options.build, directory, size, dict(options.set or []))
    names = pick(options.contestants, {c.name: c for c in taking_part}, "contestant")
    taking_part = [c for c in taking_part if c.name in names]
    samples = rounds.measure(directory, taking_part, works, n_rounds, seconds, say)
    traced = [BY_NAME[name] for name in TRACED_WORKS if BY_NAME[name] in works] if not options.no_strace else []
    calls = rounds.system_calls(directory, taking_part, traced, 0.3 if options.quick else 2, say)
    result = {
        "command": "tools/bench" + (" --quick" if options.quick else ""),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": options.commit,
        "seconds_in_all": round(time.monotonic() - began, 1),
        "load_before": load_before,
        "processors": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "versions": contestants.versions(),
        "settings": {"rounds": n_rounds, "seconds": seconds, "size": size, "image": dict(options.set or [])},
        "contestants": [{"name": c.name, "title": c.title, "hops": c.hops} for c in taking_part],
        "works": [work._asdict() for work in WORKS],
        "samples": samples,
        "system_calls": calls,
    }
    return conclude(result)


def conclude(result):
    """Adds what follows from the samples; also to a result that was read from a file."""
    samples = summary.Samples(result["samples"])
    result["summary"] = summary.summarise(samples)
    result["ratios"] = summary.ratios(samples, result["contestants"])
    result["bounds"] = summary.bounds(samples, result["contestants"])
    return result


def show(result):
    print()
    print(table.head(result))
    print(table.everything(result))


def write_between(path, marker, text):
    """Replaces what stands between the two marks in a document."""
    begin, end = f"<!-- bench: {marker} -->\n", "<!-- bench: end -->\n"
    with open(path, encoding="utf-8") as file:
        before, found, rest = file.read().partition(begin)
    if not found or end not in rest:
        raise Failed(f"{path}: no lines '{begin.strip()}' and '{end.strip()}'")
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + begin + text + end + rest.partition(end)[2])


def write_document(path, result):
    """The tables into a document, and the chart beside it."""
    picture = os.path.splitext(path)[0] + ".svg"
    write_between(path, "figures", table.head(result) + f"\n![IOPS of all contestants]({os.path.basename(picture)})\n\n" + table.everything(result))
    with open(picture, "w", encoding="utf-8") as file:
        file.write(svg(result))


def where():
    """Date and machine, for what stands in a document."""
    return (f"{datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC')}, {len(os.sched_getaffinity(0))} processors ({processor()}), "
            f"load average {os.getloadavg()[0]:.2f}")  # fmt: skip


def read(path):
    with open(path, encoding="utf-8") as file:
        return conclude(json.load(file))
