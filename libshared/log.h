/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a program tells an administrator: one sentence with structured fields, so that `journalctl IMAGE=vm1` finds what concerns one image, whichever process said it. For
 * those that handle an event; what lies below them returns errors and does not log. */

#include <syslog.h>

#include "cleanup.h"

struct log_field {
        const char *name;  /* "IMAGE", "PROXY", "STATE", "CLIENT", "USER", "MESSAGE_ID" (message-ids.h) */
        const char *value; /* NULL: left out */
};

#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__, {} })

/* What is less important than this is neither printed nor sent: LOG_EMERG ... LOG_DEBUG, LOG_INFO at first. May be called from any thread. */
int log_get_max_level(void);
void log_set_max_level(int level);
/* "debug" and so on. NULL, or -EINVAL, for what is no level. */
const char *log_level_to_string(int level);
int log_level_from_string(const char *name);

/* For main(): the level from $BLOCKSTORE_LOG_LEVEL, and the signals by which it is changed, as in systemd's own services (systemd(1)): SIGRTMIN+22 for debug, SIGRTMIN+23 for info. */
void log_level_init(void);

/* priority: LOG_ERR ... LOG_DEBUG. fields may be NULL, else ends with a NULL name; at most 8 are taken. Control characters become '?': names come from the network. errno
 * is kept. */
void log_event(int priority, const struct log_field *fields, const char *format, ...) _printf_(3, 4);
