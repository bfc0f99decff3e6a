/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether the system is going down. */

#include <stdbool.h>

#include <systemd/sd-event.h>

#include "cleanup.h"

struct going_down;

/* begun() comes at most once, from the event loop: as soon as blockstore-shutdown.service has said so, or soon if it has already. Where there is no runtime directory to watch nothing ever comes, and that is no
 * error. */
int going_down_new(struct going_down **ret, sd_event *event, void (*begun)(void *userdata), void *userdata);
/* As of now: a notice may be taken back. */
bool going_down_is_announced(const struct going_down *g);
struct going_down *going_down_free(struct going_down *g);
DEFINE_CLEANUP(struct going_down *, going_down_free);
