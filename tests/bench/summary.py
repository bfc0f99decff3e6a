# SPDX-License-Identifier: LGPL-2.1-or-later
"""From samples to what is said of them: medians with their spread, ratios against targets, and bounds.

A ratio is formed round by round and its median taken, so that both sides of it were measured within the same seconds.
"""

from statistics import median

from works import CPU_AT_MOST, CPU_PEER, ONE_HOP_PEER, P99_AT_MOST, P99_WORKS, WORKS

PLAIN = ("iops", "mb_per_s", "p50_us", "p99_us", "p999_us")


def spread(values):
    return {"median": median(values), "min": min(values), "max": max(values)}


class Samples:
    def __init__(self, samples):
        self.by = {}
        for one in samples:
            self.by.setdefault((one["work"], one["contestant"]), []).append(one)

    def has(self, work, contestant):
        return (work, contestant) in self.by

    def of(self, work, contestant, figure):
        return [one[figure] for one in self.by[work, contestant]]

    def median(self, work, contestant, figure):
        return median(self.of(work, contestant, figure))

    def ratio(self, work, ours, theirs, figure):
        return median(a / b for a, b in zip(self.of(work, ours, figure), self.of(work, theirs, figure)))

    def server_cpu(self, work, contestant):
        """CPU seconds per 100 k requests of all processes but the client, sample by sample."""
        return [sum(s for role, s in cpu.items() if role != "client") for cpu in self.of(work, contestant, "cpu_seconds_per_100k")]


def summarise(samples):
    rows = []
    for (work, contestant), group in samples.by.items():
        row = {"work": work, "contestant": contestant, "samples": len(group), **{key: spread([one[key] for one in group]) for key in PLAIN}}
        for key in ("cpu_seconds_per_100k", "peak_rss_kib"):
            row[key] = {role: spread([one[key][role] for one in group]) for role in group[0][key]}
        rows.append(row)
    return rows


def two_hop_peers(contestants):
    return [c["name"] for c in contestants if c["hops"] == 2 and c["name"] != "blockstore"]


def ratios(samples, contestants):
    found = []
    for work in WORKS:
        if work.two_hop is None or not samples.has(work.name, "blockstore"):
            continue
        peers = [name for name in two_hop_peers(contestants) if samples.has(work.name, name)]
        if peers:
            best = max(peers, key=lambda name: samples.median(work.name, name, "iops"))
            found.append(ratio(samples, work, "two-hop", best, work.two_hop))
        if samples.has(work.name, ONE_HOP_PEER + "-1"):
            found.append(ratio(samples, work, "one-hop", ONE_HOP_PEER + "-1", work.one_hop))
    return found


def ratio(samples, work, against, peer, target):
    value = samples.ratio(work.name, "blockstore", peer, "iops")
    return {"work": work.name, "against": against, "peer": peer.rpartition("-")[0], "value": round(value, 3), "target": target}


def bounds(samples, contestants):
    """What is to be at most so much of a peer's."""
    found = []
    theirs = CPU_PEER + "-2"
    for work in WORKS:
        if work.block == 4096 and samples.has(work.name, "blockstore") and samples.has(work.name, theirs):
            pairs = zip(samples.server_cpu(work.name, "blockstore"), samples.server_cpu(work.name, theirs))
            found.append(bound("cpu", work.name, CPU_PEER, median(a / b for a, b in pairs), CPU_AT_MOST))
    for work in P99_WORKS:
        peers = [name for name in two_hop_peers(contestants) if samples.has(work, name)]
        if peers and samples.has(work, "blockstore"):
            best = min(peers, key=lambda name: samples.median(work, name, "p99_us"))
            found.append(bound("p99", work, best.rpartition("-")[0], samples.ratio(work, "blockstore", best, "p99_us"), P99_AT_MOST))
    return found


def bound(what, work, peer, value, at_most):
    return {"what": what, "work": work, "peer": peer, "value": round(value, 3), "at_most": at_most}
