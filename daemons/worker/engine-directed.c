/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A store operation of one proxy, and of no other: what is asked of whichever proxy the pool has a session with would drain the wrong one. So it has a session of its own, to a list of one address that never grows,
 * for exactly one packet; it is answered exactly once, at the latest by its deadline, and never tried again: it may have been carried out. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine-internal.h"

#define PAYLOAD_MAX 64U
#define RETRY_USEC  (10U * 1000U)

struct directed {
        struct mail mail;
        struct engine *engine;
        char address[IVBS_PROXY_ADDRESS_MAX + 1];
        uint32_t op;
        uint8_t payload[PAYLOAD_MAX];
        size_t n;
        uint64_t timeout_usec, deadline_usec;
        engine_reply_t reply;
        void *userdata;

        struct proxies *proxies;
        struct session *session;
        struct ring_timer timer;
        bool sent, replied;

        int error;
        uint32_t status;
        char message[ENGINE_REASON_MAX];
};

static void on_answer(struct mail *mail, void *context) {
        _cleanup_free_ struct directed *directed = (struct directed *) mail;

        directed->reply(directed->userdata, directed->error, directed->status, NULL, 0, directed->message);
}

static void finish(struct directed *directed) {
        struct engine *engine = directed->engine;

        directed->proxies = proxies_free(directed->proxies);
        directed->mail.deliver = on_answer;
        if (mailbox_send(engine->to_main, &directed->mail) < 0)
                free(directed);
        engine->n_surveys--;
        engine_stop_step(engine);
}

static void timer_stopped(struct ring_timer *timer) {
        struct directed *directed = CONTAINER_OF(timer, struct directed, timer);

        if (!directed->session)
                finish(directed);
}

static void on_replied(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n) {
        struct directed *directed = userdata;

        if (error < 0)
                return; /* the session's end says why */

        directed->replied = true;
        directed->error = 0;
        directed->status = status;
        session_close(directed->session, SESSION_LOST, FAILURE_NONE, "done");
}

static void try_send(struct directed *directed) {
        struct session *s = directed->session;
        int r;

        if (directed->sent || !s || s->state != SESSION_READY)
                return;

        r = session_call(s, directed->op, directed->payload, directed->n, on_replied, directed);
        if (r == -EBUSY) {
                /* The handshake's last packet is still going out. */
                ring_timer_set(&directed->timer, RETRY_USEC);
                return;
        }
        if (r < 0) {
                directed->error = r;
                session_close(s, SESSION_LOST, FAILURE_PROTOCOL, "%s",
                        r == -EOPNOTSUPP ? "the server does not know this operation" : strerror(-r));
                return;
        }

        directed->sent = true;
}

static void on_ready(struct session *s) {
        try_send(s->owner);
}

static void on_request_answered(struct session *s, struct request *request, int error) {
        /* No request is ever sent. */
}

static void on_ended(struct session *s, const struct session_end *end, struct request_list *unanswered) {
        struct directed *directed = s->owner;

        directed->session = NULL;
        if (!directed->replied) {
                if (directed->error == 0)
                        directed->error = end->failure == FAILURE_TIMEOUT   ? -ETIMEDOUT
                                          : end->verdict == SESSION_REFUSED ? -EACCES
                                                                            : -ENOTCONN;
                snprintf(directed->message, sizeof(directed->message), "%s", end->message);
        }

        ring_timer_unset(&directed->timer);
        if (ring_timer_is_idle(&directed->timer))
                finish(directed);
}

static const struct session_ops session_ops = {
        .ready = on_ready,
        .answered = on_request_answered,
        .ended = on_ended,
};

static void timer_expired(struct ring_timer *timer) {
        struct directed *directed = CONTAINER_OF(timer, struct directed, timer);
        uint64_t now = ring_now_usec(directed->engine->ring);

        if (!directed->session)
                return;
        if (now >= directed->deadline_usec) {
                session_close(directed->session, SESSION_LOST, FAILURE_TIMEOUT, "it did not answer in time");
                return;
        }

        ring_timer_set(timer, directed->deadline_usec - now);
        try_send(directed);
}

static void on_order(struct mail *mail, void *context) {
        struct directed *directed = (struct directed *) mail;
        struct proxy_address address = { .address = directed->address };
        struct engine *engine = context;
        int r = -ESHUTDOWN;

        directed->engine = engine;
        engine->n_surveys++;
        ring_timer_init(&directed->timer, engine->ring, timer_expired);
        directed->timer.stopped = timer_stopped;

        if (!engine->stopping)
                r = proxies_new(&directed->proxies, &address, 1, 1);
        if (r >= 0)
                r = session_new(&directed->session, engine->ring, engine->settings.config,
                        engine->settings.credentials, NULL, proxies_get_writable(directed->proxies, 0), false,
                        &session_ops, directed);
        if (r < 0) {
                directed->error = r;
                snprintf(directed->message, sizeof(directed->message), "%s", strerror(-r));
                finish(directed);
                return;
        }

        directed->deadline_usec = ring_now_usec(engine->ring) + directed->timeout_usec;
        ring_timer_set(&directed->timer, directed->timeout_usec);
}

int engine_call_proxy(struct engine *engine, const char *address, uint32_t op, const void *payload, size_t n,
        uint64_t timeout_usec, engine_reply_t reply, void *userdata) {
        struct directed *directed;
        int r;

        if (n > PAYLOAD_MAX || strlen(address) > IVBS_PROXY_ADDRESS_MAX)
                return -EMSGSIZE;

        directed = calloc(1, sizeof(*directed));
        if (!directed)
                return -ENOMEM;

        directed->mail.deliver = on_order;
        strcpy(directed->address, address);
        directed->op = op;
        directed->n = n;
        directed->timeout_usec = timeout_usec;
        directed->reply = reply;
        directed->userdata = userdata;
        if (n > 0)
                memcpy(directed->payload, payload, n);

        r = mailbox_send(engine->to_io, &directed->mail);
        if (r < 0)
                free(directed);
        return r;
}
