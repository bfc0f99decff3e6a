/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A bucket is kept as one time: until when what was admitted so far has used up the rate. As long as that lies no further ahead than the burst, the bucket has something in it, and a request begins at once; else it begins when that
 * is so. A request that is larger than the bucket waits for a full one, and what comes behind it pays. (The generic cell rate algorithm, ITU-T I.371, annex A.) */

#include <errno.h>
#include <stdlib.h>

#include "container-of.h"
#include "image-limit.h"

#define NSEC 1000U

static uint64_t max(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

/* ns that n units take at a rate a second. Bounded, so that sums of them are. */
static uint64_t cost(uint64_t n, uint64_t rate) {
        double nsec = (double) n / (double) rate * 1e9;

        return nsec < 1e15 ? (uint64_t) nsec : UINT64_C(1000000000000000);
}

static uint64_t earliest(uint64_t until, uint64_t now, uint64_t burst) {
        return until > now + burst ? until - burst : now;
}

int image_limit_admit(struct image_limit *limit, uint64_t now_usec, uint64_t bytes, uint64_t *ret_start) {
        const struct store_limits *limits = &limit->limits;
        uint64_t now = now_usec * NSEC, burst = limits->burst_usec * NSEC, start = now;

        if (limits->iops > 0)
                start = earliest(limit->requests_until, now, burst);
        if (limits->bandwidth > 0 && bytes > 0)
                start = max(start, earliest(limit->bytes_until, now, burst));
        if (start - now > (uint64_t) IMAGE_LIMIT_WAIT_USEC * NSEC) {
                limit->n_refused++;
                return -EAGAIN;
        }

        if (limits->iops > 0)
                limit->requests_until = max(limit->requests_until, start) + cost(1, limits->iops);
        if (limits->bandwidth > 0)
                limit->bytes_until = max(limit->bytes_until, start) + cost(bytes, limits->bandwidth);
        limit->n_delayed += start > now;
        *ret_start = start / NSEC;
        return 0;
}

static void due(struct ring_timer *timer) {
        struct image_limit *limit = CONTAINER_OF(timer, struct image_limit, timer);
        uint64_t now = ring_now_usec(limit->ring);
        struct image_limit_waiter_list ready = STAILQ_HEAD_INITIALIZER(ready);
        struct image_limit_waiter *waiter;

        while ((waiter = STAILQ_FIRST(&limit->waiters)) && (waiter->start_usec <= now || !image_limit_is_on(limit))) {
                STAILQ_REMOVE_HEAD(&limit->waiters, entry);
                STAILQ_INSERT_TAIL(&ready, waiter, entry);
        }
        /* Before they go: the last of them may be what kept the image. */
        if (waiter)
                ring_timer_set(&limit->timer, waiter->start_usec - now);
        while ((waiter = STAILQ_FIRST(&ready))) {
                STAILQ_REMOVE_HEAD(&ready, entry);
                waiter->go(waiter);
        }
}

void image_limit_wait(struct image_limit *limit, struct ring *ring, struct image_limit_waiter *waiter) {
        uint64_t now = ring_now_usec(ring);
        bool first = STAILQ_EMPTY(&limit->waiters);

        if (!limit->ring) {
                limit->ring = ring;
                ring_timer_init(&limit->timer, ring, due);
        }
        STAILQ_INSERT_TAIL(&limit->waiters, waiter, entry);
        if (first)
                ring_timer_set(&limit->timer, waiter->start_usec > now ? waiter->start_usec - now : 1);
}

void image_limit_set(struct image_limit *limit, const struct store_limits *limits) {
        if (limits->iops == limit->limits.iops && limits->bandwidth == limit->limits.bandwidth &&
                limits->burst_usec == limit->limits.burst_usec)
                return;

        limit->limits = *limits;
        limit->requests_until = limit->bytes_until = 0;
        if (!STAILQ_EMPTY(&limit->waiters))
                ring_timer_set(&limit->timer, 1);
}

struct image_limit *image_limit_new(void) {
        struct image_limit *limit = calloc(1, sizeof(*limit));

        if (limit)
                STAILQ_INIT(&limit->waiters);
        return limit;
}

static void stopped(struct ring_timer *timer) {
        free(CONTAINER_OF(timer, struct image_limit, timer));
}

struct image_limit *image_limit_free(struct image_limit *limit) {
        /* Who still waits is left over at the end of the process, and then the ring is gone. */
        if (limit && limit->ring && STAILQ_EMPTY(&limit->waiters) && !ring_timer_is_idle(&limit->timer)) {
                limit->timer.stopped = stopped;
                ring_timer_unset(&limit->timer);
                return NULL;
        }
        free(limit);
        return NULL;
}
