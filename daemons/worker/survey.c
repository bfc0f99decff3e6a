/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The proxy in use is asked as well, for what only a new session is told; whether it is there the session in use knows better.
 *
 * All at the same time: one that does not answer costs its connect time-out, and not that of each behind it. The round trip shown is that of connecting and logging in. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "survey.h"

struct survey {
        struct ring *ring;
        struct proxies *proxies;
        const struct proxy *used;
        survey_done_t done;
        void *userdata;
        unsigned pending;
};

static void release(struct survey *survey) {
        if (--survey->pending > 0)
                return;

        survey->done(survey->userdata);
        free(survey);
}

static bool is_used(const struct survey *survey, const struct proxy *proxy) {
        return proxy == survey->used;
}

static void on_ready(struct session *s) {
        if (is_used(s->owner, s->proxy)) {
                session_close(s, SESSION_LOST, FAILURE_NONE, "surveyed");
                return;
        }
        proxy_succeeded(s->proxy, ring_now_usec(s->ring) - s->started_usec);
        proxy_served(s->proxy); /* nothing more is asked of it */
        s->proxy->state = PROXY_REACHABLE;
        session_close(s, SESSION_LOST, FAILURE_NONE, "surveyed");
}

static void on_answered(struct session *s, struct request *request, int error) {
        /* No request is ever sent. */
}

static void on_ended(struct session *s, const struct session_end *end, struct request_list *unanswered) {
        struct survey *survey = s->owner;

        if (end->failure != FAILURE_NONE && !is_used(survey, s->proxy))
                proxy_failed(survey->proxies, s->proxy, ring_now_usec(s->ring),
                        end->verdict == SESSION_REFUSED ? PROXY_REFUSED : PROXY_UNREACHABLE, end->message);
        release(survey);
}

static const struct session_ops session_ops = {
        .ready = on_ready,
        .answered = on_answered,
        .ended = on_ended,
};

int survey_start(struct ring *ring, const struct host_config *config, const struct credentials *credentials,
        struct proxies *proxies, const struct proxy *used, survey_done_t done, void *userdata) {
        struct survey *survey;

        survey = calloc(1, sizeof(*survey));
        if (!survey)
                return -ENOMEM;

        *survey = (struct survey){
                .ring = ring,
                .proxies = proxies,
                .used = used,
                .done = done,
                .userdata = userdata,
                .pending = 1,
        };
        for (size_t i = 0; i < proxies_count(proxies); i++) {
                struct proxy *proxy = proxies_get_writable(proxies, i);
                struct session *session;

                if (session_new(&session, ring, config, credentials, NULL, proxy, false, &session_ops, survey) >= 0)
                        survey->pending++;
        }

        release(survey);
        return 0;
}
