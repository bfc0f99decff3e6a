/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which sessions there are. All members are at one proxy; one of them leads: it is the first to attach, it fences and rewrites. The others follow once it has landed. A standby
 * waits at another proxy, logged in, so that a failover costs no connection and no login.
 *
 * What the pool gives up on purpose is retired: it leaves the count at once, though its requests come back only when the kernel has let go of them (pool_is_ending()). */

#include <errno.h>
#include <string.h>

#include "pool-internal.h"

#define FILL_RETRY_USEC (500U * 1000U)

unsigned pool_in_flight(const struct pool *pool) {
        const struct session *s;
        unsigned n = 0;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                n += s->n_in_flight;
        return n;
}

bool pool_is_ending(const struct pool *pool) {
        const struct session *s;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                /* With a stream, what was answered may still be on its way through it. */
                if (s->state == SESSION_CLOSING && (s->n_in_flight > 0 || s->has_stream))
                        return true;
        return false;
}

void pool_retire(struct pool *pool, struct session *s, const char *why) {
        if (s->role == ROLE_RETIRED)
                return;

        if (s == pool->leader) {
                pool->leader = NULL;
                pool->fence_sent = false;
                pool->open = false;
        }
        if (s == pool->standby)
                pool->standby = NULL;
        s->role = ROLE_RETIRED;
        session_close(s, SESSION_LOST, FAILURE_NONE, "%s", why);
}

void pool_retire_all(struct pool *pool, const char *why) {
        struct session *s;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                pool_retire(pool, s, why);
        pool->active = NULL;
}

static unsigned count_members(const struct pool *pool) {
        const struct session *s;
        unsigned n = 0;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                n += s->role == ROLE_MEMBER && s->state != SESSION_CLOSING;
        return n;
}

static int make(struct pool *pool, struct proxy *proxy, enum pool_role role) {
        struct session *s;
        int r;

        r = session_new(&s, pool->ring, pool->config, pool->credentials, pool->attachment, proxy, role == ROLE_STANDBY,
                &pool_session_ops, pool);
        if (r < 0)
                return r;

        s->role = role;
        TAILQ_INSERT_TAIL(&pool->sessions, s, entry);
        if (role == ROLE_STANDBY)
                pool->standby = s;
        return 0;
}

static void dial_in(struct pool *pool, uint64_t usec) {
        uint64_t when = ring_now_usec(pool->ring) + usec;

        if (!pool->dial_timer.armed || when < pool->dial_timer.deadline_usec)
                ring_timer_set(&pool->dial_timer, usec);
}

void pool_dial_expired(struct ring_timer *timer) {
        pool_land(POOL_OF(timer, dial_timer));
}

/* The standby becomes the first member: it attaches now, or as soon as it is logged in. */
static void promote(struct pool *pool) {
        struct session *s = TAKE_PTR(pool->standby);

        s->role = ROLE_MEMBER;
        s->standby = false;
        pool->active = s->proxy;
        if (s->state == SESSION_STANDING_BY)
                session_attach(s);
}

bool pool_find_leader(struct pool *pool) {
        uint64_t when, now = ring_now_usec(pool->ring);
        struct session *s;
        struct proxy *proxy;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                if (s->role == ROLE_MEMBER && s->state == SESSION_READY) {
                        pool->leader = s;
                        pool->leader_is_new = true;
                        return true;
                }
        if (count_members(pool) > 0)
                return true; /* one is being made */
        /* One has failed, and its end, which is on the way, is what the proxy is judged by. Another one made now would make that end look like one among several, each in its turn. */
        TAILQ_FOREACH(s, &pool->sessions, entry)
                if (s->role == ROLE_MEMBER)
                        return true;

        if (pool->standby) {
                promote(pool);
                return true;
        }

        proxy = proxies_choose(pool->proxies, now, NULL, &when);
        if (!proxy) {
                if (when != UINT64_MAX)
                        dial_in(pool, when - now);
                return false;
        }
        if (make(pool, proxy, ROLE_MEMBER) < 0) {
                proxy_failed(pool->proxies, proxy, now, PROXY_UNREACHABLE, "out of memory");
                dial_in(pool, POOL_RETRY_USEC);
                return false;
        }
        pool->active = proxy;
        return true;
}

static void find_standby(struct pool *pool) {
        uint64_t when, now = ring_now_usec(pool->ring);
        struct proxy *proxy;

        if (pool->standby)
                return;

        proxy = proxies_choose(pool->proxies, now, pool->active, &when);
        if (proxy)
                (void) make(pool, proxy, ROLE_STANDBY);
        else if (when != UINT64_MAX)
                dial_in(pool, when - now);
}

void pool_fill(struct pool *pool) {
        uint64_t now = ring_now_usec(pool->ring);
        unsigned wanted = pool->config->connections ?: 1U;

        if (!pool->attachment || pool->state == POOL_STOPPING)
                return;
        /* A classic server gives no lease that sessions could share. */
        if (!pool->attachment->modern)
                wanted = 1;

        if (now < pool->fill_not_before_usec)
                dial_in(pool, pool->fill_not_before_usec - now);
        else
                for (unsigned n = count_members(pool); n < wanted; n++)
                        if (make(pool, pool->active, ROLE_MEMBER) < 0)
                                break;

        find_standby(pool);
}

/* It knows better than the leader what there is behind the address; and members that are attached to what was there before are dead without knowing it. */
static void take_the_lead(struct pool *pool, struct session *s) {
        struct session *other;

        TAILQ_FOREACH(other, &pool->sessions, entry)
                if (other->role == ROLE_MEMBER && other->state == SESSION_READY && pool_durable_is_elsewhere(other, s))
                        pool_retire(pool, other, "the proxy's machine or store is another one now");
        pool->leader = s;
        pool->leader_is_new = true;
        pool->fence_sent = false;
        pool->open = false;
}

/* Events of sessions */

/* The time to get in; 0 later, when it would be the session's age. */
static uint64_t round_trip(struct session *s) {
        if (s->measured)
                return 0;
        s->measured = true;
        return ring_now_usec(s->ring) - s->connected_usec;
}

/* A session was told another one than was known. */
static void tell_size(struct pool *pool) {
        const struct attachment *a = pool->attachment;
        bool resized = a && pool->told_size > 0 && pool->told_size != a->size;

        if (!a)
                return;
        pool->told_size = a->size;
        if (resized && pool->ops->resized)
                pool->ops->resized(pool->userdata);
}

/* Ready again after a fence is no news. */
static void count_joined(struct pool *pool, struct session *s) {
        const struct session *other;
        unsigned n = 0;

        if (s->joined)
                return;
        s->joined = true;
        pool->n_joined++;
        TAILQ_FOREACH(other, &pool->sessions, entry)
                n += other->joined && other->role == ROLE_MEMBER && other->state != SESSION_CLOSING;
        if (n > pool->n_at_once)
                pool->n_at_once = n;
}

static void on_ready(struct session *s) {
        struct pool *pool = s->owner;

        if (s == pool->leader && pool->fence_sent) {
                pool->fence_sent = false;
                if (s->fenced)
                        pool->fence_needed = false;
        }
        s->fenced = false;
        tell_size(pool);
        if (s->role == ROLE_MEMBER) {
                count_joined(pool, s);
                proxy_succeeded(s->proxy, round_trip(s));
                if (pool->leader && s != pool->leader && pool_durable_is_news(pool, s))
                        take_the_lead(pool, s);
                pool->ops->changed(pool->userdata); /* one session more */
        }
        pool_land(pool);
}

static void on_standing_by(struct session *s) {
        struct pool *pool = s->owner;

        proxy_succeeded(s->proxy, round_trip(s));
        s->proxy->state = PROXY_STANDBY;
        pool->ops->changed(pool->userdata);
        pool_land(pool);
}

static void on_announced(struct session *s, const struct ivbs_proxy *announced, size_t n) {
        struct pool *pool = s->owner;

        if (s->role != ROLE_RETIRED && proxies_merge(pool->proxies, announced, n)) {
                pool->ops->changed(pool->userdata);
                pool_land(pool);
        }
}

/* Nothing is sent on it before it has asked; the landing sees to that. */
static void on_resized(struct session *s) {
        struct pool *pool = s->owner;

        if (s == pool->leader)
                pool->open = false;
        pool_land(pool);
}

static void on_draining(struct session *s) {
        struct pool *pool = s->owner;

        if (s->role == ROLE_STANDBY) {
                proxy_failed(pool->proxies, s->proxy, ring_now_usec(pool->ring), PROXY_DRAINING, "the proxy drains");
                pool_retire(pool, s, "the proxy drains");
        } else if (s->role == ROLE_MEMBER && s->state != SESSION_CLOSING) {
                pool->leaving = true;
                pool->open = false;
        }
        pool_land(pool);
}

/* No failure of anybody's: another one is made in its place. */
static void on_worn(struct session *s) {
        pool_retire(s->owner, s, "its keys have been used for long enough");
        pool_land(s->owner);
}

/* Whether some proxy has not refused us: it may still be tried, or come back. */
static bool may_hope(const struct pool *pool) {
        for (size_t i = 0; i < proxies_count(pool->proxies); i++)
                if (proxies_get(pool->proxies, i)->state == PROXY_UNKNOWN)
                        return true;
        return false;
}

/* Whether every proxy has been tried in vain since it last served. */
static bool all_have_failed(const struct pool *pool) {
        for (size_t i = 0; i < proxies_count(pool->proxies); i++) {
                enum proxy_state state = proxies_get(pool->proxies, i)->state;

                if (state != PROXY_UNREACHABLE && state != PROXY_REFUSED && state != PROXY_DRAINING)
                        return false;
        }
        return true;
}

/* Nothing is heard from that proxy on one session: the others need not find out for themselves. */
static void retire_others(struct pool *pool, const struct proxy *proxy, const char *why) {
        struct session *s;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                if (s->proxy == proxy)
                        pool_retire(pool, s, why);
}

/* That one has refused us is something to be done about; that another one is not there besides would only hide it. */
static void tell_why(struct pool *pool, const struct proxy *lost, const char *message) {
        for (size_t i = 0; i < proxies_count(pool->proxies); i++) {
                const struct proxy *proxy = proxies_get(pool->proxies, i);

                if (proxy->state == PROXY_REFUSED && proxy->reason[0]) {
                        pool_set_reason(pool, proxy, proxy->reason);
                        return;
                }
        }
        pool_set_reason(pool, lost, message);
}

/* What is known of a proxy whose session s has ended so. One that has asked to be left is there, and says why it does not serve. */
static enum proxy_state state_after(const struct session *s, const struct session_end *end) {
        if (end->verdict == SESSION_REFUSED)
                return PROXY_REFUSED;
        return s->draining ? PROXY_DRAINING : PROXY_UNREACHABLE;
}

static void active_lost(struct pool *pool, const struct session *s, const struct session_end *end) {
        struct proxy *proxy = s->proxy;
        /* Failures that are forgotten tell that it has served: one that only lets us in is no reason to ask others the sooner. */
        bool served = proxy->failures == 0;

        pool->active = NULL;
        pool->leaving = false;
        pool->moved = true;
        pool->open = false;
        if (end->verdict == SESSION_REFUSED)
                pool->refusal = end->failure;
        proxy_failed(pool->proxies, proxy, ring_now_usec(pool->ring), state_after(s, end), end->message);
        tell_why(pool, proxy, end->message);
        if (served)
                proxies_start_over(pool->proxies, proxy);

        if (end->verdict == SESSION_REFUSED && pool->first && !may_hope(pool)) {
                pool_fail(pool, end->failure);
                return;
        }
        /* Trying goes on in either state; that there is always one whose time has come to be tried again is no reason for hope. */
        if (pool->state == POOL_ATTACHED)
                pool_set_state(pool, POOL_RECONNECTING);
        else if (pool->state == POOL_RECONNECTING && all_have_failed(pool))
                pool_set_state(pool, POOL_PARKED);
        pool->ops->changed(pool->userdata);
}

static void on_ended(struct session *s, const struct session_end *end, struct request_list *unanswered) {
        struct pool *pool = s->owner;
        enum pool_role role = s->role;
        struct request *request;

        TAILQ_REMOVE(&pool->sessions, s, entry);
        if (s == pool->leader) {
                pool->leader = NULL;
                pool->fence_sent = false;
                pool->open = false;
        }
        if (s == pool->standby)
                pool->standby = NULL;

        while ((request = TAILQ_FIRST(unanswered))) {
                TAILQ_REMOVE(unanswered, request, entry);
                pool_take_back(pool, request);
        }
        /* Before anything new: what it lost goes first, and perhaps a fence. */
        if (pool->fence_needed || pool->rewrite_needed)
                pool->open = false;

        if (role != ROLE_RETIRED && pool->state != POOL_FAILED) {
                if (end->silent)
                        retire_others(pool, s->proxy, end->message);

                if (role == ROLE_STANDBY)
                        proxy_failed(
                                pool->proxies, s->proxy, ring_now_usec(pool->ring), state_after(s, end), end->message);
                else if (end->verdict == SESSION_EXPIRED) {
                        pool_set_reason(pool, s->proxy, end->message);
                        pool_fail(pool, end->failure);
                } else if (count_members(pool) == 0)
                        active_lost(pool, s, end);
                else
                        pool->fill_not_before_usec = ring_now_usec(pool->ring) + FILL_RETRY_USEC;
        }

        pool_land(pool);
        pool_step_stop(pool);
}

const struct session_ops pool_session_ops = {
        .ready = on_ready,
        .standing_by = on_standing_by,
        .draining = on_draining,
        .worn = on_worn,
        .resized = on_resized,
        .answered = pool_answered,
        .announced = on_announced,
        .ended = on_ended,
};
