/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Counters of an image since its worker started. Written by the I/O thread only; others get copies.
 *
 * Latencies are counted in buckets, since a mean hides what hurts: one request of a second among ten thousand. The bounds are those of block I/O, from a cache's answer to a failover, three to a decade. What is counted here is in
 * the data path of each request, so a bucket is found by a table of logarithms and one comparison.
 *
 * A stall is more than a second in which requests waited and none was answered. */

#include <stdint.h>

#define IO_LATENCY_BUCKETS 20U
#define IO_STALL_USEC      (1000U * 1000U)

enum io_kind {
        IO_READ,
        IO_WRITE, /* and what is like one: TRIM, WRITE_ZEROES */
        IO_FLUSH,
        _IO_KIND_MAX,
};

struct io_latency {
        uint64_t sum_usec;
        uint64_t counts[IO_LATENCY_BUCKETS];
};

struct io_stats {
        uint64_t read_operations, write_operations, flush_operations;
        uint64_t read_bytes, written_bytes;
        uint64_t errors;       /* requests answered with an error */
        uint64_t completed;    /* of any kind */
        uint64_t latency_usec; /* sum over all completed, acceptance to answer */
        uint32_t in_flight;
        struct io_latency latency[_IO_KIND_MAX]; /* of those that succeeded */
        uint64_t stalls, longest_stall_usec;     /* that are over */
        uint64_t progress_usec; /* when one was last answered, or the first began to wait; CLOCK_MONOTONIC, as below */
};

/* The upper bounds, µs, each included; the last is UINT64_MAX. */
extern const uint64_t io_latency_bounds[IO_LATENCY_BUCKETS];
/* By the position of the highest bit set: the smallest bound that is not below it. */
extern const uint8_t io_latency_first[64];

static inline unsigned io_latency_bucket(uint64_t usec) {
        unsigned i = io_latency_first[63 - __builtin_clzll(usec | 1)];

        return i + (usec > io_latency_bounds[i]);
}

static inline void io_latency_count(struct io_latency *latency, uint64_t usec) {
        latency->sum_usec += usec;
        latency->counts[io_latency_bucket(usec)]++;
}

void io_stats_end_stall(struct io_stats *stats, uint64_t usec);

static inline void io_stats_accepted(struct io_stats *stats, uint64_t now_usec) {
        if (stats->in_flight++ == 0)
                stats->progress_usec = now_usec;
}

/* Answered, or given up because nobody wants the answer any more. */
static inline void io_stats_left(struct io_stats *stats, uint64_t now_usec) {
        uint64_t waited = now_usec - stats->progress_usec;

        stats->in_flight--;
        stats->progress_usec = now_usec;
        if (__builtin_expect(waited > IO_STALL_USEC, 0))
                io_stats_end_stall(stats, waited);
}

/* For how long nothing has been answered by now, when that is a stall; else 0. */
uint64_t io_stats_stalled_usec(const struct io_stats *stats, uint64_t now_usec);
