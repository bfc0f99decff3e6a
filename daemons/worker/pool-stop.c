/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a pool: what was accepted is done, what was acknowledged is flushed, the lease is given back, the sessions are closed; whatever of it cannot be had in time is left
 * out, and the caller is told. A pool that has lost its proxy may find another one meanwhile, and waits for it if there is something to
 * be lost. */

#include <errno.h>

#include "pool-internal.h"

void pool_step_stop(struct pool *pool) {
        if (pool->state == POOL_STOPPING || pool->state == POOL_FAILED)
                ring_defer(pool->ring, &pool->stop_step);
}

static bool is_writable(const struct pool *pool) {
        const struct attachment *a = pool->attachment;

        return a && a->attached && !a->read_only;
}

/* Whether something that was acknowledged may not be durable yet. */
static bool owes_flush(const struct pool *pool) {
        return is_writable(pool) && (pool->attachment->caps & IVBS_CAP_FLUSH) && !pool->stop_flushed;
}

static void flush_done(struct request *request, int error) {
        struct pool *pool = request->owner;

        pool->stop_flush = NULL;
        pool->stop_flushed = true;
        /* Where the end of the session or of our patience failed it, that is the reason. */
        if (error == 0 || pool->stop_error == 0)
                pool->stop_error = error;
        requests_put(request);
        pool_step_stop(pool);
}

static void detach_done(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n) {
        struct pool *pool = userdata;

        pool->stop_detaching = false;
        pool->stop_detached = true;
        pool_step_stop(pool);
}

/* Returns whether something is under way that has to be waited for. */
static bool finish_work(struct pool *pool) {
        if (pool->n_requests > 0)
                return true;

        if (owes_flush(pool)) {
                pool->stop_flush = requests_get_reserved(pool->requests, REQUEST_FLUSH, 0);
                if (!pool->stop_flush)
                        return true; /* our own are out, and will be back */
                pool->stop_flush->accepted_usec = ring_now_usec(pool->ring);
                pool->stop_flush->offset = 0;
                pool->stop_flush->done = flush_done;
                pool->stop_flush->owner = pool;
                pool_submit(pool, pool->stop_flush);
                return true;
        }

        if (pool->stop_detach && !pool->stop_detached && pool->attachment) {
                struct session *s = pool_get_session(pool);

                if (!pool->stop_detaching)
                        pool->stop_detaching = s && session_call(s, IVBS_OP_DETACH, NULL, 0, detach_done, pool) >= 0;
                if (pool->stop_detaching)
                        return true;
                pool->stop_detached = true;
        }
        return false;
}

static bool timers_are_idle(const struct pool *pool) {
        return ring_timer_is_idle(&pool->dial_timer) && ring_timer_is_idle(&pool->retry_timer) &&
               ring_timer_is_idle(&pool->io_timer) && ring_timer_is_idle(&pool->stop_timer) &&
               ring_timer_is_idle(&pool->rewrite_timer);
}

static void run_stop(struct ring_deferred *deferred) {
        struct pool *pool = POOL_OF(deferred, stop_step);

        if (pool->state != POOL_STOPPING || pool->stopped)
                return;
        if (!pool->stop_expired && finish_work(pool))
                return;

        pool->stop_expired = true;
        pool->open = false;
        pool_retire_all(pool, "stopped");
        pool_fail_requests(pool, -ESHUTDOWN);
        if (!TAILQ_EMPTY(&pool->sessions) || pool->n_requests > 0)
                return;

        ring_timer_unset(&pool->dial_timer);
        ring_timer_unset(&pool->retry_timer);
        ring_timer_unset(&pool->io_timer);
        ring_timer_unset(&pool->stop_timer);
        ring_timer_unset(&pool->rewrite_timer);
        if (!timers_are_idle(pool))
                return; /* their stopped() steps again */

        pool->stopped = true;
        pool->ops->stopped(pool->userdata, pool->stop_error);
}

void pool_stop_give_up(struct pool *pool, int error) {
        pool->stop_expired = true;
        if (owes_flush(pool) && pool->stop_error == 0)
                pool->stop_error = error;
        pool_step_stop(pool);
}

static void stop_expired(struct ring_timer *timer) {
        pool_stop_give_up(POOL_OF(timer, stop_timer), -ETIMEDOUT);
}

static void stop_stopped(struct ring_timer *timer) {
        pool_step_stop(POOL_OF(timer, stop_timer));
}

uint64_t pool_wait_limit(const struct pool *pool) {
        uint64_t limit = pool->config->io_timeout_usec;

        return pool->io_limit_usec > 0 && pool->io_limit_usec < limit ? pool->io_limit_usec : limit;
}

void pool_limit_wait(struct pool *pool, uint64_t usec) {
        uint64_t deadline = ring_now_usec(pool->ring) + usec;

        pool->io_limit_usec = usec;
        if (pool->open || pool->io_failing || pool->state == POOL_FAILED || pool->state == POOL_STOPPING)
                return;
        if (!pool->io_timer.armed || pool->io_timer.deadline_usec > deadline)
                ring_timer_set(&pool->io_timer, usec);
}

void pool_stop(struct pool *pool, bool detach, uint64_t timeout_usec) {
        bool idle = !pool->open && !pool_is_dirty(pool) && pool->n_requests == 0;
        bool parked = pool->state == POOL_PARKED;
        /* Between two proxies there is hope, and a lease to give back. */
        bool hopeless = pool->state == POOL_FAILED || (idle && (pool->first || parked)) ||
                        (pool->io_limit_usec > 0 && pool->io_failing);

        if (pool->state == POOL_STOPPING)
                return;

        if (pool->io_limit_usec == 0)
                pool_limit_wait(pool, POOL_STOP_WAIT_USEC);
        pool->stop_detach = detach;
        pool_set_state(pool, POOL_STOPPING);
        ring_timer_set(&pool->stop_timer, timeout_usec);
        /* There is nobody to flush to, but nothing that a flush would make durable either. */
        if (idle && parked && !pool->io_failing && pool_is_all_durable(pool))
                pool->stop_flushed = true;
        if (hopeless)
                pool_stop_give_up(pool, -ENOTCONN);
        pool->ops->changed(pool->userdata);
        pool_step_stop(pool);
}

void pool_stop_init(struct pool *pool) {
        ring_timer_init(&pool->stop_timer, pool->ring, stop_expired);
        pool->stop_timer.stopped = stop_stopped;
        pool->stop_step.run = run_stop;
}
