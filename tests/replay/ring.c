/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libshared/ring.h without io_uring. The only operation that the worker's sessions ask the ring for themselves is to connect, which always succeeds. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define STEP_USEC  10U
#define TIMERS_MAX 256U
#define OPS_MAX    64U

STAILQ_HEAD(deferred_list, ring_deferred);

struct ring {
        struct deferred_list deferred;
        struct ring_timer *timers[TIMERS_MAX]; /* armed, or about to tell that they have stopped */
        size_t n_timers;
        struct io_uring_sqe sqe;
        struct ring_op *ops[OPS_MAX];
        size_t n_ops;
        uint64_t now_usec;
};

uint64_t chance(uint64_t n) {
        static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

        /* xorshift64 */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return (x >> 11) % n;
}

int ring_new(struct ring **ret, unsigned entries) {
        struct ring *ring = calloc(1, sizeof(*ring));

        if (!ring)
                return -ENOMEM;
        STAILQ_INIT(&ring->deferred);
        ring->now_usec = UINT64_C(1000000000);
        *ret = ring;
        return 0;
}

struct ring *ring_free(struct ring *ring) {
        free(ring);
        return NULL;
}

struct io_uring *ring_uring(struct ring *ring) {
        REPLAY_FAIL("there is no io_uring here");
}

bool ring_supports(struct ring *ring, unsigned opcode) {
        return true;
}

struct io_uring_sqe *ring_get_sqe(struct ring *ring) {
        return &ring->sqe;
}

static struct ring *the_ring;

void ring_sqe_set_op(struct io_uring_sqe *sqe, struct ring_op *op) {
        if (sqe->opcode != IORING_OP_CONNECT)
                REPLAY_FAIL("nobody asked for operation %u here before: teach tests/replay/ring.c", sqe->opcode);
        if (the_ring->n_ops == OPS_MAX)
                REPLAY_FAIL("too many operations");
        the_ring->ops[the_ring->n_ops++] = op;
}

void ring_cancel(struct ring *ring, struct ring_op *op) {
}

void ring_defer(struct ring *ring, struct ring_deferred *deferred) {
        if (deferred->queued)
                return;
        deferred->queued = true;
        STAILQ_INSERT_TAIL(&ring->deferred, deferred, entry);
}

void ring_undefer(struct ring *ring, struct ring_deferred *deferred) {
        if (!deferred->queued)
                return;
        deferred->queued = false;
        STAILQ_REMOVE(&ring->deferred, deferred, ring_deferred, entry);
}

int ring_step(struct ring *ring, bool wait) {
        world_step(ring);
        return 0;
}

int ring_run(struct ring *ring) {
        REPLAY_FAIL("main.c steps");
}

void ring_stop(struct ring *ring) {
}

uint64_t ring_now_usec(struct ring *ring) {
        return ring->now_usec;
}

/* --- timers --- */

void ring_timer_init(struct ring_timer *timer, struct ring *ring, void (*expired)(struct ring_timer *timer)) {
        *timer = (struct ring_timer){ .ring = ring, .expired = expired };
}

/* in_ring: it is on the list. */
static void enlist(struct ring_timer *timer) {
        struct ring *ring = timer->ring;

        if (timer->in_ring)
                return;
        if (ring->n_timers == TIMERS_MAX)
                REPLAY_FAIL("too many timers");
        timer->in_ring = true;
        ring->timers[ring->n_timers++] = timer;
}

void ring_timer_set(struct ring_timer *timer, uint64_t usec) {
        timer->armed = true;
        timer->deadline_usec = usec < UINT64_MAX - timer->ring->now_usec ? timer->ring->now_usec + usec : UINT64_MAX;
        enlist(timer);
}

void ring_timer_unset(struct ring_timer *timer) {
        timer->armed = false;
}

static void run_timers(struct ring *ring) {
        for (size_t i = 0; i < ring->n_timers;) {
                struct ring_timer *timer = ring->timers[i];

                if (timer->armed && timer->deadline_usec > ring->now_usec) {
                        i++;
                        continue;
                }
                ring->timers[i] = ring->timers[--ring->n_timers];
                timer->in_ring = false;
                if (timer->armed) {
                        timer->armed = false;
                        timer->expired(timer);
                } else if (timer->stopped)
                        timer->stopped(timer);
        }
}

/* --- a turn --- */

static void run_deferred(struct ring *ring) {
        struct ring_deferred *deferred;

        while ((deferred = STAILQ_FIRST(&ring->deferred))) {
                STAILQ_REMOVE_HEAD(&ring->deferred, entry);
                deferred->queued = false;
                deferred->run(deferred);
        }
}

void world_step(struct ring *ring) {
        the_ring = ring;
        ring->now_usec += STEP_USEC;
        run_timers(ring);
        while (ring->n_ops > 0) {
                struct ring_op *op = ring->ops[--ring->n_ops];

                op->done(op, 0, 0);
        }
        streams_deliver();
        run_deferred(ring);
        streams_flush();
        run_deferred(ring);
}
