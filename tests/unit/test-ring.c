/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdlib.h>
#include <unistd.h>

#include "on-ring.h"

#define HOUR_USEC (UINT64_C(3600) * 1000U * 1000U)

struct alarm {
        struct ring_timer timer;
        unsigned n_expired, n_stopped;
        uint64_t expired_usec;
        unsigned again; /* how often it is set anew when it expires */
};

static void on_expired(struct ring_timer *timer) {
        struct alarm *alarm = (struct alarm *) timer;

        alarm->n_expired++;
        alarm->expired_usec = ring_now_usec(timer->ring);
        if (alarm->again > 0) {
                alarm->again--;
                ring_timer_set(timer, 100);
        }
}

static void on_stopped(struct ring_timer *timer) {
        ((struct alarm *) timer)->n_stopped++;
}

static void alarm_init(struct alarm *alarm, struct ring *ring) {
        *alarm = (struct alarm){};
        ring_timer_init(&alarm->timer, ring, on_expired);
        alarm->timer.stopped = on_stopped;
}

static void timer_set(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm alarm;
        uint64_t deadline;

        alarm_init(&alarm, ring);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
        ring_timer_set(&alarm.timer, 2000);
        ASSERT_FALSE(ring_timer_is_idle(&alarm.timer));
        deadline = alarm.timer.deadline_usec;
        RUN_UNTIL(ring, alarm.n_expired > 0);
        ASSERT_TRUE(alarm.expired_usec >= deadline);

        run_what_is_due(ring);
        ASSERT_EQ(alarm.n_expired, 1U);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
}

static void timer_pushed_back(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm alarm;
        uint64_t deadline;

        alarm_init(&alarm, ring);
        do {
                alarm.n_expired = 0;
                ring_timer_set(&alarm.timer, 1000);
                ASSERT_OK(ring_step(ring, false));
        } while (alarm.n_expired > 0); /* this process may have had no processor for so long */
        ring_timer_set(&alarm.timer, 30000);
        deadline = alarm.timer.deadline_usec;
        RUN_UNTIL(ring, alarm.n_expired > 0);
        ASSERT_TRUE(alarm.expired_usec >= deadline);
        run_what_is_due(ring);
        ASSERT_EQ(alarm.n_expired, 1U);
}

static void timer_pulled_forward(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm alarm;

        alarm_init(&alarm, ring);
        ring_timer_set(&alarm.timer, HOUR_USEC);
        ASSERT_OK(ring_step(ring, false));
        ring_timer_set(&alarm.timer, 1000);
        RUN_UNTIL(ring, alarm.n_expired > 0); /* else the watchman comes first */

        /* The same without the kernel having seen the first time. */
        ring_timer_set(&alarm.timer, HOUR_USEC);
        ring_timer_set(&alarm.timer, 1000);
        RUN_UNTIL(ring, alarm.n_expired > 1);
        RUN_UNTIL(ring, ring_timer_is_idle(&alarm.timer));
        ASSERT_EQ(alarm.n_expired, 2U);
}

static void timer_unset(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm alarm;

        alarm_init(&alarm, ring);
        ring_timer_unset(&alarm.timer); /* never set: nothing to stop, nothing to be told */
        run_what_is_due(ring);
        ASSERT_EQ(alarm.n_stopped, 0U);

        ring_timer_set(&alarm.timer, HOUR_USEC);
        ASSERT_OK(ring_step(ring, false));
        ring_timer_unset(&alarm.timer);
        ring_timer_unset(&alarm.timer);
        ASSERT_FALSE(ring_timer_is_idle(&alarm.timer));
        RUN_UNTIL(ring, alarm.n_stopped > 0);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
        run_what_is_due(ring);
        ASSERT_EQ(alarm.n_stopped, 1U);
        ASSERT_EQ(alarm.n_expired, 0U);

        /* Unset and set again before the kernel has heard of either. */
        ring_timer_set(&alarm.timer, HOUR_USEC);
        ring_timer_unset(&alarm.timer);
        ring_timer_set(&alarm.timer, 1000);
        RUN_UNTIL(ring, alarm.n_expired > 0);
        RUN_UNTIL(ring, ring_timer_is_idle(&alarm.timer));
        ASSERT_EQ(alarm.n_expired, 1U);
}

static void timer_set_again_when_expired(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm alarm;

        alarm_init(&alarm, ring);
        alarm.again = 20;
        ring_timer_set(&alarm.timer, 0);
        RUN_UNTIL(ring, alarm.n_expired == 21);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
}

static unsigned n_freed;

static void free_alarm(struct ring_timer *timer) {
        ASSERT_TRUE(ring_timer_is_idle(timer));
        free(timer);
        n_freed++;
}

/* The address sanitizer sees whatever still refers to one that was freed. */
static void timers_freed_when_idle(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct alarm *alarms[100];

        n_freed = 0;
        for (size_t i = 0; i < ELEMENTSOF(alarms); i++) {
                alarms[i] = malloc(sizeof(*alarms[i]));
                ASSERT_TRUE(alarms[i]);
                alarm_init(alarms[i], ring);
                alarms[i]->timer.stopped = free_alarm;
                ring_timer_set(&alarms[i]->timer, HOUR_USEC);
                if (i % 2)
                        ring_timer_set(&alarms[i]->timer, HOUR_USEC / 2);
                if (i % 3 == 0)
                        ASSERT_OK(ring_step(ring, false));
        }
        for (size_t i = 0; i < ELEMENTSOF(alarms); i++)
                ring_timer_unset(&alarms[i]->timer);
        RUN_UNTIL(ring, n_freed == ELEMENTSOF(alarms));
        run_what_is_due(ring);
}

struct job {
        struct ring_deferred deferred;
        struct ring *ring;
        struct ring_deferred *next; /* deferred by this one */
        unsigned again, n;
        bool stops;
};

static char order[32];

static void run_job(struct ring_deferred *deferred) {
        struct job *job = (struct job *) deferred;

        job->n++;
        if (job->again > 0) {
                job->again--;
                ring_defer(job->ring, deferred);
        }
        if (job->next)
                ring_defer(job->ring, job->next);
        if (job->stops)
                ring_stop(job->ring);
}

static void note_a(struct ring_deferred *deferred) {
        strcat(order, "a");
}

static void note_b(struct ring_deferred *deferred) {
        strcat(order, "b");
}

static void deferred_work(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct ring_deferred a = { .run = note_a }, b = { .run = note_b };
        struct job job = { .deferred.run = run_job, .ring = ring, .again = 3, .next = &b };

        order[0] = 0;
        ring_defer(ring, &b);
        ring_defer(ring, &a);
        ring_defer(ring, &b); /* is queued already */
        ASSERT_STREQ(order, "");
        ASSERT_OK(ring_step(ring, false));
        ASSERT_STREQ(order, "ba");
        ASSERT_OK(ring_step(ring, false));
        ASSERT_STREQ(order, "ba");

        ring_defer(ring, &a);
        ring_defer(ring, &b);
        ring_undefer(ring, &a);
        ring_undefer(ring, &a);
        ASSERT_OK(ring_step(ring, false));
        ASSERT_STREQ(order, "bab");

        /* What is deferred meanwhile belongs to the same round. */
        ring_defer(ring, &job.deferred);
        ASSERT_OK(ring_step(ring, false));
        ASSERT_EQ(job.n, 4U);
        ASSERT_FALSE(job.deferred.queued);
        ASSERT_STREQ(order, "babbb");
}

static void stopped_by_deferred_work(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct job stopper = { .deferred.run = run_job, .ring = ring, .stops = true };
        struct alarm alarm;

        alarm_init(&alarm, ring);
        ring_timer_set(&alarm.timer, HOUR_USEC); /* the one thing in the kernel that a wait would end with */
        ring_defer(ring, &stopper.deferred);
        ASSERT_OK(ring_run(ring));
        ASSERT_EQ(stopper.n, 1U);

        /* And it can be run again. */
        ring_defer(ring, &stopper.deferred);
        ASSERT_OK(ring_run(ring));
        ASSERT_EQ(stopper.n, 2U);
}

struct transfer {
        struct ring_op op;
        unsigned n_done;
        int32_t res;
};

static void transfer_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct transfer *transfer = (struct transfer *) op;

        transfer->n_done++;
        transfer->res = res;
}

static void cancelled(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct transfer transfer = { .op.done = transfer_done };
        struct io_uring_sqe *sqe;
        int fds[2];
        char byte;

        ASSERT_OK(pipe(fds));

        sqe = ring_get_sqe(ring);
        io_uring_prep_read(sqe, fds[0], &byte, 1, 0);
        ring_sqe_set_op(sqe, &transfer.op);
        run_what_is_due(ring);
        ASSERT_EQ(transfer.n_done, 0U);

        ring_cancel(ring, &transfer.op);
        RUN_UNTIL(ring, transfer.n_done > 0);
        ASSERT_EQ(transfer.res, -ECANCELED);

        /* Nothing of it is left: what comes now is not taken by anybody. */
        ASSERT_EQ(write(fds[1], "x", 1), 1);
        run_what_is_due(ring);
        ASSERT_EQ(transfer.n_done, 1U);
        ASSERT_EQ(read(fds[0], &byte, 1), 1);

        /* Too late, or never there: no harm. */
        ring_cancel(ring, &transfer.op);
        run_what_is_due(ring);
        ASSERT_EQ(transfer.n_done, 1U);

        close(fds[0]);
        close(fds[1]);
}

static void more_than_the_queue_holds(void) {
        struct transfer transfers[500] = {};
        struct ring *ring;
        unsigned n = 0;

        ASSERT_OK(ring_new(&ring, 4));
        for (size_t i = 0; i < ELEMENTSOF(transfers); i++) {
                struct io_uring_sqe *sqe = ring_get_sqe(ring);

                transfers[i].op.done = transfer_done;
                io_uring_prep_nop(sqe);
                ring_sqe_set_op(sqe, &transfers[i].op);
        }
        for (unsigned step = 0; step < 500 && n < ELEMENTSOF(transfers); step++) {
                ASSERT_OK(ring_step(ring, false));
                n = 0;
                for (size_t i = 0; i < ELEMENTSOF(transfers); i++)
                        n += transfers[i].n_done;
        }
        ASSERT_EQ(n, ELEMENTSOF(transfers));
        for (size_t i = 0; i < ELEMENTSOF(transfers); i++)
                ASSERT_EQ(transfers[i].n_done, 1U);
        ring_free(ring);
}

static void features(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();

        ASSERT_TRUE(ring_supports(ring, IORING_OP_RECVMSG));
        ASSERT_FALSE(ring_supports(ring, 250));
        ASSERT_TRUE(ring_uring(ring)->ring_fd >= 0);
        ASSERT_TRUE(ring_free(NULL) == NULL);
}

struct ticker {
        struct ring_op op;
        unsigned n;
};

static void on_tick(struct ring_op *op, int32_t res, uint32_t flags) {
        ((struct ticker *) op)->n++;
}

static void queue_nop(struct ring *ring, struct ring_op *op) {
        struct io_uring_sqe *sqe = ring_get_sqe(ring);

        io_uring_prep_nop(sqe);
        ring_sqe_set_op(sqe, op);
}

/* Enough short waits for the ring to expect the next one to be short, too. */
static void teach_to_look(struct ring *ring, struct ticker *ticker) {
        ring_set_busy_poll(ring, 1000);
        for (unsigned i = 1; i <= 64; i++) {
                queue_nop(ring, &ticker->op);
                ASSERT_OK(ring_step(ring, true));
                ASSERT_EQ(ticker->n, i);
        }
}

/* It looks for something that is not there, sleeps, and still gets what comes late. */
static void looks_before_it_sleeps(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct ticker ticker = { .op.done = on_tick };
        struct alarm alarm;
        int fds[2];

        teach_to_look(ring, &ticker);
        alarm_init(&alarm, ring);
        ring_timer_set(&alarm.timer, 20000);
        while (alarm.n_expired == 0)
                ASSERT_OK(ring_step(ring, true));

        /* What the kernel completes while nobody waits in it: a read that ends by a write from here, in a step that does not sleep. */
        ASSERT_EQ(pipe(fds), 0);
        for (unsigned i = 1; i <= 64; i++) {
                struct io_uring_sqe *sqe = ring_get_sqe(ring);
                char byte;

                io_uring_prep_read(sqe, fds[0], &byte, 1, 0);
                ring_sqe_set_op(sqe, &ticker.op);
                ASSERT_OK(ring_step(ring, false));
                ASSERT_EQ(ticker.n, 63 + i);
                ASSERT_EQ(write(fds[1], "x", 1), 1);
                ASSERT_OK(ring_step(ring, true));
                ASSERT_EQ(ticker.n, 64 + i);
        }
        close(fds[0]);
        close(fds[1]);
        run_what_is_due(ring);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
}

static void on_noted(struct ring_op *op, int32_t res, uint32_t flags) {
        strcat(order, "o");
}

static void lingers_only_while_it_looks(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct ring_deferred a = { .run = note_a }, b = { .run = note_b };
        struct ticker ticker = { .op.done = on_tick };
        struct ring_op noted = { .done = on_noted };
        struct alarm alarm;

        order[0] = 0;
        ring_linger(ring, &a);
        queue_nop(ring, &noted);
        ASSERT_OK(ring_step(ring, true));
        ASSERT_STREQ(order, "ao");

        /* What is there already is taken first. */
        teach_to_look(ring, &ticker);
        ring_linger(ring, &a);
        ring_linger(ring, &a);
        queue_nop(ring, &noted);
        ASSERT_OK(ring_step(ring, true));
        ASSERT_STREQ(order, "aoo");

        /* And when nothing comes, it is done before the ring sleeps: a timer is all that can wake it here. */
        alarm_init(&alarm, ring);
        ring_linger(ring, &b);
        do {
                alarm.n_expired = 0;
                ring_timer_set(&alarm.timer, 20000);
                while (alarm.n_expired == 0)
                        ASSERT_OK(ring_step(ring, true));
        } while (b.lingering); /* it has not slept, when the timer was over before it could */
        ASSERT_STREQ(order, "aooab");
        ASSERT_FALSE(a.lingering || a.queued || b.lingering || b.queued);

        teach_to_look(ring, &(struct ticker){ .op.done = on_tick });
        ring_linger(ring, &a);
        ring_linger(ring, &b);
        ring_undefer(ring, &a);
        ring_defer(ring, &b);
        ASSERT_OK(ring_step(ring, false));
        ASSERT_STREQ(order, "aooabb");
        run_what_is_due(ring);
        ASSERT_TRUE(ring_timer_is_idle(&alarm.timer));
}

static void stopped_by_what_lingers(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct job stopper = { .deferred.run = run_job, .ring = ring, .stops = true };
        struct ticker ticker = { .op.done = on_tick };
        struct alarm alarm;

        alarm_init(&alarm, ring);
        ring_timer_set(&alarm.timer, HOUR_USEC);
        ring_linger(ring, &stopper.deferred);
        ASSERT_OK(ring_run(ring));
        ASSERT_EQ(stopper.n, 1U);

        teach_to_look(ring, &ticker);
        ring_linger(ring, &stopper.deferred);
        ASSERT_OK(ring_run(ring));
        ASSERT_EQ(stopper.n, 2U);
}

TEST_MAIN(TEST(timer_set), TEST(timer_pushed_back), TEST(timer_pulled_forward), TEST(timer_unset),
        TEST(timer_set_again_when_expired), TEST(timers_freed_when_idle), TEST(deferred_work),
        TEST(stopped_by_deferred_work), TEST(cancelled), TEST(more_than_the_queue_holds), TEST(features),
        TEST(looks_before_it_sleeps), TEST(lingers_only_while_it_looks), TEST(stopped_by_what_lingers));
