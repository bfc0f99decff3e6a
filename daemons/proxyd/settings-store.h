/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For settings.c: what is said of the store. */

#include "config.h"
#include "settings.h"

/* A handler, of struct settings. */
int settings_handle_store(struct config_context *context, struct json_object *value, void *userdata);
/* What was not said, of a store that is no directory. Returns 0 or -ENOMEM. */
int settings_complete_store(struct settings *settings);
void settings_free_store(struct settings *settings);
