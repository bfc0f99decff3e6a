/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A histogram of latencies. Its bounds are part of it and not agreed upon, so that whoever counts may have others tomorrow. */

#include <stddef.h>
#include <stdint.h>

#define LATENCY_BUCKETS_MAX 32U

struct latency {
        uint64_t sum_usec;
        size_t n; /* 0: nothing was ever told */
        struct latency_bucket {
                uint64_t up_to_usec; /* included; the last is UINT64_MAX */
                uint64_t count;      /* of what was above the bound before, and not above this one */
        } buckets[LATENCY_BUCKETS_MAX];
};
