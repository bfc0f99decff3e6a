/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Feeds the model from the bus: by signals as they come, and whole when somebody wants to be sure. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "model.h"

#define BUS_NAME     "org.blockstore"
#define BUS_PATH     "/org/blockstore"
#define BUS_MANAGER  "org.blockstore.Manager"
#define BUS_IMAGE    "org.blockstore.Image"
#define BUS_JOB      "org.blockstore.Job"
#define IMAGE_PREFIX "/org/blockstore/image"
#define JOB_PREFIX   "/org/blockstore/job"

struct watch;
struct watch_waiter;

int watch_new(sd_bus *bus, sd_event *event, struct model *model, struct watch **ret);
struct watch *watch_free(struct watch *watch);
DEFINE_CLEANUP(struct watch *, watch_free);

/* Has ready called, from the loop, when the model is what the supervisor said no earlier than a fifth of a second before this call, or (r < 0) when it did not answer. However many ask, one call is under way at a
 * time. */
int watch_ask(struct watch *watch, void (*ready)(int r, void *userdata), void *userdata, struct watch_waiter **ret);
/* ready will not be called. Accepts NULL. */
struct watch_waiter *watch_waiter_free(struct watch_waiter *waiter);
/* Something has been changed by us: what was asked for before does not count as fresh any more. */
void watch_note_change(struct watch *watch);
/* Asks for nobody in particular. */
void watch_refresh(struct watch *watch);
