/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when the set of configured images may have changed. */

#include <systemd/sd-event.h>

#include "cleanup.h"

struct config_watch;

typedef void (*config_watch_changed_t)(void *userdata);

/* Watches images.d below the configuration directory, also one that is not there yet. changed() comes from the loop, once for many changes in a row. */
int config_watch_new(sd_event *event, config_watch_changed_t changed, void *userdata, struct config_watch **ret);
struct config_watch *config_watch_free(struct config_watch *watch);
DEFINE_CLEANUP(struct config_watch *, config_watch_free);
