# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run of fio's nbd engine against one URI, and what it says of it.

All figures are of reads and writes together. fio runs as one process with threads, so that nothing of it outlives its end; its map of blocks visited is off, since it
would be fio's own CPU time that is measured.
"""

import json
import os
import shutil

from child import Child, Failed

PATIENCE = 30  # seconds beyond the run time that it may take for start and end


def command(work, uri, seconds, **more):
    options = {
        "ioengine": "nbd", "uri": uri, "rw": work.rw, "bs": work.block, "iodepth": work.depth, "time_based": 1, "runtime": f"{int(seconds * 1000)}ms",
        "thread": 1, "norandommap": 1, "randseed": 4711, "rwmixread": 70, "unified_rw_reporting": "mixed", "percentile_list": "50:99:99.9",
        "output-format": "json", **more,
    }  # fmt: skip
    return [shutil.which("fio") or "fio", "--name=load"] + [f"--{key}={value}" for key, value in options.items()]


def start(directory, work, uri, seconds, **more):
    result = os.path.join(directory, "fio.json")
    if os.path.exists(result):
        os.unlink(result)
    child = Child("fio", command(work, uri, seconds, output=result, **more), directory)
    child.result, child.limit = result, seconds + PATIENCE
    return child


def finish(child, while_waiting=None):
    """Until the run is over; its figures. `while_waiting` is called several times a second."""
    waited = 0.0
    while child.wait(0.2) is None:
        waited += 0.2
        if waited > child.limit:
            child.stop(0)
            raise Failed(f"fio has not ended after {waited:.0f} s")
        if while_waiting:
            while_waiting()
    if child.returncode != 0:
        child.fail(f"ended with {child.returncode}")
    with open(child.result, encoding="utf-8") as file:
        text = file.read()
    jobs = json.loads(text[text.index("{"):])["jobs"]  # it may complain before it reports
    failed = [job for job in jobs if job["error"] != 0 or job["mixed"]["total_ios"] == 0]
    if failed:
        child.fail(f"error {failed[0]['error']} after {failed[0]['mixed']['total_ios']} requests")
    return figures(jobs)


def figures(jobs):
    """Of one job, or of several that ran side by side: then percentiles are the worst of them."""
    percentiles = [job["mixed"]["clat_ns"]["percentile"] for job in jobs]
    milliseconds = max(job["mixed"]["runtime"] for job in jobs)
    requests = sum(job["mixed"]["total_ios"] for job in jobs)
    return {
        "requests": requests,
        "iops": sum(job["mixed"]["iops"] for job in jobs),
        "mb_per_s": sum(job["mixed"]["bw_bytes"] for job in jobs) / 1e6,
        "p50_us": max(p["50.000000"] for p in percentiles) / 1e3,
        "p99_us": max(p["99.000000"] for p in percentiles) / 1e3,
        "p999_us": max(p["99.900000"] for p in percentiles) / 1e3,
        "client_cpu_seconds": sum((job["usr_cpu"] + job["sys_cpu"]) / 100 * job["mixed"]["runtime"] / 1e3 for job in jobs),
        "seconds": milliseconds / 1e3,
    }
