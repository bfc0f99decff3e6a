/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "io-stats.h"

const uint64_t io_latency_bounds[IO_LATENCY_BUCKETS] = { 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000,
        100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 20000000, 50000000, UINT64_MAX };

/* Bounds are at least twice as large as the one before: between two powers of two there is at most one. */
const uint8_t io_latency_first[64] = {
        [0 ... 5] = 0,    /* up to 32: 50 */
        [6] = 1,          /* 64: 100 */
        [7] = 2,          /* 128: 200 */
        [8] = 3,          /* 256: 500 */
        [9] = 4,          /* 512: 1,000 */
        [10] = 5,         /* 1,024: 2,000 */
        [11 ... 12] = 6,  /* 2,048 and 4,096: 5,000 */
        [13] = 7,         /* 8,192: 10,000 */
        [14] = 8,         /* 16,384: 20,000 */
        [15] = 9,         /* 32,768: 50,000 */
        [16] = 10,        /* 65,536: 100,000 */
        [17] = 11,        /* 131,072: 200,000 */
        [18] = 12,        /* 262,144: 500,000 */
        [19] = 13,        /* 524,288: 1 s */
        [20] = 14,        /* 1,048,576: 2 s */
        [21 ... 22] = 15, /* 2,097,152 and 4,194,304: 5 s */
        [23] = 16,        /* 8,388,608: 10 s */
        [24] = 17,        /* 16,777,216: 20 s */
        [25] = 18,        /* 33,554,432: 50 s */
        [26 ... 63] = 19,
};

void io_stats_end_stall(struct io_stats *stats, uint64_t usec) {
        stats->stalls++;
        if (usec > stats->longest_stall_usec)
                stats->longest_stall_usec = usec;
}

uint64_t io_stats_stalled_usec(const struct io_stats *stats, uint64_t now_usec) {
        uint64_t waited = now_usec - stats->progress_usec;

        return stats->in_flight > 0 && now_usec > stats->progress_usec && waited > IO_STALL_USEC ? waited : 0;
}
