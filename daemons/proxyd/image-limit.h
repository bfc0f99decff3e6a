/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The limits of an image at one proxy, as a token bucket for its requests and one for its bytes. What comes too early waits until its time, in the order in which it came; what would have to wait for long is not taken
 * at all, so that a limited image never fills the proxy's memory. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ring.h"
#include "store.h"

#define IMAGE_LIMIT_WAIT_USEC 500000U /* the longest that something is kept waiting */

struct image_limit_waiter {
        void (*go)(struct image_limit_waiter *waiter);
        uint64_t start_usec; /* as image_limit_admit() has said; 0: no limit */
        STAILQ_ENTRY(image_limit_waiter) entry;
};
STAILQ_HEAD(image_limit_waiter_list, image_limit_waiter);

/* The times until which what was admitted has used up a rate, in ns of ring_now_usec()'s clock. */
struct image_limit {
        struct store_limits limits;
        uint64_t requests_until, bytes_until;
        uint64_t n_delayed, n_refused;
        struct image_limit_waiter_list waiters;
        struct ring_timer timer;
        struct ring *ring; /* NULL: nobody has waited yet */
};

/* NULL when out of memory. Nobody may wait when it is freed; NULL is fine. */
struct image_limit *image_limit_new(void);
struct image_limit *image_limit_free(struct image_limit *limit);

static inline bool image_limit_is_on(const struct image_limit *limit) {
        return limit->limits.iops > 0 || limit->limits.bandwidth > 0;
}

/* Other limits: what was saved up, or owed, under the old ones is forgotten. Who waits goes on soon. */
void image_limit_set(struct image_limit *limit, const struct store_limits *limits);

/* One request with so many bytes of data. Returns 0 with *ret_start the time from which it may begin, or -EAGAIN: it would have to wait for too long, and nothing was counted. */
int image_limit_admit(struct image_limit *limit, uint64_t now_usec, uint64_t bytes, uint64_t *ret_start);

/* Its time has not come: go() is called then. Those who wait do so in the order of their times. */
void image_limit_wait(struct image_limit *limit, struct ring *ring, struct image_limit_waiter *waiter);
