/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keep until durable. A change that the server has acknowledged from a cache is gone when the server's machine loses power, while the client runs on and believes in it. So every
 * acknowledged change is kept, in order, FUA writes too: a repeated older write would else cover a newer one that is durable. A flush drops what was acknowledged before it was
 * sent, if it holds under the identity under which that was acknowledged. When the identity has changed, when a flush failed, or when it got no answer (then nobody knows
 * whether its error was reported to somebody who is dead now), everything kept is written again in order before anything else is sent, and flushed anew.
 *
 * Changes are counted as they are acknowledged; `durable` follows `acknowledged`. In between the image is dirty, and the mark says so before the first acknowledgement, because a
 * worker that is killed takes the log with it: its successor can tell whether something may be missing, and then it must not go on as if nothing were. */

#include <errno.h>
#include <string.h>

#include "fault-point.h"
#include "pool-internal.h"

#define SYNC_ATTEMPTS 4U /* failed flushes in a row that are repeated */
#define MARGIN        2U /* a flush of our own starts when the log is full to one part in so many */

/* But for what has become of the disk since. */
static bool is_same_server(const struct ivbs_identity *a, const struct ivbs_identity *b) {
        return memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0 &&
               memcmp(a->store_uuid, b->store_uuid, sizeof(a->store_uuid)) == 0 &&
               a->mount_instance == b->mount_instance;
}

static bool same(const struct ivbs_identity *a, const struct ivbs_identity *b) {
        if (rule_is_off("durability-identity"))
                return true;
        return is_same_server(a, b) && a->error_epoch == b->error_epoch;
}

static bool is_news(const struct pool *pool, const struct ivbs_identity *told) {
        return !is_same_server(told, &pool->current) || told->error_epoch > pool->current.error_epoch;
}

/* An epoch only rises: a session that attached long ago, or an answer that was overtaken, tells an older one. */
static void learn(struct pool *pool, const struct ivbs_identity *told) {
        if (is_news(pool, told))
                pool->current = *told;
}

bool pool_is_dirty(const struct pool *pool) {
        return pool->durable < pool->acknowledged || pool->inherited || !TAILQ_EMPTY(&pool->crowded);
}

bool pool_is_all_durable(const struct pool *pool) {
        return pool->durable_acks || (pool->durability != DURABILITY_NONE && !pool_is_dirty(pool));
}

/* Whether something is needed that is no longer held. */
static bool is_missing(const struct pool *pool) {
        return pool->unretained > pool->durable || pool->inherited;
}

static int mark(struct pool *pool, bool dirty) {
        int r;

        r = mark_set(pool->mark, &pool->identity, dirty);
        if (r >= 0)
                pool->marked = dirty;
        return r;
}

static bool is_writable(const struct pool *pool) {
        return pool->attachment && !pool->attachment->read_only && !pool->attachment->refuses_writes;
}

static enum pool_durability durability_of(const struct pool *pool, const struct session *leader) {
        uint64_t needed = IVBS_CAP_FLUSH | IVBS_CAP_DURABILITY;

        if (!is_writable(pool) || (leader->caps & needed) != needed || leader->durable_acks)
                return DURABILITY_NONE;
        if (rule_is_off("retained"))
                return DURABILITY_MARKED;
        if (pool->config->retain == RETAIN_AUTO &&
                memcmp(leader->identity.boot_id, pool->boot_id, sizeof(pool->boot_id)) == 0)
                return DURABILITY_MARKED;
        return DURABILITY_RETAINED;
}

/* Our own flush */

static void start_sync(struct pool *pool);

static bool wants_sync(const struct pool *pool) {
        return !TAILQ_EMPTY(&pool->crowded) || retained_bytes(pool->retained) > pool->config->retain_limit / MARGIN;
}

static void fail_crowded(struct pool *pool, int error) {
        struct request *request;

        while ((request = TAILQ_FIRST(&pool->crowded))) {
                TAILQ_REMOVE(&pool->crowded, request, entry);
                pool_finish(pool, request, error);
        }
}

static void sync_done(struct request *request, int error) {
        struct pool *pool = request->owner;

        pool->sync = NULL;
        requests_put(request);
        /* What has come in since it was sent. Or it waited too long, and so has who waits for room: nothing else would make some. */
        if (error == 0 && wants_sync(pool))
                start_sync(pool);
        else if (error < 0)
                fail_crowded(pool, error);
        pool_step_stop(pool);
}

static void start_sync(struct pool *pool) {
        if (pool->sync || pool->state == POOL_FAILED)
                return;

        /* None left: one of the reserved is a flush that will do. */
        pool->sync = requests_get_reserved(pool->requests, REQUEST_FLUSH, 0);
        if (!pool->sync)
                return;
        pool->sync->accepted_usec = ring_now_usec(pool->ring);
        pool->sync->offset = 0;
        pool->sync->done = sync_done;
        pool->sync->owner = pool;
        pool_submit(pool, pool->sync);
}

int pool_durable_check(struct pool *pool) {
        const struct session *leader = pool->leader;

        pool->durability = durability_of(pool, leader);
        pool->durable_acks = leader->durable_acks;
        learn(pool, &leader->identity);
        /* What was written again went to the one before, perhaps another machine. */
        pool->rewriting = false;
        if (pool->durability == DURABILITY_NONE)
                return 0;

        if (!pool_is_dirty(pool)) {
                pool->identity = pool->current;
                /* It told of durable writes alone, and of the server before. */
                if (pool->marked)
                        (void) mark(pool, false);
                return 0;
        }
        if (same(&pool->identity, &pool->current)) {
                /* The sooner what the predecessor has left is durable, the better. */
                if (pool->inherited)
                        start_sync(pool);
                return 0;
        }
        if (is_missing(pool)) {
                pool_set_reason(pool, leader->proxy,
                        pool->inherited ? "The server has been restarted or has had an I/O error since writes were "
                                          "acknowledged that "
                                          "the worker, restarted too, cannot repeat. Check the data, then detach and "
                                          "attach anew"
                                        : "The server has been restarted or has had an I/O error, and writes that it "
                                          "had acknowledged "
                                          "may be lost. Check the data, then detach and attach anew");
                return -ESTALE;
        }
        pool->rewrite_needed = true;
        return 0;
}

bool pool_durable_is_news(const struct pool *pool, const struct session *s) {
        return pool->durability != DURABILITY_NONE && !rule_is_off("durability-identity") &&
               is_news(pool, &s->identity);
}

bool pool_durable_is_elsewhere(const struct session *a, const struct session *b) {
        return !is_same_server(&a->identity, &b->identity);
}

static int keep(struct pool *pool, struct request *request) {
        int r;

        r = retained_add(pool->retained, request);
        if (r < 0)
                return r;

        pool->acknowledged++;
        if (wants_sync(pool))
                start_sync(pool);
        return 0;
}

int pool_durable_changed(struct pool *pool, struct request *request) {
        if (pool->durability == DURABILITY_NONE)
                return 0;

        /* Before the acknowledgement goes on. Where it fails, the next change tries again. */
        fault_point("change-answered");
        if (!pool->marked)
                (void) mark(pool, true);

        if (pool->durability == DURABILITY_MARKED || (rule_is_off("retained-order") && request->fua)) {
                if (!request->fua)
                        pool->unretained = ++pool->acknowledged;
                return 0;
        }

        if (!retained_has_room(pool->retained, request) || keep(pool, request) < 0) {
                TAILQ_INSERT_TAIL(&pool->crowded, request, entry);
                start_sync(pool);
                return -EAGAIN;
        }
        return 0;
}

static void admit_crowded(struct pool *pool) {
        struct request *request;

        while ((request = TAILQ_FIRST(&pool->crowded)) && retained_has_room(pool->retained, request)) {
                /* First: keeping it may start a flush, whose failure is that of all who are crowded. */
                TAILQ_REMOVE(&pool->crowded, request, entry);
                if (keep(pool, request) < 0) {
                        TAILQ_INSERT_HEAD(&pool->crowded, request, entry);
                        break;
                }
                pool_finish(pool, request, 0);
        }
        if (wants_sync(pool))
                start_sync(pool);
}

void pool_durable_sending(struct pool *pool, struct request *request) {
        if (request->op != REQUEST_FLUSH)
                return;

        request->covers = pool->acknowledged;
        request->covers_position = retained_position(pool->retained);
}

static void flushed(struct pool *pool, const struct request *request) {
        fault_point("flush-answered");
        pool->failed_syncs = 0;
        pool->inherited = false;
        if (request->covers > pool->durable)
                pool->durable = request->covers;
        retained_drop(pool->retained, request->covers_position);
        requests_memory_freed(pool->requests);

        if (!pool_is_dirty(pool)) {
                fault_point("flush-covered-all");
                pool->identity = pool->current;
                if (pool->marked)
                        (void) mark(pool, false);
        }
}

/* Again, after what it covered was written again. */
static int repeat(struct pool *pool, struct request *request) {
        if (!rule_is_off("flush-rewrite"))
                pool->rewrite_needed = true;
        pool->open = false;
        TAILQ_INSERT_HEAD(&pool->queue, request, entry);
        pool_land(pool);
        return -EAGAIN;
}

int pool_durable_synced(struct pool *pool, struct request *request, int error) {
        bool flush = request->op == REQUEST_FLUSH;

        if (pool->durability == DURABILITY_NONE)
                return error;
        if (flush && request->has_identity)
                learn(pool, &request->identity);

        if (error == 0 &&
                (!request->has_identity || !pool_is_dirty(pool) || same(&pool->identity, &request->identity))) {
                flushed(pool, request);
                admit_crowded(pool);
                return 0;
        }

        /* A change that was to be durable is repeated like a flush, for it may be its sync that has failed. Whether others have lost something then, the next flush tells. */
        if (!flush && error == -ENOSPC)
                return error;
        if ((error == 0 || ++pool->failed_syncs < SYNC_ATTEMPTS) && !is_missing(pool) &&
                pool->durability == DURABILITY_RETAINED) {
                /* Under what it says now, even if that is older than what was known: else it would be repeated for ever. */
                if (request->has_identity)
                        pool->current = request->identity;
                return repeat(pool, request);
        }
        if (!flush)
                return error;

        pool_set_reason(pool, pool->leader ? pool->leader->proxy : NULL,
                "The server could not make writes durable that it had acknowledged, and some may be lost. Check its "
                "disk and the data, "
                "then detach and attach anew");
        pool_finish(pool, request, -EIO);
        pool_fail(pool, FAILURE_IO);
        return -EAGAIN;
}

void pool_durable_rewritten(struct pool *pool) {
        fault_point("rewritten");
        pool->identity = pool->rewrite_identity;
        if (pool->marked)
                (void) mark(pool, true);
}

void pool_durable_lost(struct pool *pool, const struct request *request) {
        if (pool->durability != DURABILITY_RETAINED || rule_is_off("flush-rewrite"))
                return;
        /* It may have consumed the one report of an error. */
        if ((request->op == REQUEST_FLUSH || request->fua) && pool_is_dirty(pool) && !is_missing(pool))
                pool->rewrite_needed = true;
}

int pool_durable_init(struct pool *pool, struct buffers *buffers) {
        bool writable = is_writable(pool), found, dirty;
        struct ivbs_identity identity;
        int r;

        r = retained_new(&pool->retained, buffers, pool->config->retain_limit);
        if (r < 0)
                return r;
        r = mark_open(&pool->mark, writable ? pool->attachment->directory : NULL, &found, &identity, &dirty);
        if (r < 0 || !writable)
                return r;

        pool->fence_needed = pool->attachment->inherited;
        if (found && dirty && pool->attachment->attached) {
                pool->identity = identity;
                pool->inherited = pool->marked = true;
                return 0;
        }
        /* A new attachment owes nothing to what was there before it. And with the file in its place, marking it dirty can fail no more. */
        return mark(pool, false);
}

void pool_durable_free(struct pool *pool) {
        pool->mark = mark_close(pool->mark);
        pool->retained = retained_free(pool->retained);
}
