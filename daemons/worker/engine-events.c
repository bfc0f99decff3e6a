/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the main thread is told. Of status there is at most one on its way: while the main thread has not taken the last, changes only mark that another is due, so a main
 * thread that is slow gets fewer and newer ones. All else is rare, and a mailbox that cannot take it means that the main thread has been dead for long. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine-internal.h"

struct event_mail {
        struct mail mail;
        struct attachment attachment;
        enum failure failure;
        int error;
        uint64_t size;
        char message[ENGINE_REASON_MAX];
};

struct status_mail {
        struct mail mail;
        struct engine_status status;
};

static struct event_mail *new_event(void (*deliver)(struct mail *mail, void *context)) {
        struct event_mail *event;

        event = calloc(1, sizeof(*event));
        if (!event)
                abort(); /* a few bytes, rarely; without them the main thread would wait for ever */

        event->mail.deliver = deliver;
        return event;
}

static void post(struct engine *engine, struct event_mail *event) {
        int r = mailbox_send(engine->to_main, &event->mail);

        assert(r >= 0);
}

static void on_attached(struct mail *mail, void *context) {
        _cleanup_free_ struct event_mail *event = (struct event_mail *) mail;
        struct engine *engine = context;

        if (engine->events->attached)
                engine->events->attached(engine->userdata, &event->attachment);
}

void engine_post_attached(struct engine *engine) {
        struct event_mail *event;

        if (!engine->settings.attachment)
                return;

        event = new_event(on_attached);
        event->attachment = *engine->settings.attachment;
        explicit_bzero(event->attachment.token, sizeof(event->attachment.token));
        post(engine, event);
}

static void on_resized(struct mail *mail, void *context) {
        _cleanup_free_ struct event_mail *event = (struct event_mail *) mail;
        struct engine *engine = context;

        if (engine->events->resized)
                engine->events->resized(engine->userdata, event->size);
}

void engine_post_resized(struct engine *engine) {
        struct event_mail *event = new_event(on_resized);

        event->size = engine->settings.attachment->size;
        post(engine, event);
}

static void on_failed(struct mail *mail, void *context) {
        _cleanup_free_ struct event_mail *event = (struct event_mail *) mail;
        struct engine *engine = context;

        engine->events->failed(engine->userdata, event->failure, event->message);
}

void engine_post_failed(struct engine *engine, enum failure failure, const char *message) {
        struct event_mail *event = new_event(on_failed);

        event->failure = failure;
        snprintf(event->message, sizeof(event->message), "%s", message);
        post(engine, event);
}

static void on_kernel_lost(struct mail *mail, void *context) {
        struct engine *engine = context;

        free(mail);
        if (engine->events->kernel_lost)
                engine->events->kernel_lost(engine->userdata);
}

void engine_post_kernel_lost(struct engine *engine) {
        post(engine, new_event(on_kernel_lost));
}

static void on_stopped(struct mail *mail, void *context) {
        _cleanup_free_ struct event_mail *event = (struct event_mail *) mail;
        struct engine *engine = context;

        engine->events->stopped(engine->userdata, event->error);
}

void engine_post_stopped(struct engine *engine, int error) {
        struct event_mail *event = new_event(on_stopped);

        event->error = error;
        post(engine, event);
}

static void on_alive(struct mail *mail, void *context) {
        struct engine *engine = context;

        free(mail);
        if (engine->events->alive)
                engine->events->alive(engine->userdata);
}

void engine_post_alive(struct engine *engine) {
        struct event_mail *event = new_event(on_alive);

        /* A main thread that takes none of them is dead, and the watchdog is to find out. */
        if (mailbox_send(engine->to_main, &event->mail) < 0)
                free(event);
}

void engine_take_picture(struct engine *engine, struct engine_status *ret) {
        struct proxies *proxies = pool_get_proxies(engine->pool);
        const struct proxy *active = pool_get_active(engine->pool);
        const struct proxy *standby = pool_get_standby(engine->pool);

        *ret = (struct engine_status){
                .state = pool_get_state(engine->pool),
                .state_since_usec = pool_get_state_since(engine->pool),
                .n_sessions = pool_get_sessions(engine->pool),
                .retained_bytes = pool_get_retained(engine->pool),
                .classic = engine->settings.attachment && engine->settings.attachment->attached &&
                           !engine->settings.attachment->modern,
                .failovers = pool_get_failovers(engine->pool),
                .reconnects = pool_get_reconnects(engine->pool),
                .n_clients = engine->n_clients,
                .stats = engine->stats,
                .n_proxies = proxies_count(proxies),
                .stalled_usec = io_stats_stalled_usec(&engine->stats, ring_now_usec(engine->ring)),
        };
        if (ret->stalled_usec > 0)
                io_stats_end_stall(&ret->stats, ret->stalled_usec);
        if (engine->stats.completed > engine->shown_completed)
                ret->latency_usec = (engine->stats.latency_usec - engine->shown_latency_usec) /
                                    (engine->stats.completed - engine->shown_completed);
        snprintf(ret->reason, sizeof(ret->reason), "%s", pool_get_reason(engine->pool));
        if (active)
                strcpy(ret->active_proxy, active->address);
        if (standby)
                strcpy(ret->standby_proxy, standby->address);

        for (size_t i = 0; i < ret->n_proxies; i++) {
                const struct proxy *proxy = proxies_get(proxies, i);

                ret->proxies[i] = (struct engine_proxy){
                        .priority = proxy->priority,
                        .state = proxy->state,
                        .round_trip_usec = proxy->round_trip_usec,
                        .failures = proxy->failures,
                        .announced = proxy->announced,
                        .drained = proxy->drained,
                };
                strcpy(ret->proxies[i].address, proxy->address);
                strcpy(ret->proxies[i].reason, proxy->reason);
        }
}

/* Back on the I/O thread: the last one was taken. */
static void on_status_taken(struct mail *mail, void *context) {
        struct engine *engine = context;

        free(mail);
        engine->status_pending = false;
        if (engine->status_due)
                engine_status_changed(engine);
}

static void on_status(struct mail *mail, void *context) {
        struct status_mail *status = (struct status_mail *) mail;
        struct engine *engine = context;

        if (engine->events->status)
                engine->events->status(engine->userdata, &status->status);

        /* The same piece of memory goes back as the receipt. */
        mail->deliver = on_status_taken;
        if (mailbox_send(engine->to_io, mail) < 0)
                free(mail);
}

void engine_status_changed(struct engine *engine) {
        struct status_mail *status;

        if (!engine->pool)
                return;
        if (engine->status_pending) {
                engine->status_due = true;
                return;
        }

        status = malloc(sizeof(*status));
        if (!status) {
                engine->status_due = true;
                return;
        }

        engine_take_picture(engine, &status->status);
        status->mail.deliver = on_status;
        if (mailbox_send(engine->to_main, &status->mail) < 0) {
                free(status);
                engine->status_due = true;
                return;
        }

        engine->status_pending = true;
        engine->status_due = false;
        engine->shown_completed = engine->stats.completed;
        engine->shown_latency_usec = engine->stats.latency_usec;
}
