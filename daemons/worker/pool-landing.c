/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a loss to the first request after it. What has to be done is never done from within an event: events note what has become necessary, close the pool for requests where
 * it must be, and ask for a landing; this then goes through the steps below in their order, as far as it gets, and is asked again by whatever it waits for.
 *
 *   leave      a proxy that drains: what it has in hand is waited for, for it is going to be answered
 *   leader     a member that is attached; the standby is promoted where there is one
 *   come back  every session that ends has given back what it had
 *   fence      if a change was lost unanswered: after it the change has been made, or never will be
 *   rejoin     members whose generation is behind, or that know of another size only by a notice
 *   rewrite    what is retained, if the server may have lost it
 *   open       lost requests go out, then new ones */

#include <errno.h>

#include "fault-point.h"
#include "pool-internal.h"

void pool_land(struct pool *pool) {
        if (pool->state != POOL_FAILED)
                ring_defer(pool->ring, &pool->landing);
}

static void leave(struct pool *pool) {
        struct proxy *proxy = pool->active;
        struct session *s;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                if (s->role == ROLE_MEMBER)
                        pool_retire(pool, s, "the proxy drains");

        pool->leaving = false;
        pool->moved = true;
        pool->active = NULL;
        if (proxy) {
                proxy_failed(pool->proxies, proxy, ring_now_usec(pool->ring), PROXY_DRAINING, "the proxy drains");
                pool_set_reason(pool, proxy, "the proxy drains");
                proxies_start_over(pool->proxies, proxy);
        }
}

/* I/O waits from here on. */
static void wait_for_proxy(struct pool *pool) {
        if (pool_wait_limit(pool) != UINT64_MAX && !pool->io_timer.armed && !pool->io_failing)
                ring_timer_set(&pool->io_timer, pool_wait_limit(pool));
}

static void park(struct pool *pool) {
        if (pool->state != POOL_ATTACHED && pool->state != POOL_RECONNECTING)
                return;

        pool_set_state(pool, POOL_PARKED);
        pool->ops->changed(pool->userdata);
}

static bool rejoin(struct pool *pool) {
        struct session *s;
        bool all = true;

        TAILQ_FOREACH(s, &pool->sessions, entry) {
                if (s->role != ROLE_MEMBER || s->state != SESSION_READY ||
                        (s->generation == pool->attachment->generation && session_knows_size(s)))
                        continue;
                if (s == pool->leader)
                        all = false;
                if (!s->awaiting && !s->reply)
                        session_rejoin(s);
        }
        return all;
}

static void open_up(struct pool *pool) {
        bool first = pool->first;

        fault_point("landed");
        pool->open = true;
        pool->first = false;
        pool->io_failing = false;
        ring_timer_unset(&pool->io_timer);
        if (pool->moved && !first)
                pool->failovers++;
        pool->moved = false;

        if (pool->state != POOL_STOPPING) {
                pool->reason[0] = 0;
                pool_set_state(pool, POOL_ATTACHED);
        }
        pool->ops->changed(pool->userdata);
        if (first && pool->ops->attached)
                pool->ops->attached(pool->userdata);
}

/* Returns whether requests may be sent. */
static bool land(struct pool *pool) {
        const struct attachment *a = pool->attachment;

        /* For whatever: a server that fences or rewrites for ever is none. */
        wait_for_proxy(pool);
        if (pool->leaving) {
                if (pool_in_flight(pool) > 0 && pool->active)
                        return false;
                leave(pool);
        }

        if (!pool->leader) {
                if (!pool_find_leader(pool)) {
                        park(pool);
                        return false;
                }
                if (!pool->leader)
                        return false;
                pool->ops->changed(pool->userdata);
        }
        if (pool_is_ending(pool))
                return false;
        if (!a)
                return true;

        if (pool->leader->awaiting)
                return false;
        if (pool->leader_is_new) {
                pool->leader_is_new = false;
                if (pool_durable_check(pool) < 0) {
                        pool_fail(pool, FAILURE_IO);
                        return false;
                }
        }
        if (rule_is_off("fence"))
                pool->fence_needed = false;
        if (pool->fence_needed && (pool->leader->caps & IVBS_CAP_FENCE) && pool->leader->generation == a->generation) {
                pool->fence_sent = true;
                session_fence(pool->leader);
                return false;
        }
        if (a->modern && !rejoin(pool))
                return false;

        if (pool->rewrite_needed && (pool_in_flight(pool) > pool->n_rewriting || !pool_rewrite(pool)))
                return false;
        return true;
}

void pool_landing_run(struct ring_deferred *deferred) {
        struct pool *pool = POOL_OF(deferred, landing);

        if (pool->state == POOL_FAILED || pool->stopped || pool->stop_expired)
                return;

        /* Its end is on the way. */
        if (pool->leader && pool->leader->state == SESSION_CLOSING) {
                pool->leader = NULL;
                pool->fence_sent = false;
                pool->open = false;
        }
        if (!pool->open) {
                if (!land(pool))
                        return;
                open_up(pool);
        } else if (pool->attachment && pool->attachment->modern)
                (void) rejoin(pool);

        pool_fill(pool);
        pool_pump(pool);
        pool_step_stop(pool);
}
