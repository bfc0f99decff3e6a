# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench scale`: many images on one host, over one proxy. For each number: how long attaching takes, alone and all at once; what an idle worker costs in memory and CPU;
what a connection costs the proxy; and what a request costs when all images are read at once, each at depth 1. Says which aims are met.

An attach alone is measured twice: with the slow hash of its password, and when that has just been made for another (docs/security.md). All at once begins with the hash.

Memory of a worker is its resident set, and its share (PSS), since what libraries share is in the first of each of them.
"""

import json
import os
import time
from statistics import median

import load
import procfs
from child import Failed, end_all, hear_all
from pair import Pair
from table import table
from works import BY_NAME

NUMBERS = (1, 10, 100, 500)
IMAGE_SIZE = 16 << 20
PATIENCE = 120  # seconds for all workers together to be ready
ALONE = 5  # times that one is attached alone, of each kind
SETTLE = 5  # seconds after the attaching before anything is called idle


def wait_all_ready(workers):
    """Until the last has said so; each one's time is in its ready_after."""
    if hear_all(PATIENCE, until=lambda: all(worker.ready_after is not None for worker in workers)):
        return
    missing = [worker for worker in workers if worker.ready_after is None]
    missing[0].fail(f"{len(missing)} of {len(workers)} workers are not ready after {PATIENCE} s, this one for instance")


# What an aim is of, where it stands in a row, and what it is at most.
AIMS = (
    ("attach, one alone, with its hash, ms", lambda r: r["attach_alone_ms"]["median"], 100),
    ("worker, RSS, MiB", lambda r: r["worker_rss_kib"] / 1024, 8),
    ("worker, RSS after load, MiB", lambda r: r["loaded"]["worker_rss_kib"] / 1024, 8),
    ("worker, idle, % of a processor", lambda r: r["worker_idle_cpu_percent"]["median"], 0.1),
    ("proxy, an idle connection, KiB", lambda r: r["proxy_kib_per_connection"], 64),
)


def attach_alone(pair, name, hashed):
    """Milliseconds from fork() to READY=1 of one worker, again and again. hashed: the proxy has to check the password each time, since the users file is another one."""
    taken = []
    for _ in range(ALONE):
        if hashed:
            pair.touch_users()
        worker = pair.start(name)
        taken.append(worker.wait_ready(30) * 1e3)
        if worker.stop(10) != 0:
            worker.fail(f"ended with {worker.returncode}")
    return {"median": median(taken), "min": min(taken), "max": max(taken)}


def idle_cpu(pids, seconds):
    """Per cent of one processor, process by process."""
    before = {pid: procfs.cpu_seconds(pid) for pid in pids}
    began = time.monotonic()
    hear_all(seconds)
    elapsed = time.monotonic() - began
    return [(procfs.cpu_seconds(pid) - before[pid]) / elapsed * 100 for pid in pids]


def loaded(directory, pair, names, seconds):
    """All images read at once: one fio, a job for each."""
    work = BY_NAME["randread-4k-qd1"]
    common = load.command(work, "", seconds)
    path = os.path.join(directory, "jobs.fio")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[global]\n")
        for option in common[2:]:
            key, _, value = option[2:].partition("=")
            if key not in ("uri", "output-format"):
                file.write(f"{key.replace('-', '_')}={value}\n")
        for name in names:
            file.write(f"[{name}]\nuri={pair.uri(name)}\n")
    pids = [worker.pid for worker in pair.workers.values()]
    before = [procfs.cpu_seconds(pid) for pid in pids], procfs.cpu_seconds(pair.proxy.pid)
    result = os.path.join(directory, "fio.json")
    child = load.Child("fio", [common[0], f"--output={result}", "--output-format=json", path], directory)
    child.result, child.limit = result, seconds + 120
    figures = load.finish(child)
    workers = sum(procfs.cpu_seconds(pid) for pid in pids) - sum(before[0])
    proxy = procfs.cpu_seconds(pair.proxy.pid) - before[1]
    per = 100_000 / figures["requests"]
    return {"iops": figures["iops"], "p99_us": figures["p99_us"], "worker_cpu_per_100k": workers * per, "proxy_cpu_per_100k": proxy * per}


def measure(build, directory, number, seconds, say):
    home = os.path.join(directory, f"scale-{number}")
    os.mkdir(home)
    pair = Pair(build, home)
    names = [f"image{i}" for i in range(number)]
    pair.create(names, IMAGE_SIZE)
    hear_all(1)
    # Before the workers, but after it has done all that it will do: what is allocated once is no connection's.
    alone, again = attach_alone(pair, names[0], True), attach_alone(pair, names[0], False)
    hear_all(1)
    proxy_before, descriptors, sockets = procfs.rss_kib(pair.proxy.pid), procfs.descriptors(pair.proxy.pid), procfs.sockets(pair.proxy.pid)
    pair.touch_users()
    began = time.monotonic()
    workers = [pair.start(name) for name in names]
    wait_all_ready(workers)
    together = time.monotonic() - began
    say(f"{number} images: attached in {together:.2f} s")
    hear_all(SETTLE)
    pids = [worker.pid for worker in workers]
    cpu = idle_cpu(pids + [pair.proxy.pid], seconds)
    grown, connections = procfs.rss_kib(pair.proxy.pid) - proxy_before, procfs.sockets(pair.proxy.pid) - sockets
    row = {
        "images": number,
        "attach_alone_ms": alone,
        "attach_alone_known_ms": again,
        "attach_together_s": together,
        "attach_together_each_ms": median(worker.ready_after * 1e3 for worker in workers),
        "worker_rss_kib": median(procfs.rss_kib(pid) for pid in pids),
        "worker_pss_kib": median(procfs.pss_kib(pid) for pid in pids),
        "worker_idle_cpu_percent": {"median": median(cpu[:-1]), "max": max(cpu[:-1])},
        "proxy_idle_cpu_percent": cpu[-1],
        "proxy_descriptors": procfs.descriptors(pair.proxy.pid) - descriptors,
        "proxy_connections": connections,
        "proxy_rss_kib": procfs.rss_kib(pair.proxy.pid),
        "proxy_kib_per_connection": grown / connections,
    }
    row["loaded"] = loaded(directory, pair, names, seconds)
    hear_all(SETTLE)
    row["loaded"]["worker_rss_kib"] = median(procfs.rss_kib(pid) for pid in pids)
    row["loaded"]["worker_peak_kib"] = median(procfs.peak_kib(pid) for pid in pids)
    for child in workers + [pair.proxy]:
        if child.wait(0) is not None:
            raise Failed(f"{child.name} ended with {child.returncode}\n{child.tail()}")
    began = time.monotonic()
    pair.stop()
    row["stop_s"] = time.monotonic() - began
    end_all()
    return row


def judge(rows):
    return [{"what": what, "images": row["images"], "value": round(value(row), 3), "at_most": at_most, "met": value(row) <= at_most}
            for what, value, at_most in AIMS for row in rows]  # fmt: skip


def tables(rows):
    def of(*columns):
        return table(["images"] + [title for title, _ in columns], [[row["images"]] + [cell(row) for _, cell in columns] for row in rows])

    def spread(one):
        return f"{one['median']:.0f} ({one['min']:.0f}–{one['max']:.0f})"

    aims = table(["aim"] + [f"{row['images']} image{'s' * (row['images'] > 1)}" for row in rows] + ["at most", ""], [
        [what] + [f"{value(row):.3g}" for row in rows] + [at_most, "met" if all(value(row) <= at_most for row in rows) else "**behind**"]
        for what, value, at_most in AIMS])  # fmt: skip
    return aims + "\n" + of(
        ("attach, one alone, ms", lambda r: spread(r["attach_alone_ms"])),
        ("... login known", lambda r: spread(r["attach_alone_known_ms"])),
        ("all at once, s", lambda r: f"{r['attach_together_s']:.2f}"),
        ("worker, RSS MiB", lambda r: f"{r['worker_rss_kib'] / 1024:.1f}"),
        ("worker, PSS MiB", lambda r: f"{r['worker_pss_kib'] / 1024:.1f}"),
        ("worker, idle CPU %", lambda r: f"{r['worker_idle_cpu_percent']['median']:.3f} (at most {r['worker_idle_cpu_percent']['max']:.3f})"),
        ("proxy, idle CPU %", lambda r: f"{r['proxy_idle_cpu_percent']:.2f}"),
        ("proxy, KiB a connection", lambda r: f"{r['proxy_kib_per_connection']:.1f}"),
        ("connections", lambda r: r["proxy_connections"]),
        ("proxy, descriptors", lambda r: r["proxy_descriptors"]),
    ) + "\n" + of(
        ("IOPS in all, depth 1 each", lambda r: f"{r['loaded']['iops']:,.0f}"),
        ("worst p99, µs", lambda r: f"{r['loaded']['p99_us']:,.0f}"),
        ("CPU s in 100,000, workers", lambda r: f"{r['loaded']['worker_cpu_per_100k']:.2f}"),
        ("CPU s in 100,000, proxy", lambda r: f"{r['loaded']['proxy_cpu_per_100k']:.2f}"),
        ("worker, RSS MiB after it", lambda r: f"{r['loaded']['worker_rss_kib'] / 1024:.1f}"),
        ("stop of all, s", lambda r: f"{r['stop_s']:.2f}"),
    )  # fmt: skip


def run(options, directory, say):
    numbers = [int(n) for n in options.images.split(",")] if options.images else NUMBERS
    rows, failures = [], []
    for number in numbers:
        try:
            rows.append(measure(options.build, directory, number, options.seconds or (3 if options.quick else 10), say))
        except Failed as failure:
            failures.append(f"{number} images: {failure.args[0]}")
            end_all()
    text = tables(rows) if rows else ""
    print(text)
    result = {"command": "tools/bench scale" + (" --quick" if options.quick else ""), "commit": options.commit, "scale": rows, "aims": judge(rows), "failures": failures,
              "text": "".join(f"**Failed**: {failure.splitlines()[0]}\n\n" for failure in failures) + text}  # fmt: skip
    if failures:
        raise Failed("\n".join(failures), result)
    return result


def save(path, result):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
