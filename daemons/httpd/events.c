/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A listener is an exchange whose answer has no end. One that does not read what it is sent is ended when its queue is full: it may come again, and gets a snapshot then. Now and then everybody gets a comment,
 * because whether a silent peer is still there shows only when something is sent. */

#include <errno.h>
#include <string.h>

#include "events.h"

#define TICK_USEC       UINT64_C(1000000)
#define TICKS_KEEPALIVE 15U

struct events {
        sd_event_source *timer;
        void (*tick)(void *userdata);
        void *userdata;
        struct exchange *listeners[EVENTS_LISTENERS_MAX];
        unsigned n, ticks;
};

static void broadcast(struct events *events, const char *text, size_t n) {
        for (unsigned i = 0; i < events->n; i++)
                if (exchange_stream_push(events->listeners[i], text, n) < 0)
                        exchange_stream_end(events->listeners[i]);
}

static void arm(struct events *events) {
        if (sd_event_source_set_time_relative(events->timer, TICK_USEC) >= 0)
                (void) sd_event_source_set_enabled(events->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct events *events = userdata;

        if (events->n == 0)
                return 0;
        if (++events->ticks % TICKS_KEEPALIVE == 0)
                broadcast(events, ":\n\n", 3);
        events->tick(events->userdata);
        arm(events);
        return 0;
}

int events_new(sd_event *event, void (*tick)(void *userdata), void *userdata, struct events **ret) {
        _cleanup_(events_freep) struct events *events = calloc(1, sizeof(*events));
        int r;

        if (!events)
                return -ENOMEM;
        events->tick = tick;
        events->userdata = userdata;
        r = sd_event_add_time(event, &events->timer, CLOCK_MONOTONIC, 0, 50000, on_timer, events);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(events->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(events);
        return 0;
}

struct events *events_free(struct events *events) {
        if (!events)
                return NULL;

        sd_event_source_disable_unref(events->timer);
        free(events);
        return NULL;
}

static void on_gone(struct exchange *exchange, void *userdata) {
        struct events *events = userdata;

        for (unsigned i = 0; i < events->n; i++)
                if (events->listeners[i] == exchange) {
                        events->listeners[i] = events->listeners[--events->n];
                        return;
                }
}

/* JSON has no line ends in it, so each event is one data line. */
static char *format(const char *name, struct json_object *object, size_t *ret_size) {
        const char *text = object ? json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
        char *event;
        int n;

        n = text ? asprintf(&event, "event: %s\ndata: %s\n\n", name, text) : -1;
        if (n < 0)
                return NULL;
        *ret_size = (size_t) n;
        return event;
}

int events_listen(struct events *events, struct exchange *exchange, struct json_object *snapshot) {
        _cleanup_free_ char *event = NULL;
        size_t n;
        int r;

        if (events->n >= EVENTS_LISTENERS_MAX)
                return -EBUSY;
        event = format("snapshot", snapshot, &n);
        if (!event)
                return -ENOMEM;

        r = exchange_stream(exchange, "text/event-stream");
        if (r < 0)
                return r;
        exchange_on_gone(exchange, on_gone, events);
        events->listeners[events->n++] = exchange;
        if (events->n == 1)
                arm(events);
        /* The queue holds the largest snapshot that a host of hundreds of images has; one that does not fit ends the stream. */
        if (exchange_stream_push(exchange, event, n) < 0)
                exchange_stream_end(exchange);
        return 0;
}

unsigned events_count(const struct events *events) {
        return events->n;
}

void events_send(struct events *events, const char *name, struct json_object *object) {
        _cleanup_free_ char *event = NULL;
        size_t n;

        if (events->n == 0 || !object)
                return;
        event = format(name, object, &n);
        if (event)
                broadcast(events, event, n);
}
