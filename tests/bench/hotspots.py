# SPDX-License-Identifier: LGPL-2.1-or-later
"""`tools/bench profile`: where the time of our two processes goes under a work. Samples of the CPU clock with call chains (perf), so no processor's counters are needed; of the
kernel's share the part below a few functions that tell what it was done for, and the functions in which most time was spent themselves. Where tracing is allowed, also
how often in a request io_uring had to hand work to a thread of its own, and how often a process was switched away.
"""

import os
import shutil
import signal
import time
from collections import Counter

import load
import procfs
from child import Child, Failed, libc
from pair import Pair
from table import table
from works import BY_NAME

SIZE = 256 << 20
FREQUENCY = 1999  # Hz; no divisor of the timer's
EVENTS = ("io_uring:io_uring_queue_async_work", "sched:sched_switch", "sched:sched_wakeup")

# What is done below these; a sample counts once in each line that it belongs to, so lines overlap.
BELOW = [
    ("in user space", None),
    ("threads of io_uring (io-wq)", ("io_wq_worker",)),
    ("TCP, sending", ("tcp_sendmsg",)),
    ("what arrives on the loopback, data and ACKs", ("net_rx_action",)),
    ("TCP, receiving", ("tcp_recvmsg",)),
    ("Unix socket, sending", ("unix_stream_sendmsg",)),
    ("Unix socket, receiving", ("unix_stream_recvmsg",)),
    ("file, reading", ("shmem_file_read_iter", "filemap_read", "ext4_file_read_iter")),
    ("file, writing", ("shmem_file_write_iter", "generic_file_write_iter", "generic_perform_write", "ext4_file_write_iter")),
    ("copying of data", ("_copy_to_iter", "_copy_from_iter", "copy_page_to_iter", "copy_page_from_iter", "copy_page_from_iter_atomic", "copy_folio_from_iter_atomic")),
    ("waking others", ("try_to_wake_up", "__wake_up_common", "wake_up_q")),
    ("sleeping and switching", ("schedule",)),
]


def fill(path):
    block = os.urandom(1 << 20)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(SIZE >> 20):
            file.write(block)


def stacks(data, directory):
    """The call chains of a recording, innermost function first, each with whether it was in user space."""
    script = Child("script", ["perf", "script", "-i", data, "-F", "ip,sym"], directory)
    if script.wait(120) != 0:
        script.fail("cannot read the recording")
    stack = []
    with open(script.log, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if not words:
                if stack:
                    yield stack
                stack = []
            elif all(c in "0123456789abcdef" for c in words[0]):
                stack.append((words[1].partition("+")[0] if len(words) > 1 else "?", len(words[0]) < 16))
    if stack:
        yield stack
    os.unlink(script.log)


def evaluate(all_stacks):
    below, own, n = Counter(), Counter(), 0
    for stack in all_stacks:
        n += 1
        name, user = stack[0]
        own[f"{name} (user space)" if user else name] += 1
        symbols = {symbol for symbol, _ in stack}
        for title, functions in BELOW:
            if user if functions is None else symbols.intersection(functions):
                below[title] += 1
    return below, own, n


def count_events(directory, pids):
    """Starts counting, if tracing is allowed. -p counts the threads that a process makes later as well."""
    if not os.path.exists("/sys/kernel/tracing/events") and libc.mount(b"tracefs", b"/sys/kernel/tracing", b"tracefs", 0, None) < 0:
        return []
    return [Child(f"stat-{role}", ["perf", "stat", "-x", ";", "-e", ",".join(EVENTS), "-p", str(pid)], directory) for role, pid in pids.items()]


def events_of(counter):
    counter.stop(10, signal.SIGINT)
    found = {}
    for line in counter.tail(20).splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            found[fields[2].rpartition(":")[2]] = int(fields[0])
    return found


def profile(directory, pair, work, seconds):
    pids = {"worker": pair.workers["profile"].pid, "proxy": pair.proxy.pid}
    counters = dict(zip(pids, count_events(directory, pids)))
    time.sleep(0.5)
    before = {role: procfs.cpu_seconds(pid) for role, pid in pids.items()}
    figures = load.finish(load.start(directory, work, pair.uri("profile"), seconds))
    cpu = {role: (procfs.cpu_seconds(pid) - before[role]) * 1e6 / figures["requests"] for role, pid in pids.items()}
    events = {role: events_of(counter) for role, counter in counters.items()}
    result = {"work": work.name, "iops": figures["iops"], "cpu_us_per_request": cpu, "processes": {}}
    for role, pid in pids.items():
        data = os.path.join(directory, f"{role}.data")
        recorder = Child("record", ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-o", data, "-p", str(pid)], directory)
        time.sleep(0.5)
        load.finish(load.start(directory, work, pair.uri("profile"), seconds))
        recorder.stop(30, signal.SIGINT)
        below, own, n = evaluate(stacks(data, directory))
        os.unlink(data)
        result["processes"][role] = {
            "samples": n,
            "below": {title: below[title] / max(n, 1) for title, _ in BELOW},
            "own": {name: count / max(n, 1) for name, count in own.most_common(14)},
            "events_per_request": {name: count / figures["requests"] for name, count in events.get(role, {}).items()},
        }
    return result


def show(result):
    processes = result["processes"]
    print(f"\n{BY_NAME[result['work']].title}: {result['iops']:,.0f} IOPS; CPU in a request " +
          ", ".join(f"{role} {us:.1f} µs" for role, us in result["cpu_us_per_request"].items()) + "\n")  # fmt: skip
    print(table(["share of a process's time"] + list(processes), [
        [title] + [f"{one['below'][title] * 100:.0f} %" for one in processes.values()] for title, _ in BELOW]))  # fmt: skip
    print(table(["times in a request"] + list(processes), [
        [name.rpartition(":")[2]] + [f"{one['events_per_request'].get(name.rpartition(':')[2], float('nan')):.2f}" for one in processes.values()]
        for name in EVENTS]))  # fmt: skip
    for role, one in processes.items():
        print(table([f"{role}: time in the function itself", "share"], [[name, f"{share * 100:.1f} %"] for name, share in one["own"].items()]))


def run(options, directory, say):
    if not shutil.which("perf"):
        raise Failed("perf is not installed")
    names = options.works.split(",") if options.works else ["randread-4k-qd1", "randread-4k-qd32", "randwrite-4k-qd32", "read-1m"]
    if any(name not in BY_NAME for name in names):
        raise Failed(f"works are {' '.join(BY_NAME)}")
    pair = Pair(options.build, directory, dict(options.set or []))
    pair.create(["profile"], SIZE)
    fill(pair.data("profile"))
    pair.start("profile").wait_ready(30)
    results = [profile(directory, pair, BY_NAME[name], options.seconds or 4) for name in names]
    for result in results:
        show(result)
    return {"command": "tools/bench profile", "commit": options.commit, "profiles": results}
