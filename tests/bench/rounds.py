# SPDX-License-Identifier: LGPL-2.1-or-later
"""The measuring itself: rounds A B C, A B C over the contestants, work by work, so that whatever drifts on the machine hits all alike; then, in a round of its own because
it slows everything down, the system calls.

A sample is one run: what fio says, CPU seconds of each process in a hundred thousand requests, each process's peak of resident memory during the run, and the share of the
processors that went to nobody of those who take part: a run beside other work is worth less.
"""

import os
import shutil
import signal
import time

import load
import procfs
from child import Child, Failed

PER = 100_000


def settle(contestant):
    """Until children that a server has forked for its client are gone, so that their CPU time counts."""
    end = time.monotonic() + 2
    while any(procfs.children(child.pid) for child in contestant.processes.values()) and time.monotonic() < end:
        time.sleep(0.01)


def sample(directory, contestant, work, seconds):
    settle(contestant)
    pids = {role: child.pid for role, child in contestant.processes.items()}
    for pid in pids.values():
        procfs.reset_peak(pid)
    peaks = dict.fromkeys(pids, 0)
    before = {role: procfs.cpu_seconds(pid) for role, pid in pids.items()}
    busy, began = procfs.busy_seconds(), time.monotonic()

    def look():
        for role, pid in pids.items():
            peaks[role] = max(peaks[role], procfs.peak_kib(pid))

    figures = load.finish(load.start(directory, work, contestant.uri, seconds), look)
    settle(contestant)
    look()
    for role, child in contestant.processes.items():
        if child.wait(0) is not None:
            child.fail(f"ended with {child.returncode} under {work.name}")
    busy, elapsed = procfs.busy_seconds() - busy, time.monotonic() - began
    used = {role: procfs.cpu_seconds(pid) - before[role] for role, pid in pids.items()}
    used["client"] = figures.pop("client_cpu_seconds")
    others = max(busy - sum(used.values()), 0) / elapsed / len(os.sched_getaffinity(0))
    cpu = {role: seconds * PER / figures["requests"] for role, seconds in used.items()}
    return {"work": work.name, "contestant": contestant.name, **figures, "cpu_seconds_per_100k": cpu, "peak_rss_kib": peaks, "others": round(others, 3)}


def measure(directory, contestants, works, rounds, seconds, say):
    """Each sample, with its round."""
    samples = []
    for number in range(rounds):
        for work in works:
            for contestant in contestants:
                one = {"round": number, **sample(directory, contestant, work, seconds)}
                samples.append(one)
                say(f"round {number + 1}/{rounds}  {work.name:18} {contestant.name:12} {one['iops']:10,.0f} IOPS  p99 {one['p99_us']:8,.0f} us")
    return samples


def parse_strace(text):
    """The table that `strace -c -U calls,name` prints: what was called how often."""
    calls = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].isdigit() and words[1] != "total":
            calls[words[1]] = calls.get(words[1], 0) + int(words[0])
    return calls


def count_calls(directory, contestant, work, seconds):
    """System calls of each process during one run. What attaching itself costs is in it: some dozens."""
    strace = shutil.which("strace") or "strace"
    tracers = {}
    for role, child in contestant.processes.items():
        path = os.path.join(directory, f"strace-{role}")
        tracer = Child(f"strace-{role}", [strace, "-f", "-c", "-U", "calls,name", "-o", path, "-p", str(child.pid)], directory)
        tracers[role] = (tracer, path, child.pid)
    end = time.monotonic() + 10
    while not all(tracer_of(pid) for _, _, pid in tracers.values()):
        if time.monotonic() > end:
            raise Failed("strace does not attach")
        time.sleep(0.01)
    figures = load.finish(load.start(directory, work, contestant.uri, seconds))
    settle(contestant)
    found = {}
    for role, (tracer, path, _) in tracers.items():
        tracer.stop(10, signal.SIGINT)
        with open(path, encoding="utf-8", errors="replace") as file:
            calls = parse_strace(file.read())
        os.unlink(path)
        if not calls:
            raise Failed(f"strace has counted nothing in {contestant.name} under {work.name}: {tracer.tail(3)}")
        found[role] = {
            "per_request": sum(calls.values()) / figures["requests"],
            "calls": {name: n / figures["requests"] for name, n in sorted(calls.items(), key=lambda item: -item[1])[:6]},
        }
    return {"work": work.name, "contestant": contestant.name, "requests": figures["requests"], "processes": found}


def tracer_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in file)


def system_calls(directory, contestants, works, seconds, say):
    found = []
    for work in works:
        for contestant in contestants:
            one = count_calls(directory, contestant, work, seconds)
            found.append(one)
            total = sum(process["per_request"] for process in one["processes"].values())
            say(f"system calls  {work.name:18} {contestant.name:12} {total:6.2f} a request")
    return found
