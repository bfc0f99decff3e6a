/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Timers of a ring. Most are time-outs that are pushed back with each sign of life and never expire, so pushing back costs no submission: the
 * kernel's timer is left at its earlier time, and when it fires too early it is set again for the rest. */

#include <errno.h>

#include "container-of.h"
#include "ring.h"

static void set_when(struct ring_timer *timer) {
        timer->when.tv_sec = (long long) (timer->deadline_usec / 1000000U);
        timer->when.tv_nsec = (long long) (timer->deadline_usec % 1000000U) * 1000;
        timer->kernel_usec = timer->deadline_usec;
}

static void submit(struct ring_timer *timer) {
        struct io_uring_sqe *sqe = ring_get_sqe(timer->ring);

        set_when(timer);
        io_uring_prep_timeout(sqe, &timer->when, 0, IORING_TIMEOUT_ABS);
        ring_sqe_set_op(sqe, &timer->op);
        timer->in_ring = true;
}

static void settle(struct ring_timer *timer) {
        if (!timer->armed && !timer->in_ring && timer->updates == 0 && timer->stopped)
                timer->stopped(timer);
}

static void timer_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct ring_timer *timer = CONTAINER_OF(op, struct ring_timer, op);

        timer->in_ring = false;

        if (timer->armed) {
                if (ring_now_usec(timer->ring) < timer->deadline_usec)
                        submit(timer);
                else {
                        timer->armed = false;
                        timer->expired(timer);
                }
                return;
        }

        settle(timer);
}

static void update_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct ring_timer *timer = CONTAINER_OF(op, struct ring_timer, update_op);

        /* -ENOENT and -EALREADY: the time-out fired meanwhile, and its own completion sees to the rest. */
        timer->updates--;
        settle(timer);
}

void ring_timer_init(struct ring_timer *timer, struct ring *ring, void (*expired)(struct ring_timer *timer)) {
        *timer = (struct ring_timer){
                .op.done = timer_done,
                .update_op.done = update_done,
                .ring = ring,
                .expired = expired,
        };
}

void ring_timer_set(struct ring_timer *timer, uint64_t usec) {
        struct io_uring_sqe *sqe;

        timer->armed = true;
        timer->deadline_usec = ring_now_usec(timer->ring) + usec;

        if (!timer->in_ring) {
                submit(timer);
                return;
        }

        if (timer->deadline_usec >= timer->kernel_usec)
                return;

        set_when(timer);
        sqe = ring_get_sqe(timer->ring);
        io_uring_prep_timeout_update(sqe, &timer->when, (uint64_t) (uintptr_t) &timer->op, IORING_TIMEOUT_ABS);
        ring_sqe_set_op(sqe, &timer->update_op);
        timer->updates++;
}

void ring_timer_unset(struct ring_timer *timer) {
        struct io_uring_sqe *sqe;

        if (!timer->armed)
                return;
        timer->armed = false;

        if (!timer->in_ring)
                return;

        sqe = ring_get_sqe(timer->ring);
        io_uring_prep_timeout_remove(sqe, (uint64_t) (uintptr_t) &timer->op, 0);
        ring_sqe_set_op(sqe, &timer->update_op);
        timer->updates++;
}
