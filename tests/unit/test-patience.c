/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* No proxy, and I/O has waited for a while: only both together are "parked". */

#include "test.h"
#include "cleanup.h"
#include "patience.h"

static unsigned n_over;

static void on_over(void *userdata) {
        n_over++;
}

static void begin(struct patience *p, sd_event *event, uint64_t limit_usec) {
        *p = (struct patience){ .event = event, .limit_usec = limit_usec, .over = on_over };
        n_over = 0;
}

static void a_loss_is_a_reconnect_first(void) {
        struct patience p;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        begin(&p, event, 1000);
        ASSERT_EQ(patience_observe(&p, POOL_ATTACHED), POOL_ATTACHED);
        ASSERT_EQ(patience_observe(&p, POOL_RECONNECTING), POOL_RECONNECTING);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_RECONNECTING);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_RECONNECTING);
        while (n_over == 0)
                ASSERT_OK(sd_event_run(event, UINT64_MAX));
        ASSERT_EQ(n_over, 1U);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_PARKED);
        /* A proxy that is being asked does not make it new. */
        ASSERT_EQ(patience_observe(&p, POOL_RECONNECTING), POOL_RECONNECTING);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_PARKED);
        /* One that lets us in does. */
        ASSERT_EQ(patience_observe(&p, POOL_ATTACHED), POOL_ATTACHED);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_RECONNECTING);
        patience_done(&p);
        sd_event_unref(event);
}

static void nothing_is_said_when_it_was_short(void) {
        struct patience p;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        begin(&p, event, 1000);
        ASSERT_EQ(patience_observe(&p, POOL_PARKED), POOL_RECONNECTING);
        ASSERT_EQ(patience_observe(&p, POOL_ATTACHED), POOL_ATTACHED);
        ASSERT_TRUE(!p.timer);
        ASSERT_EQ(n_over, 0U);
        sd_event_unref(event);
}

static void other_states_are_shown_as_they_are(void) {
        struct patience p = { 0 };

        for (enum pool_state state = 0; state < _POOL_STATE_MAX; state++)
                if (state != POOL_RECONNECTING && state != POOL_PARKED)
                        ASSERT_EQ(patience_observe(&p, state), state);
        ASSERT_TRUE(!p.timer);
}

TEST_MAIN(TEST(a_loss_is_a_reconnect_first), TEST(nothing_is_said_when_it_was_short),
        TEST(other_states_are_shown_as_they_are));
