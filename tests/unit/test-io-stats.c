/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "io-stats.h"
#include "test.h"

/* Found by the table is what is found by looking at one bound after the other. */
static unsigned bucket_of(uint64_t usec) {
        unsigned i = 0;

        while (usec > io_latency_bounds[i])
                i++;
        return i;
}

static void buckets(void) {
        for (unsigned i = 0; i + 1 < IO_LATENCY_BUCKETS; i++) {
                ASSERT_TRUE(io_latency_bounds[i] < io_latency_bounds[i + 1]);
                /* A bound is in its bucket. */
                ASSERT_EQ(io_latency_bucket(io_latency_bounds[i]), i);
                ASSERT_EQ(io_latency_bucket(io_latency_bounds[i] + 1), i + 1);
        }
        ASSERT_EQ(io_latency_bounds[IO_LATENCY_BUCKETS - 1], UINT64_MAX);
        for (uint64_t usec = 0; usec < 3000000; usec++)
                ASSERT_EQ(io_latency_bucket(usec), bucket_of(usec));
        for (unsigned bit = 0; bit < 64; bit++)
                for (int64_t d = -1; d <= 1; d++) {
                        uint64_t usec = (UINT64_C(1) << bit) + (uint64_t) d;

                        ASSERT_EQ(io_latency_bucket(usec), bucket_of(usec));
                }
        ASSERT_EQ(io_latency_bucket(UINT64_MAX), IO_LATENCY_BUCKETS - 1);
}

static void sum(void) {
        struct io_latency latency = {};

        io_latency_count(&latency, 50);
        io_latency_count(&latency, 51);
        io_latency_count(&latency, 60000000);
        ASSERT_EQ(latency.sum_usec, 60000101U);
        ASSERT_EQ(latency.counts[0], 1U);
        ASSERT_EQ(latency.counts[1], 1U);
        ASSERT_EQ(latency.counts[IO_LATENCY_BUCKETS - 1], 1U);
}

/* A stall is a time without an answer, not a slow request. */
static void stalls(void) {
        struct io_stats stats = {};
        uint64_t now = 1000U * 1000U * 1000U;

        /* Nobody waits for long. */
        ASSERT_EQ(io_stats_stalled_usec(&stats, now), 0U);
        io_stats_accepted(&stats, now);
        ASSERT_EQ(io_stats_stalled_usec(&stats, now + IO_STALL_USEC), 0U);
        ASSERT_EQ(io_stats_stalled_usec(&stats, now + IO_STALL_USEC + 1), IO_STALL_USEC + 1U);
        io_stats_left(&stats, now + IO_STALL_USEC);
        ASSERT_EQ(stats.stalls, 0U);

        /* Idle time is none. */
        now += 100U * IO_STALL_USEC;
        ASSERT_EQ(io_stats_stalled_usec(&stats, now), 0U);
        io_stats_accepted(&stats, now);
        ASSERT_EQ(io_stats_stalled_usec(&stats, now), 0U);

        /* Two wait, one is answered now and then: the other is slow, and nothing stalls. */
        io_stats_accepted(&stats, now);
        for (unsigned i = 0; i < 5; i++) {
                now += IO_STALL_USEC / 2;
                io_stats_left(&stats, now);
                io_stats_accepted(&stats, now);
        }
        ASSERT_EQ(stats.stalls, 0U);

        /* Three wait: one stall, not three. */
        io_stats_accepted(&stats, now);
        ASSERT_EQ(io_stats_stalled_usec(&stats, now + 3U * IO_STALL_USEC), 3U * IO_STALL_USEC);
        now += 4U * IO_STALL_USEC;
        for (unsigned i = 0; i < 3; i++)
                io_stats_left(&stats, now);
        ASSERT_EQ(stats.in_flight, 0U);
        ASSERT_EQ(stats.stalls, 1U);
        ASSERT_EQ(stats.longest_stall_usec, 4U * IO_STALL_USEC);

        /* A shorter one leaves the longest as it was. */
        io_stats_accepted(&stats, now);
        io_stats_left(&stats, now + 2U * IO_STALL_USEC);
        ASSERT_EQ(stats.stalls, 2U);
        ASSERT_EQ(stats.longest_stall_usec, 4U * IO_STALL_USEC);
}

TEST_MAIN(TEST(buckets), TEST(sum), TEST(stalls));
