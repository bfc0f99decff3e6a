/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Log lines about one image carry its name in the text, for people, and as a field, for journalctl IMAGE=NAME. */

#include "log.h"
#include "message-ids.h"

#define log_image(priority, image, format, ...) \
        log_event(priority, LOG_FIELDS({ "IMAGE", (image) }), "%s: " format, (image), ##__VA_ARGS__)
#define log_image_event(priority, id, image, format, ...)                                                     \
        log_event(priority, LOG_FIELDS({ "MESSAGE_ID", (id) }, { "IMAGE", (image) }), "%s: " format, (image), \
                ##__VA_ARGS__)
#define log_message(priority, ...) log_event(priority, NULL, __VA_ARGS__)
