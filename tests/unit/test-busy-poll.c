/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "busy-poll.h"
#include "test.h"

#define BOUND 100U

static void learn(struct busy_poll *poll, unsigned n, uint64_t usec, bool slept) {
        for (unsigned i = 0; i < n; i++)
                busy_poll_learn(poll, usec, slept);
}

static void without_a_past_it_sleeps(void) {
        struct busy_poll poll = { .bound_usec = BOUND };

        ASSERT_FALSE(busy_poll_pays(&poll));
        learn(&poll, 11, 50, true);
        ASSERT_FALSE(busy_poll_pays(&poll));
        learn(&poll, 1, 50, true);
        ASSERT_TRUE(busy_poll_pays(&poll));
}

/* Sleeping takes longer than looking for the same event. */
static void a_sleep_may_take_twice_the_bound(void) {
        struct busy_poll poll = { .bound_usec = BOUND };

        learn(&poll, 16, 2 * BOUND, true);
        ASSERT_TRUE(busy_poll_pays(&poll));
        learn(&poll, 16, 2 * BOUND + 1, true);
        ASSERT_FALSE(busy_poll_pays(&poll));
        learn(&poll, 16, BOUND, false);
        ASSERT_TRUE(busy_poll_pays(&poll));
        learn(&poll, 16, BOUND + 1, false);
        ASSERT_FALSE(busy_poll_pays(&poll));
}

static void five_looks_in_vain_are_the_last(void) {
        struct busy_poll poll = { .bound_usec = BOUND };
        unsigned looks = 0;

        learn(&poll, 1000, 10, false);
        while (busy_poll_pays(&poll)) {
                ASSERT_TRUE(++looks <= 5);
                busy_poll_learn(&poll, BOUND + 3, false);
        }
        ASSERT_EQ(looks, 5U);
}

/* One request every now and then: its answer comes soon, the next request does not. */
static void a_request_now_and_then_is_slept_for(void) {
        struct busy_poll poll = { .bound_usec = BOUND };

        for (unsigned i = 0; i < 1000; i++) {
                busy_poll_learn(&poll, 50, true);
                busy_poll_learn(&poll, 10 * BOUND, true);
                ASSERT_FALSE(busy_poll_pays(&poll));
        }
}

static void switched_off_it_never_looks(void) {
        struct busy_poll poll = {};

        learn(&poll, 100, 0, true);
        learn(&poll, 100, 0, false);
        ASSERT_FALSE(busy_poll_pays(&poll));
}

TEST_MAIN(TEST(without_a_past_it_sleeps), TEST(a_sleep_may_take_twice_the_bound),
        TEST(five_looks_in_vain_are_the_last), TEST(a_request_now_and_then_is_slept_for),
        TEST(switched_off_it_never_looks));
