/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request's way through the pool. It is counted from pool_submit() to its done(), and is in exactly one place meanwhile: held back by the ordering, because it overlaps a change
 * that is not over; in the queue; in a session's hands; delayed, because the proxy said "not now"; or crowded, done but waiting for room in the log. When a session ends, what it
 * had goes back to the queue, in the order of acceptance and before anything newer.
 *
 * The ordering lets go of a request only when it is over for its acceptor, so at no time two requests that overlap are under way, of which one is a change: that is why what was
 * lost may be sent again in any order. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-id128.h>

#include "fault-point.h"
#include "pool-internal.h"

#define TOGETHER_BYTES (512U * 1024U) /* eight requests of 64 KiB */

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

void pool_set_state(struct pool *pool, enum pool_state state) {
        struct timespec ts;

        if (pool->state == state)
                return;

        clock_gettime(CLOCK_REALTIME, &ts);
        pool->since_usec = (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
        pool->state = state;
}

void pool_set_reason(struct pool *pool, const struct proxy *proxy, const char *message) {
        if (proxy)
                snprintf(pool->reason, sizeof(pool->reason), "%s: %s.", proxy->address, message);
        else
                snprintf(pool->reason, sizeof(pool->reason), "%s.", message);
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

void pool_finish(struct pool *pool, struct request *request, int error) {
        /* First: done() may free it, and may submit another one over the same range. */
        ordering_leave(pool->ordering, request);
        pool->n_requests--;
        request->done(request, error);
}

static void fail_list(struct pool *pool, struct request_list *list, int error) {
        struct request_list failing = TAILQ_HEAD_INITIALIZER(failing);
        struct request *request;

        /* done() may submit anew; what it submits is not of this round. */
        TAILQ_CONCAT(&failing, list, entry);
        while ((request = TAILQ_FIRST(&failing))) {
                TAILQ_REMOVE(&failing, request, entry);
                pool_finish(pool, request, error);
        }
}

void pool_fail_requests(struct pool *pool, int error) {
        /* What is failed lets others out of the ordering, which are then in the queue. */
        while (!TAILQ_EMPTY(&pool->queue) || !TAILQ_EMPTY(&pool->delayed) || !TAILQ_EMPTY(&pool->crowded)) {
                fail_list(pool, &pool->queue, error);
                fail_list(pool, &pool->delayed, error);
                fail_list(pool, &pool->crowded, error);
        }
}

void pool_fail(struct pool *pool, enum failure failure) {
        bool stopping = pool->state == POOL_STOPPING;

        if (pool->state == POOL_FAILED || (stopping && pool->stop_expired))
                return;

        /* A stop goes on, and ends: there is nobody left to flush to. */
        if (stopping) {
                pool->stop_expired = true;
                if (pool->stop_error == 0)
                        pool->stop_error = -EIO;
        } else
                pool_set_state(pool, POOL_FAILED);
        pool->open = false;
        pool_retire_all(pool, "failed");
        pool_fail_requests(pool, -EIO);
        pool->ops->failed(pool->userdata, failure, pool->reason);
        pool_step_stop(pool);
}

/* The one with the fewest bytes in flight; but small requests stay together up to a bound, for what goes over one connection goes out in one send. */
static struct session *choose_session(const struct pool *pool) {
        struct session *s, *best = NULL, *last = NULL;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                if (pool_is_usable(pool, s) && session_has_room(s)) {
                        if (!best || s->bytes_in_flight < best->bytes_in_flight)
                                best = s;
                        if (s == pool->last)
                                last = s;
                }

        return last && last->bytes_in_flight <= best->bytes_in_flight + TOGETHER_BYTES ? last : best;
}

void pool_pump(struct pool *pool) {
        struct request *request;
        struct session *session;

        while (pool->open && (request = TAILQ_FIRST(&pool->queue)) && (session = choose_session(pool))) {
                TAILQ_REMOVE(&pool->queue, request, entry);
                pool->last = session;
                pool_durable_sending(pool, request);
                session_send(session, request);
        }
}

static bool is_hopeless(const struct pool *pool) {
        return pool->state == POOL_FAILED || pool->io_failing || pool->stop_expired;
}

void pool_enqueue(struct pool *pool, struct request *request) {
        insert_in_order(&pool->queue, request);
        if (pool->open)
                pool_pump(pool);
}

/* Nothing that it overlaps is under way any more. */
static void released(struct request *request, void *userdata) {
        struct pool *pool = userdata;

        insert_in_order(&pool->queue, request);
        pool_land(pool);
}

void pool_submit(struct pool *pool, struct request *request) {
        if (is_hopeless(pool)) {
                request->done(request, -EIO);
                return;
        }

        pool->n_requests++;
        if (ordering_enter(pool->ordering, request))
                pool_enqueue(pool, request);
}

void pool_take_back(struct pool *pool, struct request *request) {
        const struct attachment *a = pool->attachment;
        bool change = request->op != REQUEST_READ && request->op != REQUEST_FLUSH;

        fault_point("request-lost");
        /* One that was sent before the last fence has been finished or refused by it. */
        if (change && a && (a->caps & IVBS_CAP_FENCE) && request->generation == a->generation)
                pool->fence_needed = true;
        if (pool_is_rewrite(pool, request)) {
                pool_rewrite_lost(pool, request);
                return;
        }

        if (pool->state == POOL_FAILED || (change && a && !a->modern && !pool->config->classic_replay)) {
                pool_finish(pool, request, -EIO);
                return;
        }
        pool_durable_lost(pool, request);
        insert_in_order(&pool->queue, request);
}

/* An answer. It was not executed: */
static void not_executed(struct session *s, struct request *request, int error) {
        struct pool *pool = s->owner;
        const struct attachment *a = pool->attachment;

        switch (error) {
        case SESSION_NOT_NOW:
                insert_in_order(&pool->delayed, request);
                if (pool->retry_timer.armed)
                        return;
                ring_timer_set(&pool->retry_timer, pool->retry_usec);
                pool->retry_usec *= 2;
                if (pool->retry_usec > POOL_RETRY_MAX_USEC)
                        pool->retry_usec = POOL_RETRY_MAX_USEC;
                return;

        case SESSION_ELSEWHERE:
                insert_in_order(&pool->queue, request);
                pool_session_ops.draining(s);
                return;

        default:
                /* A fence of ours has come between, or may have, by way of a proxy that we have left. Else somebody else has taken the image. */
                insert_in_order(&pool->queue, request);
                if (!a->modern) {
                        session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the session's hold on the image is over");
                        return;
                }
                if (request->generation == a->generation && !a->fencing) {
                        session_close(s, SESSION_EXPIRED, FAILURE_HELD,
                                "image \"%s\" has been attached by somebody else since", a->name);
                        return;
                }
                if (s->generation == request->generation)
                        s->generation = 0;
                if (s == pool->leader)
                        pool->open = false;
                pool_land(pool);
                return;
        }
}

/* Whoever has it attached for writing is told once why nothing can be written; it stays until the next landing. */
static void note_refusal(struct pool *pool, const struct session *s) {
        char text[PROXY_REASON_MAX];

        if (!pool->attachment || pool->attachment->read_only || pool->state != POOL_ATTACHED || pool->reason[0])
                return;
        snprintf(text, sizeof(text), "user \"%s\" may not write to the image any more, and writes fail",
                pool->credentials->user);
        pool_set_reason(pool, s->proxy, text);
        pool->ops->changed(pool->userdata);
}

void pool_answered(struct session *s, struct request *request, int error) {
        struct pool *pool = s->owner;
        int r;

        if (s->role == ROLE_MEMBER && error == 0)
                proxy_served(s->proxy);

        if (pool_is_rewrite(pool, request))
                pool_rewrite_answered(pool, s, request, error);
        else if (error == SESSION_NOT_NOW || error == SESSION_ELSEWHERE || error == SESSION_STALE)
                not_executed(s, request, error);
        else {
                pool->retry_usec = POOL_RETRY_USEC;
                if (error == -EROFS)
                        note_refusal(pool, s);
                r = error;
                if (request->op == REQUEST_FLUSH || (request->fua && request->op != REQUEST_TRIM && error < 0))
                        r = pool_durable_synced(pool, request, error);
                else if (request->op != REQUEST_READ && error == 0)
                        r = pool_durable_changed(pool, request);
                if (r != -EAGAIN)
                        pool_finish(pool, request, r);
        }

        if (pool->open)
                pool_pump(pool);
        else
                pool_land(pool);
        pool_step_stop(pool);
}

static void retry_expired(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, retry_timer);
        uint64_t now = ring_now_usec(pool->ring);
        struct request *request;

        while ((request = TAILQ_FIRST(&pool->delayed))) {
                TAILQ_REMOVE(&pool->delayed, request, entry);
                if (pool->config->io_timeout_usec != UINT64_MAX &&
                        now - request->accepted_usec > pool->config->io_timeout_usec)
                        pool_finish(pool, request, -EIO);
                else
                        insert_in_order(&pool->queue, request);
        }
        pool_land(pool);
        if (pool->open)
                pool_pump(pool);
}

static void io_expired(struct ring_timer *timer) {
        struct pool *pool = POOL_OF(timer, io_timer);

        pool->io_failing = true;
        if (pool->state == POOL_STOPPING)
                pool_stop_give_up(pool, -ETIMEDOUT); /* fails them as undone: somebody may keep them */
        else
                pool_fail_requests(pool, -EIO);
}

static void retry_stopped(struct ring_timer *timer) {
        pool_step_stop(POOL_OF(timer, retry_timer));
}

static void io_stopped(struct ring_timer *timer) {
        pool_step_stop(POOL_OF(timer, io_timer));
}

static void dial_stopped(struct ring_timer *timer) {
        pool_step_stop(POOL_OF(timer, dial_timer));
}

/* Of the jitter, which keeps those who have lost a proxy together from coming back together. Nothing here waits until a machine that boots has gathered its first randomness: until then workers differ by the boot, the
 * process and the moment. */
static uint64_t jitter_seed(const struct pool *pool) {
        struct timespec now;
        uint64_t seed;

        if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t) sizeof(seed))
                return seed;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        seed = (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
        seed ^= (uint64_t) getpid() << 40;
        for (size_t i = 0; i < sizeof(pool->boot_id); i++)
                seed = (seed ^ pool->boot_id[i]) * UINT64_C(0x100000001b3); /* FNV */
        return seed;
}

int pool_new(struct pool **ret, struct ring *ring, struct buffers *buffers, struct requests *requests,
        const struct host_config *config, const struct credentials *credentials, struct attachment *attachment,
        const struct pool_ops *ops, void *userdata) {
        _cleanup_(pool_freep) struct pool *pool = NULL;
        sd_id128_t boot_id;
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
        pool->first = true;
        /* What a former worker had attached is attached, for those above. */
        /* What the worker before has told of it. */
        if (attachment && attachment->attached)
                pool->told_size = attachment->size;
        if (attachment && attachment->inherited)
                pool_set_state(pool, POOL_RECONNECTING);
        TAILQ_INIT(&pool->queue);
        TAILQ_INIT(&pool->delayed);
        pool->retry_usec = POOL_RETRY_USEC;
        TAILQ_INIT(&pool->crowded);
        TAILQ_INIT(&pool->sessions);
        pool->landing.run = pool_landing_run;
        ring_timer_init(&pool->dial_timer, ring, pool_dial_expired);
        ring_timer_init(&pool->retry_timer, ring, retry_expired);
        ring_timer_init(&pool->io_timer, ring, io_expired);
        pool->dial_timer.stopped = dial_stopped;
        pool->retry_timer.stopped = retry_stopped;
        pool->io_timer.stopped = io_stopped;
        pool_rewrite_init(pool);
        pool_stop_init(pool);
        if (sd_id128_get_boot(&boot_id) >= 0)
                memcpy(pool->boot_id, boot_id.bytes, sizeof(pool->boot_id));

        r = ordering_new(&pool->ordering, released, pool);
        if (r < 0)
                return r;
        r = pool_durable_init(pool, buffers);
        if (r < 0)
                return r;
        r = proxies_new(&pool->proxies, config->proxies, config->n_proxies, jitter_seed(pool));
        if (r < 0)
                return r;

        ring_timer_set(&pool->dial_timer, 0);
        *ret = TAKE_PTR(pool);
        return 0;
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;

        assert(TAILQ_EMPTY(&pool->sessions) && pool->n_requests == 0);
        ring_undefer(pool->ring, &pool->stop_step);
        ring_undefer(pool->ring, &pool->landing);
        pool_durable_free(pool);
        ordering_free(pool->ordering);
        proxies_free(pool->proxies);
        free(pool);
        return NULL;
}

void pool_hurry(struct pool *pool) {
        proxies_hurry(pool->proxies, NULL);
        pool_land(pool);
}

/* What there is to know */

enum pool_state pool_get_state(const struct pool *pool) {
        return pool->state;
}

uint64_t pool_get_state_since(const struct pool *pool) {
        return pool->since_usec;
}

const char *pool_get_reason(const struct pool *pool) {
        return pool->reason;
}

enum failure pool_get_refusal(struct pool *pool) {
        for (size_t i = 0; i < proxies_count(pool->proxies); i++)
                if (proxies_get(pool->proxies, i)->state == PROXY_REFUSED)
                        return pool->refusal;
        return FAILURE_NONE;
}

const struct proxy *pool_get_active(const struct pool *pool) {
        return pool->leader ? pool->leader->proxy : NULL;
}

const struct proxy *pool_get_standby(const struct pool *pool) {
        return pool->standby && pool->standby->state == SESSION_STANDING_BY ? pool->standby->proxy : NULL;
}

unsigned pool_get_sessions(const struct pool *pool) {
        const struct session *s;
        unsigned n = 0;

        TAILQ_FOREACH(s, &pool->sessions, entry)
                n += pool_is_usable(pool, s);
        return n;
}

uint64_t pool_get_retained(const struct pool *pool) {
        return retained_bytes(pool->retained);
}

struct proxies *pool_get_proxies(struct pool *pool) {
        return pool->proxies;
}

uint64_t pool_get_failovers(const struct pool *pool) {
        return pool->failovers;
}

uint64_t pool_get_reconnects(const struct pool *pool) {
        return pool->n_joined - pool->n_at_once;
}

struct session *pool_get_session(struct pool *pool) {
        return pool->leader && pool->leader->state == SESSION_READY ? pool->leader : NULL;
}
