# SPDX-License-Identifier: LGPL-2.1-or-later
"""The works that are measured, and what is aimed at: the ratio of our IOPS (client, worker, proxy: two hops) to the best peer's with two hops, and to nbdkit's
with one. A work without targets is measured for its own sake."""

from collections import namedtuple

Work = namedtuple("Work", "name title rw block depth two_hop one_hop")

WORKS = [
    Work("randread-4k-qd1", "4k random read, depth 1", "randread", 4096, 1, 1.5, 0.75),
    Work("randwrite-4k-qd1", "4k random write, depth 1", "randwrite", 4096, 1, None, None),
    Work("randread-4k-qd32", "4k random read, depth 32", "randread", 4096, 32, 4.0, 1.4),
    Work("randwrite-4k-qd32", "4k random write, depth 32", "randwrite", 4096, 32, 3.0, 1.0),
    Work("mixed-64k", "64k mixed 70/30, depth 8", "randrw", 65536, 8, 2.2, 1.1),
    Work("read-1m", "1M sequential read, depth 8", "read", 1 << 20, 8, 1.3, 0.6),
    Work("write-1m", "1M sequential write, depth 8", "write", 1 << 20, 8, 1.3, 0.6),
]
BY_NAME = {work.name: work for work in WORKS}

# Whose one hop ours are held against.
ONE_HOP_PEER = "nbdkit"
# CPU seconds per 4k request, worker and proxy together, against those of both of this peer's processes.
CPU_PEER, CPU_AT_MOST = "nbdkit", 0.5
# 99th percentile at depth 32 against the best two-hop peer's.
P99_WORKS, P99_AT_MOST = ("randread-4k-qd32", "randwrite-4k-qd32"), 1.0
