/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is retained is written again, in the order in which it was acknowledged, over the leader alone and while nothing else is under way. A few at a time, as long as they do not
 * overlap. One that is put off, or fails, sends the rest back to itself: so the order holds however it goes.
 *
 * Requests of this kind are the pool's own. They are not counted, not ordered and not retained again, and their data stay the log's. */

#include <errno.h>
#include <string.h>

#include "fault-point.h"
#include "pool-internal.h"

#define REWRITE_WINDOW   6U /* of the reserved slots; a flush has to find one, too */
#define REWRITE_ATTEMPTS 4U /* in a row, of one that fails */

static void rewrite_done(struct request *request, int error) {
        /* Only told apart by it. */
}

bool pool_is_rewrite(const struct pool *pool, const struct request *request) {
        return request->done == rewrite_done;
}

static bool overlaps(const struct pool *pool, const struct retained_entry *entry) {
        for (unsigned i = 0; i < pool->n_rewriting; i++) {
                const struct request *other = pool->rewrites[i];

                if (other->offset < entry->offset + entry->length && entry->offset < other->offset + other->length)
                        return true;
        }
        return false;
}

/* How much of it is left of an image that may have become smaller; what lies behind its end is nobody's any more. */
static uint32_t length_left(const struct pool *pool, const struct retained_entry *entry) {
        uint64_t size = pool->attachment->size;

        if (entry->offset >= size)
                return 0;
        return entry->length < size - entry->offset ? entry->length : (uint32_t) (size - entry->offset);
}

static bool send_next(struct pool *pool) {
        const struct retained_entry *entry = retained_next(pool->retained, pool->rewrite_position);
        struct request *request;
        uint32_t length;

        if (!entry || pool->n_rewriting == REWRITE_WINDOW || overlaps(pool, entry) || !session_has_room(pool->leader))
                return false;
        length = length_left(pool, entry);
        if (length == 0) {
                pool->rewrite_position = entry->position + 1;
                return true;
        }
        request = requests_get_reserved(pool->requests, entry->op, length);
        if (!request)
                return false;

        request->accepted_usec = ring_now_usec(pool->ring);
        request->offset = entry->offset;
        request->fua = entry->fua && entry->op != REQUEST_TRIM;
        request->no_hole = entry->no_hole;
        request->data = entry->data;
        request->done = rewrite_done;
        request->owner = pool;
        request->covers_position = entry->position;
        pool->rewrites[pool->n_rewriting++] = request;
        pool->rewrite_position = entry->position + 1;
        fault_point("rewriting");
        session_send(pool->leader, request);
        return true;
}

bool pool_rewrite(struct pool *pool) {
        struct request *request;

        if (!pool->rewriting) {
                if (pool->n_rewriting > 0)
                        return false;
                pool->rewriting = true;
                pool->rewrite_position = 0;
                pool->rewrite_identity = pool->current;
                /* They are done, but neither durable nor in the log: as if they had got no answer. */
                while ((request = TAILQ_FIRST(&pool->crowded))) {
                        TAILQ_REMOVE(&pool->crowded, request, entry);
                        pool_enqueue(pool, request);
                }
        }

        if (!pool->rewrite_again)
                while (send_next(pool))
                        ;
        else if (pool->n_rewriting == 0 && !pool->rewrite_timer.armed)
                ring_timer_set(&pool->rewrite_timer, POOL_RETRY_USEC);

        if (pool->n_rewriting > 0 || pool->rewrite_again || retained_next(pool->retained, pool->rewrite_position))
                return false;

        pool->rewriting = pool->rewrite_needed = false;
        pool_durable_rewritten(pool);
        return true;
}

static void forget(struct pool *pool, struct request *request) {
        for (unsigned i = 0; i < pool->n_rewriting; i++)
                if (pool->rewrites[i] == request) {
                        pool->rewrites[i] = pool->rewrites[--pool->n_rewriting];
                        break;
                }
        request->data = NULL;
        requests_put(request);
}

void pool_rewrite_lost(struct pool *pool, struct request *request) {
        pool->rewriting = false;
        forget(pool, request);
}

void pool_rewrite_answered(struct pool *pool, struct session *s, struct request *request, int error) {
        uint64_t position = request->covers_position;

        forget(pool, request);
        switch (error) {
        case 0:
                pool->rewrite_failures = 0;
                break;

        case SESSION_ELSEWHERE:
                pool->rewriting = false;
                pool_session_ops.draining(s);
                break;

        case SESSION_STALE:
                pool->rewriting = false;
                s->generation = 0;
                break;

        default:
                if (error != SESSION_NOT_NOW && ++pool->rewrite_failures >= REWRITE_ATTEMPTS) {
                        pool_set_reason(pool, s->proxy,
                                "The server had lost writes that it had acknowledged, and did not take them again. "
                                "Check its disk "
                                "and the data, then detach and attach anew");
                        pool_fail(pool, FAILURE_IO);
                        return;
                }
                pool->rewrite_again = true;
                if (position < pool->rewrite_position)
                        pool->rewrite_position = position;
                break;
        }
        pool_land(pool);
}

static void again(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, rewrite_timer);

        pool->rewrite_again = false;
        pool_land(pool);
}

static void stopped(struct ring_timer *timer) {
        pool_step_stop(POOL_OF(timer, rewrite_timer));
}

void pool_rewrite_init(struct pool *pool) {
        ring_timer_init(&pool->rewrite_timer, pool->ring, again);
        pool->rewrite_timer.stopped = stopped;
}
