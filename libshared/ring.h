/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Owns the io_uring of one thread. Everything asynchronous of a data path is a struct ring_op embedded in the object that waits: its address
 * is the completion's user data, its done() gets the result. One thread only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <liburing.h>

#include "cleanup.h"

/* About what it costs to send and receive once more: to wait longer would cost more than it saves. */
#define RING_LINGER_USEC 30U

struct ring;
struct ring_op;

typedef void (*ring_done_t)(struct ring_op *op, int32_t res, uint32_t flags);

/* Must stay in place and alive until done() was called without IORING_CQE_F_MORE. */
struct ring_op {
        ring_done_t done;
};

/* Work to be done once, after the present batch of completions and before the next submission: this is where many small messages become
 * one send. */
struct ring_deferred {
        void (*run)(struct ring_deferred *deferred);
        bool queued, lingering;
        STAILQ_ENTRY(ring_deferred) entry;
};

/* One-shot timer; see the functions below. */
struct ring_timer {
        struct ring *ring;
        void (*expired)(struct ring_timer *timer);
        void (*stopped)(struct ring_timer *timer);
        uint64_t deadline_usec;
        bool armed; /* the owner wants it to expire */

        /* private */
        struct ring_op op, update_op;
        struct __kernel_timespec when;
        uint64_t kernel_usec; /* what the kernel was last told */
        bool in_ring;         /* the kernel has a time-out of ours */
        unsigned updates;     /* changes and removals that have not completed */
};

/* entries: submission queue size, a power of two. Returns 0 or a negative errno: -ENOSYS or -EPERM where io_uring is disabled
 * (kernel.io_uring_disabled, seccomp), -ENOMEM. */
int ring_new(struct ring **ret, unsigned entries);
struct ring *ring_free(struct ring *ring);
DEFINE_CLEANUP(struct ring *, ring_free);

/* For how long a step looks for completions before it sleeps, where it expects them so soon (busy-poll.h): µs, 0 (as after ring_new()) for never. */
void ring_set_busy_poll(struct ring *ring, uint64_t usec);

/* The io_uring itself, for registrations. */
struct io_uring *ring_uring(struct ring *ring);

/* Whether the kernel knows an IORING_OP_*. */
bool ring_supports(struct ring *ring, unsigned opcode);

/* A prepared-to-be entry whose completion goes to op; never NULL: a full queue is submitted first. Fill it with io_uring_prep_*() at once,
 * before the next call. */
struct io_uring_sqe *ring_get_sqe(struct ring *ring);
void ring_sqe_set_op(struct io_uring_sqe *sqe, struct ring_op *op);

/* Asks the kernel to give up op; op's done() still comes (-ECANCELED or its result). */
void ring_cancel(struct ring *ring, struct ring_op *op);

/* Runs deferred work once more before the next submission. Safe to call repeatedly. */
void ring_defer(struct ring *ring, struct ring_deferred *deferred);
/* Takes it off the queue again. */
void ring_undefer(struct ring *ring, struct ring_deferred *deferred);

/* The same, but later, so that one run does what several would have done: after RING_LINGER_USEC, or as soon as the ring would sleep. ring_defer() moves it to the next step,
 * ring_undefer() takes it off. A ring that does not look before it sleeps (ring_set_busy_poll()) delays nothing. */
void ring_linger(struct ring *ring, struct ring_deferred *deferred);

/* Dispatches all completions at hand, waiting for the first when wait is set. Returns 0 or a negative errno. */
int ring_step(struct ring *ring, bool wait);

/* Steps until ring_stop(). */
int ring_run(struct ring *ring);
void ring_stop(struct ring *ring);

/* CLOCK_MONOTONIC in µs, read once a step: cheap enough for each request. */
uint64_t ring_now_usec(struct ring *ring);

/* Init once; set and unset as often as wanted. expired() comes at or after now + usec. A timer set anew forgets the earlier time. The struct may be freed
 * only when ring_timer_is_idle(), which stopped() (may be NULL) announces after ring_timer_unset(). */
void ring_timer_init(struct ring_timer *timer, struct ring *ring, void (*expired)(struct ring_timer *timer));
void ring_timer_set(struct ring_timer *timer, uint64_t usec);
void ring_timer_unset(struct ring_timer *timer);
static inline bool ring_timer_is_idle(const struct ring_timer *timer) {
        return !timer->armed && !timer->in_ring && timer->updates == 0;
}
