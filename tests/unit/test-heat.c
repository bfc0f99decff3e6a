/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where an image is used: what is counted where, what is left of it later, and what a reader makes of a map that is none. */

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heat.h"
#include "test.h"

#define BEGAN 1000000000U
#define SIZE  (1024U * 65536U) /* a bucket is 64 KiB */

static struct heat_picture picture;

static void look(const struct heat *heat, uint64_t now_usec) {
        ASSERT_OK(heat_map_check(heat->fd));
        ASSERT_OK(heat_map_read(heat->fd, now_usec, &picture));
}

#define ASSERT_COUNT(value, expected) ASSERT_TRUE(fabs((value) - (expected)) < 0.01 * (expected) + 1e-6)

static double sum(const double *counts) {
        double result = 0;

        for (unsigned i = 0; i < HEAT_BUCKETS; i++)
                result += counts[i];
        return result;
}

static void where(void) {
        _cleanup_(heat_freep) struct heat *heat = NULL;

        ASSERT_OK(heat_new(&heat));
        heat_count(heat, true, 0, 4096, BEGAN); /* of no size: nowhere */
        heat_set_size(heat, SIZE, BEGAN);
        heat_count(heat, false, 0, 4096, BEGAN);
        heat_count(heat, false, 65535, 1, BEGAN);
        heat_count(heat, false, 65535, 2, BEGAN);
        heat_count(heat, true, SIZE - 512, 512, BEGAN);
        heat_count(heat, true, 10 * 65536, 3 * 65536, BEGAN);
        heat_count(heat, true, 20 * 65536, 0, BEGAN);
        heat_count(heat, true, SIZE, 4096, BEGAN); /* nobody lets that through, and it harms nothing */
        look(heat, BEGAN);
        ASSERT_EQ(picture.size, SIZE);
        ASSERT_COUNT(picture.reads[0], 3.0);
        ASSERT_COUNT(picture.reads[1], 1.0);
        ASSERT_COUNT(sum(picture.reads), 4.0);
        for (unsigned i = 10; i < 13; i++)
                ASSERT_COUNT(picture.writes[i], 1.0);
        ASSERT_COUNT(picture.writes[1023], 2.0);
        ASSERT_COUNT(sum(picture.writes), 5.0);
}

/* Also of sizes that 1024 does not divide: every byte is in one bucket, in order. */
static void odd_sizes(void) {
        static const uint64_t sizes[] = { 512, 4096, 1000 * 512, 12345 * 512, (1ULL << 62) };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                _cleanup_(heat_freep) struct heat *heat = NULL;

                ASSERT_OK(heat_new(&heat));
                heat_set_size(heat, sizes[i], BEGAN);
                heat_count(heat, false, 0, 512, BEGAN);
                heat_count(heat, false, sizes[i] - 512, 512, BEGAN);
                look(heat, BEGAN);
                ASSERT_TRUE(picture.reads[0] >= 1);
                ASSERT_TRUE(picture.reads[1023] >= 1);
        }
}

static void fades(void) {
        _cleanup_(heat_freep) struct heat *heat = NULL;

        ASSERT_OK(heat_new(&heat));
        heat_set_size(heat, SIZE, BEGAN);
        for (unsigned i = 0; i < 1000; i++)
                heat_count(heat, false, 0, 4096, BEGAN);
        look(heat, BEGAN);
        ASSERT_COUNT(picture.reads[0], 1000.0);
        look(heat, BEGAN + HEAT_HALF_LIFE_USEC);
        ASSERT_COUNT(picture.reads[0], 500.0);
        look(heat, BEGAN - 5); /* the reader's clock is not ahead of the writer's */
        ASSERT_COUNT(picture.reads[0], 1000.0);

        /* A new access weighs as much as ever, whenever it comes. */
        heat_count(heat, false, 0, 4096, BEGAN + 2ULL * HEAT_HALF_LIFE_USEC);
        look(heat, BEGAN + 2ULL * HEAT_HALF_LIFE_USEC);
        ASSERT_COUNT(picture.reads[0], 251.0);
}

/* Days of it: the numbers stay what they are, also where all of them are divided. */
static void for_days(void) {
        _cleanup_(heat_freep) struct heat *heat = NULL;
        uint64_t now = BEGAN;

        ASSERT_OK(heat_new(&heat));
        heat_set_size(heat, SIZE, BEGAN);
        for (unsigned i = 0; i < 3 * 24 * 60; i++, now += 60000000)
                heat_count(heat, true, 5 * 65536, 4096, now);
        look(heat, now);
        /* One a minute, and each half as much every five: 1 / (2^(1/5) - 1). */
        ASSERT_COUNT(picture.writes[5], 6.725);
        ASSERT_TRUE(isfinite(heat->map->weight) && heat->map->weight < 1e31);

        heat_count(heat, true, 7 * 65536, 4096, now + 100ULL * HEAT_HALF_LIFE_USEC);
        look(heat, now + 100ULL * HEAT_HALF_LIFE_USEC);
        ASSERT_TRUE(picture.writes[5] < 1e-6);
        ASSERT_COUNT(picture.writes[7], 1.0);
}

static void another_size_begins_anew(void) {
        _cleanup_(heat_freep) struct heat *heat = NULL;

        ASSERT_OK(heat_new(&heat));
        heat_set_size(heat, SIZE, BEGAN);
        heat_count(heat, true, 0, 4096, BEGAN);
        heat_set_size(heat, SIZE, BEGAN);
        look(heat, BEGAN);
        ASSERT_COUNT(sum(picture.writes), 1.0);
        heat_set_size(heat, 2ULL * SIZE, BEGAN);
        look(heat, BEGAN);
        ASSERT_EQ(picture.size, 2ULL * SIZE);
        ASSERT_EQ(sum(picture.writes) == 0, true);
}

/* A worker is not believed. */
static void lies(void) {
        _cleanup_(heat_freep) struct heat *heat = NULL;
        int fds[2], small;

        ASSERT_OK(heat_new(&heat));
        heat_set_size(heat, SIZE, BEGAN);
        heat->map->reads[0] = NAN;
        heat->map->reads[1] = -1;
        heat->map->reads[2] = INFINITY;
        heat->map->reads[3] = 1e300;
        look(heat, BEGAN);
        for (unsigned i = 0; i < 3; i++)
                ASSERT_EQ(picture.reads[i] == 0, true);
        ASSERT_TRUE(picture.reads[3] <= 1e18);
        heat->map->weight = 0;
        heat->map->writes[0] = 1;
        look(heat, BEGAN);
        ASSERT_TRUE(isfinite(sum(picture.writes)));
        heat->map->changing++;
        ASSERT_ERROR(heat_map_read(heat->fd, BEGAN, &picture), EAGAIN);
        heat->map->changing++;
        heat->map->magic++;
        ASSERT_ERROR(heat_map_read(heat->fd, BEGAN, &picture), EBADMSG);

        ASSERT_EQ(pipe2(fds, 0), 0);
        ASSERT_ERROR(heat_map_check(fds[0]), EINVAL);
        safe_close(fds[0]);
        safe_close(fds[1]);
        small = memfd_create("x", MFD_ALLOW_SEALING);
        ASSERT_TRUE(small >= 0);
        ASSERT_ERROR(heat_map_check(small), EINVAL);
        ASSERT_EQ(ftruncate(small, sizeof(struct heat_map)), 0);
        ASSERT_ERROR(heat_map_check(small), EINVAL); /* it could be cut short */
        safe_close(small);
}

TEST_MAIN(TEST(where), TEST(odd_sizes), TEST(fades), TEST(for_days), TEST(another_size_begins_anew), TEST(lies));
