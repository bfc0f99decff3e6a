/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request is in exactly one place: the queue here, or the session's list of what is in flight. When a session ends, what it had goes back to the queue, in the order of
 * acceptance and before anything newer. Requests that the proxy answered with "not now" wait in a list of their own for the next tick, and then go first.
 *
 * Until an image has been attached once, a refusal (wrong password, no such image, no right, held) is final if every proxy that answers refuses: whoever starts the worker wants
 * to hear it. Afterwards a refusal only sends us to the next proxy. EXPIRED is final always. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "container-of.h"
#include "pool.h"

#define POOL_OF(ptr, member) CONTAINER_OF(ptr, struct pool, member)
#define RETRY_USEC           (100U * 1000U)

struct pool {
        struct ring *ring;
        struct requests *requests;
        const struct host_config *config;
        const struct credentials *credentials;
        struct attachment *attachment;
        const struct pool_ops *ops;
        void *userdata;

        enum pool_state state;
        struct proxies *proxies;
        struct session *session;
        struct request_list queue;       /* in order of acceptance */
        struct request_list delayed;     /* answered with "not now" */
        struct ring_timer connect_timer; /* the next try to connect */
        struct ring_timer retry_timer;
        struct ring_timer io_timer; /* how long I/O may wait for a session */
        struct ring_timer stop_timer;
        struct ring_deferred stop_step;
        struct request *stop_flush;
        bool io_failing; /* io-timeout has passed: fail I/O at once until a session is there */
        bool stop_detach, stop_flushed, stop_detached, stop_expired, stopped;
        int stop_error;
        uint64_t failovers;
        char reason[PROXY_REASON_MAX + IVBS_PROXY_ADDRESS_MAX + 32];
};

static void connect_next(struct pool *pool);

const char *pool_state_to_string(enum pool_state state) {
        static const char *const names[_POOL_STATE_MAX] = {
                [POOL_CONNECTING] = "attaching",
                [POOL_ATTACHED] = "attached",
                [POOL_RECONNECTING] = "reconnecting",
                [POOL_PARKED] = "parked",
                [POOL_STOPPING] = "detaching",
                [POOL_FAILED] = "failed",
        };

        return (unsigned) state < _POOL_STATE_MAX ? names[state] : "unknown";
}

/* Requests */

static void insert_in_order(struct request_list *list, struct request *request) {
        struct request *other;

        TAILQ_FOREACH_REVERSE(other, list, request_list, entry)
                if (other->order < request->order) {
                        TAILQ_INSERT_AFTER(list, other, request, entry);
                        return;
                }
        TAILQ_INSERT_HEAD(list, request, entry);
}

static void fail_all(struct request_list *list, int error) {
        struct request_list failing = TAILQ_HEAD_INITIALIZER(failing);
        struct request *request;

        /* done() may submit anew; what it submits is not of this round. */
        TAILQ_CONCAT(&failing, list, entry);
        while ((request = TAILQ_FIRST(&failing))) {
                TAILQ_REMOVE(&failing, request, entry);
                request->done(request, error);
        }
}

static void pump(struct pool *pool) {
        struct request *request;

        while (pool->session && session_has_room(pool->session) && (request = TAILQ_FIRST(&pool->queue))) {
                TAILQ_REMOVE(&pool->queue, request, entry);
                session_send(pool->session, request);
        }
}

void pool_submit(struct pool *pool, struct request *request) {
        if (pool->state == POOL_FAILED || pool->io_failing || pool->stop_expired) {
                request->done(request, -EIO);
                return;
        }

        if (pool->session && session_has_room(pool->session) && TAILQ_EMPTY(&pool->queue)) {
                session_send(pool->session, request);
                return;
        }

        insert_in_order(&pool->queue, request);
}

static void retry_expired(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, retry_timer);
        struct request *request;

        while ((request = TAILQ_FIRST(&pool->delayed))) {
                TAILQ_REMOVE(&pool->delayed, request, entry);
                insert_in_order(&pool->queue, request);
        }
        pump(pool);
}

static void io_expired(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, io_timer);

        pool->io_failing = true;
        fail_all(&pool->queue, -EIO);
        fail_all(&pool->delayed, -EIO);
}

/* Stopping */

static void step_stop(struct pool *pool) {
        if (pool->state == POOL_STOPPING || pool->state == POOL_FAILED)
                ring_defer(pool->ring, &pool->stop_step);
}

/* Whether something that was acknowledged may not be durable yet. */
static bool owes_flush(const struct pool *pool) {
        const struct attachment *a = pool->attachment;

        return a && a->attached && !a->read_only && (a->caps & IVBS_CAP_FLUSH) && !pool->stop_flushed;
}

static void stop_flush_done(struct request *request, int error) {
        struct pool *pool = request->owner;

        pool->stop_flush = NULL;
        pool->stop_flushed = true;
        /* Where the end of the session or of our patience failed it, that is the reason. */
        if (error == 0 || pool->stop_error == 0)
                pool->stop_error = error;
        requests_put(request);
        step_stop(pool);
}

static void stop_detach_done(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n) {
        struct pool *pool = userdata;

        pool->stop_detached = true;
        step_stop(pool);
}

static bool timers_are_idle(const struct pool *pool) {
        return ring_timer_is_idle(&pool->connect_timer) && ring_timer_is_idle(&pool->retry_timer) &&
               ring_timer_is_idle(&pool->io_timer) && ring_timer_is_idle(&pool->stop_timer);
}

static void run_stop(struct ring_deferred *deferred) {
        struct pool *pool = POOL_OF(deferred, stop_step);
        bool can_flush = pool->attachment && (pool->attachment->caps & IVBS_CAP_FLUSH);

        if (pool->state != POOL_STOPPING || pool->stopped)
                return;

        if (pool->session && pool->session->state == SESSION_READY && !pool->stop_expired) {
                if (!TAILQ_EMPTY(&pool->queue) || !TAILQ_EMPTY(&pool->delayed) || pool->session->n_in_flight > 0 ||
                        pool->stop_flush)
                        return;
                if (!pool->stop_flushed && can_flush) {
                        pool->stop_flush = requests_get(pool->requests, REQUEST_FLUSH, 0);
                        if (pool->stop_flush) {
                                pool->stop_flush->done = stop_flush_done;
                                pool->stop_flush->owner = pool;
                                pool_submit(pool, pool->stop_flush);
                                return;
                        }
                        pool->stop_error = -ENOMEM;
                }
                if (pool->stop_detach && !pool->stop_detached) {
                        if (session_call(pool->session, IVBS_OP_DETACH, NULL, 0, stop_detach_done, pool) >= 0)
                                return;
                        pool->stop_detached = true;
                }
        }

        if (pool->session) {
                session_close(pool->session, SESSION_LOST, FAILURE_NONE, "stopped");
                return;
        }

        fail_all(&pool->queue, -ESHUTDOWN);
        fail_all(&pool->delayed, -ESHUTDOWN);
        ring_timer_unset(&pool->connect_timer);
        ring_timer_unset(&pool->retry_timer);
        ring_timer_unset(&pool->io_timer);
        ring_timer_unset(&pool->stop_timer);
        if (!timers_are_idle(pool))
                return; /* their stopped() steps again */

        pool->stopped = true;
        pool->ops->stopped(pool->userdata, pool->stop_error);
}

static void stop_expired(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, stop_timer);

        pool->stop_expired = true;
        if (owes_flush(pool) && pool->stop_error == 0)
                pool->stop_error = -ETIMEDOUT;
        step_stop(pool);
}

void pool_stop(struct pool *pool, bool detach, uint64_t timeout_usec) {
        if (pool->state == POOL_STOPPING)
                return;

        pool->stop_detach = detach;
        pool->state = POOL_STOPPING;
        ring_timer_set(&pool->stop_timer, timeout_usec);
        /* With nobody to flush to there is nothing to wait for. */
        if (!pool_get_active(pool)) {
                pool->stop_expired = true;
                if (pool->attachment && pool->attachment->attached && !pool->attachment->read_only)
                        pool->stop_error = -ENOTCONN;
        }
        pool->ops->changed(pool->userdata);
        step_stop(pool);
}

/* Sessions */

static void set_reason(struct pool *pool, const struct proxy *proxy, const char *message) {
        snprintf(pool->reason, sizeof(pool->reason), "%s: %s.", proxy->address, message);
}

static void fail(struct pool *pool, enum failure failure) {
        pool->state = POOL_FAILED;
        fail_all(&pool->queue, -EIO);
        fail_all(&pool->delayed, -EIO);
        pool->ops->failed(pool->userdata, failure, pool->reason);
}

static void session_ready(struct session *s) {
        struct pool *pool = s->owner;
        bool first = pool->state == POOL_CONNECTING;

        proxy_succeeded(s->proxy, ring_now_usec(pool->ring) - s->connected_usec);
        ring_timer_unset(&pool->io_timer);
        pool->io_failing = false;
        pool->reason[0] = 0;
        if (pool->state == POOL_STOPPING) {
                step_stop(pool);
                return;
        }

        pool->state = POOL_ATTACHED;
        if (!first)
                pool->failovers++;
        pool->ops->changed(pool->userdata);
        if (first && pool->ops->attached)
                pool->ops->attached(pool->userdata);
        pump(pool);
}

static void session_answered(struct session *s, struct request *request, int error) {
        struct pool *pool = s->owner;

        if (error == -EAGAIN) {
                insert_in_order(&pool->delayed, request);
                if (!pool->retry_timer.armed)
                        ring_timer_set(&pool->retry_timer, RETRY_USEC);
        } else {
                proxy_served(s->proxy);
                request->done(request, error);
        }

        pump(pool);
        step_stop(pool);
}

static void session_announced(struct session *s, const struct ivbs_proxy *announced, size_t n) {
        struct pool *pool = s->owner;

        if (proxies_merge(pool->proxies, announced, n))
                pool->ops->changed(pool->userdata);
}

/* Whether some proxy has not refused us: it may still be tried, or come back. */
static bool may_hope(const struct pool *pool) {
        for (size_t i = 0; i < proxies_count(pool->proxies); i++)
                if (proxies_get(pool->proxies, i)->state == PROXY_UNKNOWN)
                        return true;
        return false;
}

static void session_ended(struct session *s, const struct session_end *end, struct request_list *unanswered) {
        struct pool *pool = s->owner;
        struct request *request;

        pool->session = NULL;
        while ((request = TAILQ_LAST(unanswered, request_list))) {
                TAILQ_REMOVE(unanswered, request, entry);
                insert_in_order(&pool->queue, request);
        }

        proxy_failed(pool->proxies, s->proxy, ring_now_usec(pool->ring),
                end->verdict == SESSION_REFUSED ? PROXY_REFUSED : PROXY_UNREACHABLE, end->message);

        if (pool->state == POOL_STOPPING) {
                pool->stop_expired = true;
                if (owes_flush(pool) && pool->stop_error == 0)
                        pool->stop_error = -ENOTCONN;
                step_stop(pool);
                return;
        }

        set_reason(pool, s->proxy, end->message);
        if (end->verdict == SESSION_EXPIRED ||
                (end->verdict == SESSION_REFUSED && pool->state == POOL_CONNECTING && !may_hope(pool))) {
                fail(pool, end->failure);
                return;
        }

        if (pool->state == POOL_ATTACHED) {
                pool->state = POOL_RECONNECTING;
                if (pool->config->io_timeout_usec != UINT64_MAX)
                        ring_timer_set(&pool->io_timer, pool->config->io_timeout_usec);
        }
        pool->ops->changed(pool->userdata);
        connect_next(pool);
}

static const struct session_ops session_ops = {
        .ready = session_ready,
        .answered = session_answered,
        .announced = session_announced,
        .ended = session_ended,
};

static void connect_next(struct pool *pool) {
        uint64_t when, now = ring_now_usec(pool->ring);
        struct proxy *proxy;

        if (pool->session || pool->state == POOL_STOPPING || pool->state == POOL_FAILED)
                return;

        proxy = proxies_choose(pool->proxies, now, NULL, &when);
        if (!proxy) {
                if (when != UINT64_MAX)
                        ring_timer_set(&pool->connect_timer, when - now);
                return;
        }

        if (session_new(&pool->session, pool->ring, pool->config, pool->credentials, pool->attachment, proxy,
                    &session_ops, pool) < 0) {
                proxy_failed(pool->proxies, proxy, now, PROXY_UNREACHABLE, "out of memory");
                ring_timer_set(&pool->connect_timer, RETRY_USEC);
        }
}

static void connect_expired(struct ring_timer *timer) {
        connect_next(POOL_OF(timer, connect_timer));
}

static void connect_stopped(struct ring_timer *timer) {
        step_stop(POOL_OF(timer, connect_timer));
}

static void retry_stopped(struct ring_timer *timer) {
        step_stop(POOL_OF(timer, retry_timer));
}

static void io_stopped(struct ring_timer *timer) {
        step_stop(POOL_OF(timer, io_timer));
}

static void stop_stopped(struct ring_timer *timer) {
        step_stop(POOL_OF(timer, stop_timer));
}

int pool_new(struct pool **ret, struct ring *ring, struct requests *requests, const struct host_config *config,
        const struct credentials *credentials, struct attachment *attachment, const struct pool_ops *ops,
        void *userdata) {
        _cleanup_(pool_freep) struct pool *pool = NULL;
        uint64_t seed = 0;
        int r;

        pool = calloc(1, sizeof(*pool));
        if (!pool)
                return -ENOMEM;

        pool->ring = ring;
        pool->requests = requests;
        pool->config = config;
        pool->credentials = credentials;
        pool->attachment = attachment;
        pool->ops = ops;
        pool->userdata = userdata;
        TAILQ_INIT(&pool->queue);
        TAILQ_INIT(&pool->delayed);
        ring_timer_init(&pool->connect_timer, ring, connect_expired);
        ring_timer_init(&pool->retry_timer, ring, retry_expired);
        ring_timer_init(&pool->io_timer, ring, io_expired);
        ring_timer_init(&pool->stop_timer, ring, stop_expired);
        pool->connect_timer.stopped = connect_stopped;
        pool->retry_timer.stopped = retry_stopped;
        pool->io_timer.stopped = io_stopped;
        pool->stop_timer.stopped = stop_stopped;
        pool->stop_step.run = run_stop;

        (void) getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
        r = proxies_new(&pool->proxies, config->proxies, config->n_proxies, seed);
        if (r < 0)
                return r;

        /* A resumed attachment was attached before this process began: its I/O waits, it does not fail for want of a first answer. */
        ring_timer_set(&pool->connect_timer, 0);
        *ret = TAKE_PTR(pool);
        return 0;
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;

        assert(!pool->session && TAILQ_EMPTY(&pool->queue) && TAILQ_EMPTY(&pool->delayed));
        ring_undefer(pool->ring, &pool->stop_step);
        proxies_free(pool->proxies);
        free(pool);
        return NULL;
}

enum pool_state pool_get_state(const struct pool *pool) {
        return pool->state;
}

const char *pool_get_reason(const struct pool *pool) {
        return pool->reason;
}

const struct proxy *pool_get_active(const struct pool *pool) {
        return pool->session && pool->session->state == SESSION_READY ? pool->session->proxy : NULL;
}

struct proxies *pool_get_proxies(struct pool *pool) {
        return pool->proxies;
}

uint64_t pool_get_failovers(const struct pool *pool) {
        return pool->failovers;
}

struct session *pool_get_session(struct pool *pool) {
        return pool_get_active(pool) ? pool->session : NULL;
}
