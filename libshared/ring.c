/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The loop of a data path. One thread owns a ring and everything on it, so nothing here takes a lock.
 *
 * A completion's user data is the address of the struct ring_op that was given with the submission; dispatch is one indirect call. Cancellations
 * and timer updates complete too: those that nobody waits for go to an op of the ring's own. That is safe against reuse of an address, because the
 * kernel handles the entries of a submission in their order: a cancellation queued before an object is freed runs before anything that a new object
 * at the same address can submit.
 *
 * A step is: run deferred work (where streams turn many messages into one send), submit and wait in one system call, dispatch all that has
 * completed. The kernel runs its part of completions only inside that call (DEFER_TASKRUN), hence no interruptions between.
 *
 * Where waits have lately been short (busy-poll.h), a step looks for completions for a moment before it sleeps. Between two looks it gives way to whoever else wants the processor, so that
 * the peer that it waits for can run there: spinning without doing so is worse than sleeping as soon as there are more loops than processors. Work that is cheaper done later and for more at once (ring_linger()) waits for the end
 * of such a look's beginning. */

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "busy-poll.h"
#include "ring.h"

#define RING_BATCH 64U

STAILQ_HEAD(ring_deferred_list, ring_deferred);

struct ring {
        struct io_uring uring;
        struct io_uring_probe *probe;
        struct ring_deferred_list deferred, lingering;
        uint64_t linger_until_usec;
        struct ring_op ignore;
        struct busy_poll busy_poll;
        uint64_t now_usec;
        bool stopping;
};

static uint64_t clock_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

static void ignore_done(struct ring_op *op, int32_t res, uint32_t flags) {
}

int ring_new(struct ring **ret, unsigned entries) {
        /* From the best to the one that every kernel since 5.1 has: a kernel refuses flags that it does not know with EINVAL. */
        static const unsigned flags[] = {
                IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                        IORING_SETUP_CLAMP,
                IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP,
                0,
        };
        _cleanup_free_ struct ring *ring = NULL;
        int r = -EINVAL;

        ring = calloc(1, sizeof(*ring));
        if (!ring)
                return -ENOMEM;

        for (unsigned i = 0; i < ELEMENTSOF(flags) && r == -EINVAL; i++)
                r = io_uring_queue_init(entries, &ring->uring, flags[i]);
        if (r < 0)
                return r;

        /* Without a probe (no memory for it) nothing counts as supported, which only costs speed. */
        ring->probe = io_uring_get_probe_ring(&ring->uring);
        STAILQ_INIT(&ring->deferred);
        STAILQ_INIT(&ring->lingering);
        ring->ignore.done = ignore_done;
        ring->now_usec = clock_usec();

        *ret = TAKE_PTR(ring);
        return 0;
}

struct ring *ring_free(struct ring *ring) {
        if (!ring)
                return NULL;

        if (ring->probe)
                io_uring_free_probe(ring->probe);
        io_uring_queue_exit(&ring->uring);
        free(ring);
        return NULL;
}

void ring_set_busy_poll(struct ring *ring, uint64_t usec) {
        ring->busy_poll = (struct busy_poll){ .bound_usec = usec };
}

struct io_uring *ring_uring(struct ring *ring) {
        return &ring->uring;
}

bool ring_supports(struct ring *ring, unsigned opcode) {
        return ring->probe && io_uring_opcode_supported(ring->probe, (int) opcode);
}

struct io_uring_sqe *ring_get_sqe(struct ring *ring) {
        struct io_uring_sqe *sqe;

        while (!(sqe = io_uring_get_sqe(&ring->uring))) {
                int r = io_uring_submit(&ring->uring);

                /* Submitting frees entries unless the completion queue has run over, which its size (twice the entries, and the kernel's own
                 * overflow list behind it) leaves only for a defect of ours. */
                assert(r >= 0 || r == -EINTR || r == -EAGAIN || r == -EBUSY);
        }

        return sqe;
}

void ring_sqe_set_op(struct io_uring_sqe *sqe, struct ring_op *op) {
        io_uring_sqe_set_data(sqe, op);
}

void ring_cancel(struct ring *ring, struct ring_op *op) {
        struct io_uring_sqe *sqe = ring_get_sqe(ring);

        io_uring_prep_cancel(sqe, op, 0);
        ring_sqe_set_op(sqe, &ring->ignore);
}

void ring_defer(struct ring *ring, struct ring_deferred *deferred) {
        if (deferred->lingering)
                ring_undefer(ring, deferred);
        if (deferred->queued)
                return;

        deferred->queued = true;
        STAILQ_INSERT_TAIL(&ring->deferred, deferred, entry);
}

void ring_linger(struct ring *ring, struct ring_deferred *deferred) {
        if (deferred->queued || deferred->lingering)
                return;

        if (STAILQ_EMPTY(&ring->lingering))
                ring->linger_until_usec = ring->now_usec + RING_LINGER_USEC;
        deferred->lingering = true;
        STAILQ_INSERT_TAIL(&ring->lingering, deferred, entry);
}

void ring_undefer(struct ring *ring, struct ring_deferred *deferred) {
        if (deferred->lingering)
                STAILQ_REMOVE(&ring->lingering, deferred, ring_deferred, entry);
        else if (deferred->queued)
                STAILQ_REMOVE(&ring->deferred, deferred, ring_deferred, entry);
        deferred->queued = deferred->lingering = false;
}

static void run_deferred(struct ring *ring) {
        struct ring_deferred *deferred;

        while ((deferred = STAILQ_FIRST(&ring->deferred))) {
                STAILQ_REMOVE_HEAD(&ring->deferred, entry);
                deferred->queued = false;
                deferred->run(deferred);
        }
}

/* All that lingers, now, and what it defers. */
static void run_lingering(struct ring *ring) {
        struct ring_deferred *deferred;

        while ((deferred = STAILQ_FIRST(&ring->lingering)))
                ring_defer(ring, deferred);
        run_deferred(ring);
}

static bool has_lingered(const struct ring *ring, uint64_t now_usec) {
        return !STAILQ_EMPTY(&ring->lingering) && now_usec >= ring->linger_until_usec;
}

static unsigned dispatch(struct ring *ring) {
        struct io_uring_cqe *cqes[RING_BATCH];
        unsigned total = 0, n;

        while ((n = io_uring_peek_batch_cqe(&ring->uring, cqes, RING_BATCH)) > 0) {
                for (unsigned i = 0; i < n; i++) {
                        struct ring_op *op = io_uring_cqe_get_data(cqes[i]);

                        op->done(op, cqes[i]->res, cqes[i]->flags);
                }
                io_uring_cq_advance(&ring->uring, n);
                total += n;
        }

        return total;
}

/* Whether the kernel has completions, or work of its own that will make some. */
static bool has_something(struct ring *ring) {
        return io_uring_cq_ready(&ring->uring) > 0 || (__atomic_load_n(ring->uring.sq.kflags, __ATOMIC_ACQUIRE) &
                                                              (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/* Looks until began + the bound, and lets end meanwhile what has lingered; whether something came. Nothing lingers when it did not. */
static bool look_for_something(struct ring *ring, uint64_t began) {
        uint64_t now = began;

        do {
                if (has_something(ring) || ring->stopping)
                        return true;
                if (has_lingered(ring, now)) {
                        run_lingering(ring);
                        (void) io_uring_submit(
                                &ring->uring); /* what that could not, the next call submits, and tells */
                } else
                        sched_yield();
                now = clock_usec();
        } while (now < began + ring->busy_poll.bound_usec);

        run_lingering(ring);
        return has_something(ring) || ring->stopping;
}

/* As io_uring_submit_and_wait() for one completion. */
static int submit_and_wait(struct ring *ring) {
        uint64_t began;
        bool came = false;
        int r;

        if (!busy_poll_pays(&ring->busy_poll)) {
                run_lingering(ring);
                if (ring->stopping)
                        return io_uring_submit_and_get_events(&ring->uring);
                if (ring->busy_poll.bound_usec == 0)
                        return io_uring_submit_and_wait(&ring->uring, 1);

                began = clock_usec();
                r = io_uring_submit_and_wait(&ring->uring, 1);
                busy_poll_learn(&ring->busy_poll, clock_usec() - began, true);
                return r;
        }

        began = clock_usec();
        r = io_uring_submit(&ring->uring);
        if (r >= 0)
                came = look_for_something(ring, began);
        busy_poll_learn(&ring->busy_poll, clock_usec() - began, false);
        return came ? io_uring_submit_and_get_events(&ring->uring) : io_uring_submit_and_wait(&ring->uring, 1);
}

int ring_step(struct ring *ring, bool wait) {
        int r;

        if (has_lingered(ring, ring->now_usec))
                run_lingering(ring);
        run_deferred(ring);
        /* Deferred work may have been the last that was waited for. */
        if (ring->stopping)
                wait = false;

        r = wait ? submit_and_wait(ring) : io_uring_submit_and_get_events(&ring->uring);
        if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
                return r;

        ring->now_usec = clock_usec();
        dispatch(ring);
        return 0;
}

int ring_run(struct ring *ring) {
        ring->stopping = false;

        while (!ring->stopping) {
                int r = ring_step(ring, true);

                if (r < 0)
                        return r;
        }

        return 0;
}

void ring_stop(struct ring *ring) {
        ring->stopping = true;
}

uint64_t ring_now_usec(struct ring *ring) {
        return ring->now_usec;
}
