/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Server-sent events (HTML Living Standard, "Server-sent events"): everybody who listens hears of every change. */

#include <systemd/sd-event.h>

#include "exchange.h"
#include "model.h"

#define EVENTS_LISTENERS_MAX 16U

struct events;

/* tick is called once a second while somebody listens. */
int events_new(sd_event *event, void (*tick)(void *userdata), void *userdata, struct events **ret);
struct events *events_free(struct events *events);
DEFINE_CLEANUP(struct events *, events_free);

/* Returns -EBUSY when there are too many already. snapshot is what this one is told first. */
int events_listen(struct events *events, struct exchange *exchange, struct json_object *snapshot);
unsigned events_count(const struct events *events);

/* One event to all; object is borrowed, NULL (no memory) is told nobody. */
void events_send(struct events *events, const char *name, struct json_object *object);
