/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Limits of an image: what they let through, counted on a clock of the test's own; and waiting for one's turn. */

#include "container-of.h"
#include "image-limit.h"
#include "on-ring.h"

/* How many requests of so many bytes begin within the time, when somebody always has one more. */
static unsigned greedy(struct image_limit *limit, uint64_t from_usec, uint64_t usec, uint64_t bytes) {
        uint64_t now = from_usec, start;
        unsigned n = 0;

        while (now < from_usec + usec) {
                if (image_limit_admit(limit, now, bytes, &start) < 0) {
                        now += 1000;
                        continue;
                }
                ASSERT_TRUE(start >= now && start <= now + IMAGE_LIMIT_WAIT_USEC);
                n += start < from_usec + usec;
        }
        return n;
}

static void requests(void) {
        struct image_limit *limit = image_limit_new();
        uint64_t start;

        ASSERT_FALSE(image_limit_is_on(limit));
        image_limit_set(limit, &(const struct store_limits){ .iops = 100, .burst_usec = 1000000 });
        ASSERT_TRUE(image_limit_is_on(limit));
        /* A burst of a second, and then the rate. */
        ASSERT_EQ(greedy(limit, 10000000, 10000000, 4096), 1100U);
        /* Nothing was saved up meanwhile, since the rate was used. */
        ASSERT_OK(image_limit_admit(limit, 22000000, 4096, &start));
        ASSERT_EQ(start, 22000000U);
        ASSERT_TRUE(limit->n_refused > 0 && limit->n_delayed > 0);
        image_limit_free(limit);
}

static void bandwidth(void) {
        struct image_limit *limit = image_limit_new();
        uint64_t start;
        unsigned n;

        image_limit_set(limit, &(const struct store_limits){ .bandwidth = 1000000, .burst_usec = 100000 });
        n = greedy(limit, 1000000, 10000000, 10000);
        ASSERT_TRUE(n >= 1000 && n <= 1012);

        /* What is larger than the bucket goes all the same, and what comes behind it pays. */
        image_limit_set(limit, &(const struct store_limits){ .bandwidth = 1000000, .burst_usec = 100001 });
        ASSERT_OK(image_limit_admit(limit, 50000000, 32000000, &start));
        ASSERT_EQ(start, 50000000U);
        ASSERT_ERROR(image_limit_admit(limit, 51000000, 1, &start), EAGAIN);
        ASSERT_ERROR(image_limit_admit(limit, 81000000, 1, &start), EAGAIN);
        ASSERT_OK(image_limit_admit(limit, 81600000, 1, &start));
        ASSERT_TRUE(start > 81600000 && start <= 81900000);

        /* Requests without data cost nothing of it, and no limit is none. */
        ASSERT_OK(image_limit_admit(limit, 51000000, 0, &start));
        ASSERT_EQ(start, 51000000U);
        image_limit_set(limit, &(const struct store_limits){});
        for (unsigned i = 0; i < 1000; i++) {
                ASSERT_OK(image_limit_admit(limit, 51000000, 1U << 20, &start));
                ASSERT_EQ(start, 51000000U);
        }
        image_limit_free(limit);
}

static void both(void) {
        struct image_limit *limit = image_limit_new();
        unsigned n;

        image_limit_set(limit, &(const struct store_limits){ .iops = 1000, .bandwidth = 1000000, .burst_usec = 1000 });
        n = greedy(limit, 1000000, 10000000, 512);
        ASSERT_TRUE(n >= 9999 && n <= 10010);
        image_limit_set(limit, &(const struct store_limits){ .iops = 1000, .bandwidth = 1000000, .burst_usec = 1001 });
        n = greedy(limit, 30000000, 10000000, 4000);
        ASSERT_TRUE(n >= 2499 && n <= 2510);
        /* No arithmetic runs over. */
        image_limit_set(limit,
                &(const struct store_limits){ .iops = UINT64_C(1) << 50, .bandwidth = 1, .burst_usec = 3600000000U });
        n = greedy(limit, UINT64_C(1) << 42, 1000000, 1U << 25);
        ASSERT_EQ(n, 1U);
        image_limit_free(limit);
}

struct waited {
        struct image_limit_waiter waiter;
        unsigned *order, place;
};

static void go(struct image_limit_waiter *waiter) {
        struct waited *waited = CONTAINER_OF(waiter, struct waited, waiter);

        waited->place = ++*waited->order;
}

static void turns(void) {
        struct image_limit *limit = image_limit_new();
        struct ring *ring = ring_with_watchman();
        struct waited waited[8] = {};
        unsigned order = 0;

        image_limit_set(limit, &(const struct store_limits){ .iops = 100, .burst_usec = 10000 });
        for (unsigned i = 0; i < ELEMENTSOF(waited); i++) {
                waited[i].waiter.go = go;
                waited[i].order = &order;
                ASSERT_OK(image_limit_admit(limit, ring_now_usec(ring), 1, &waited[i].waiter.start_usec));
                if (waited[i].waiter.start_usec > ring_now_usec(ring))
                        image_limit_wait(limit, ring, &waited[i].waiter);
                else
                        go(&waited[i].waiter);
        }
        ASSERT_TRUE(order >= 1 && order <= 2);
        RUN_UNTIL(ring, order == ELEMENTSOF(waited));
        for (unsigned i = 0; i < ELEMENTSOF(waited); i++)
                ASSERT_EQ(waited[i].place, i + 1);

        /* The limit is lifted: nobody waits for what was. */
        order = 0;
        image_limit_set(limit, &(const struct store_limits){ .iops = 3, .burst_usec = 1000 });
        for (unsigned i = 0; i < 2; i++) {
                ASSERT_OK(image_limit_admit(limit, ring_now_usec(ring), 1, &waited[i].waiter.start_usec));
                waited[i].waiter.start_usec += UINT64_C(3600) * 1000000;
                image_limit_wait(limit, ring, &waited[i].waiter);
        }
        image_limit_set(limit, &(const struct store_limits){});
        RUN_UNTIL(ring, order == 2);
        image_limit_free(limit);
        ring_free(ring);
}

TEST_MAIN(TEST(requests), TEST(bandwidth), TEST(both), TEST(turns));
