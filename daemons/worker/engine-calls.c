/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Store operations of the main thread, one at a time on the pool's session: they wait in order until there is one, or each proxy has been tried in vain since they came. One that takes its time has not
 * been: it is waited for. Each has a deadline of its own, and is answered exactly once. An operation whose session died is not tried again: it may have been carried out. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine-internal.h"

#define CALL_PAYLOAD_MAX SESSION_CALL_MAX
#define RETRY_USEC       (10U * 1000U)

struct engine_call {
        struct mail mail;
        STAILQ_ENTRY(engine_call) entry;
        struct engine *engine;
        uint32_t op;
        uint8_t payload[CALL_PAYLOAD_MAX];
        size_t n;
        uint64_t timeout_usec;
        uint64_t since_usec, deadline_usec;
        bool sent, answered;
        engine_reply_t reply;
        void *userdata;

        int error;
        uint32_t status;
        char message[ENGINE_REASON_MAX];
        uint8_t *answer;
        size_t n_answer;
};

static void on_answer(struct mail *mail, void *context) {
        struct engine_call *call = (struct engine_call *) mail;

        call->reply(call->userdata, call->error, call->status, call->answer, call->n_answer, call->message);
        free(call->answer);
        free(call);
}

static void answer(
        struct engine_call *call, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        struct engine *engine = call->engine;

        call->error = error;
        call->status = status;
        snprintf(call->message, sizeof(call->message), "%s", message);
        if (n > 0) {
                call->answer = malloc(n);
                if (call->answer) {
                        memcpy(call->answer, payload, n);
                        call->n_answer = n;
                } else
                        call->error = -ENOMEM;
        }

        call->mail.deliver = on_answer;
        if (mailbox_send(engine->to_main, &call->mail) < 0) {
                free(call->answer);
                free(call);
        }
}

static void call_replied(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n) {
        struct engine *engine = userdata;
        struct engine_call *call = STAILQ_FIRST(&engine->calls);

        STAILQ_REMOVE_HEAD(&engine->calls, entry);
        answer(call, error, status, payload, n,
                error < 0 ? "the connection to the proxy broke before it answered" : "");
        engine_calls_step(engine);
}

static void arm(struct engine *engine) {
        struct engine_call *call = STAILQ_FIRST(&engine->calls);
        uint64_t now = ring_now_usec(engine->ring);

        if (!call || engine->stopping)
                ring_timer_unset(&engine->call_timer);
        else if (!call->sent && pool_get_session(engine->pool) && now + RETRY_USEC < call->deadline_usec)
                ring_timer_set(&engine->call_timer, RETRY_USEC);
        else
                ring_timer_set(&engine->call_timer, call->deadline_usec > now ? call->deadline_usec - now : 0);
}

void engine_calls_step(struct engine *engine) {
        struct engine_call *call;

        while ((call = STAILQ_FIRST(&engine->calls)) && !call->sent) {
                struct session *session = pool_get_session(engine->pool);
                int r;

                if (pool_get_state(engine->pool) == POOL_FAILED) {
                        STAILQ_REMOVE_HEAD(&engine->calls, entry);
                        answer(call, -ENOTCONN, 0, NULL, 0, pool_get_reason(engine->pool));
                        continue;
                }
                if (!session && proxies_have_failed_since(pool_get_proxies(engine->pool), call->since_usec)) {
                        bool denied = pool_get_refusal(engine->pool) == FAILURE_ACCESS_DENIED;

                        STAILQ_REMOVE_HEAD(&engine->calls, entry);
                        answer(call, denied ? -EACCES : -ENOTCONN, 0, NULL, 0, pool_get_reason(engine->pool));
                        continue;
                }
                if (!session)
                        break;

                r = session_call(session, call->op, call->payload, call->n, call_replied, engine);
                if (r == -EBUSY || r == -ENOTCONN)
                        break; /* the handshake's last packet is still going out: the timer tries again */
                if (r < 0) {
                        STAILQ_REMOVE_HEAD(&engine->calls, entry);
                        answer(call, r, 0, NULL, 0,
                                r == -EOPNOTSUPP ? "the proxy is a classic server, which knows no store operations"
                                                 : strerror(-r));
                        continue;
                }
                call->sent = true;
        }

        arm(engine);
}

static void call_expired(struct ring_timer *timer) {
        struct engine *engine = ENGINE_OF(timer, call_timer);
        struct engine_call *call = STAILQ_FIRST(&engine->calls);

        if (!call)
                return;
        if (ring_now_usec(engine->ring) < call->deadline_usec) {
                engine_calls_step(engine);
                return;
        }

        if (call->sent) {
                /* Its answer would be taken for the next one's. Closing answers it. */
                struct session *session = pool_get_session(engine->pool);

                if (session)
                        session_close(session, SESSION_LOST, FAILURE_TIMEOUT,
                                "the proxy did not answer a store operation in time");
                return;
        }

        STAILQ_REMOVE_HEAD(&engine->calls, entry);
        answer(call, -ENOTCONN, 0, NULL, 0, pool_get_reason(engine->pool));
        engine_calls_step(engine);
}

static void call_stopped(struct ring_timer *timer) {
        engine_stop_step(ENGINE_OF(timer, call_timer));
}

void engine_calls_init(struct engine *engine) {
        STAILQ_INIT(&engine->calls);
        ring_timer_init(&engine->call_timer, engine->ring, call_expired);
        engine->call_timer.stopped = call_stopped;
}

void engine_calls_stop(struct engine *engine) {
        struct engine_call *call, *next;

        for (call = STAILQ_FIRST(&engine->calls); call; call = next) {
                next = STAILQ_NEXT(call, entry);
                if (call->sent)
                        continue; /* the session's end answers it */
                STAILQ_REMOVE(&engine->calls, call, engine_call, entry);
                answer(call, -ESHUTDOWN, 0, NULL, 0, "the worker is stopping");
        }
        ring_timer_unset(&engine->call_timer);
}

static void on_call(struct mail *mail, void *context) {
        struct engine_call *call = (struct engine_call *) mail;
        struct engine *engine = context;

        call->engine = engine;
        call->since_usec = ring_now_usec(engine->ring);
        call->deadline_usec = call->since_usec + call->timeout_usec;
        if (engine->stopping) {
                answer(call, -ESHUTDOWN, 0, NULL, 0, "the worker is stopping");
                return;
        }

        STAILQ_INSERT_TAIL(&engine->calls, call, entry);
        /* What is known of the proxies is of some time ago. */
        if (!pool_get_session(engine->pool))
                pool_hurry(engine->pool);
        engine_calls_step(engine);
}

int engine_call(struct engine *engine, uint32_t op, const void *payload, size_t n, uint64_t timeout_usec,
        engine_reply_t reply, void *userdata) {
        struct engine_call *call;
        int r;

        if (n > CALL_PAYLOAD_MAX)
                return -EMSGSIZE;

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;

        call->mail.deliver = on_call;
        call->op = op;
        call->n = n;
        call->timeout_usec = timeout_usec;
        call->reply = reply;
        call->userdata = userdata;
        if (n > 0)
                memcpy(call->payload, payload, n);

        r = mailbox_send(engine->to_io, &call->mail);
        if (r < 0)
                free(call);
        return r;
}
