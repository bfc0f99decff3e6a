/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a program tells an administrator: one sentence with structured fields, so that `journalctl IMAGE=vm1` finds what concerns one image, whichever process said it. For
 * those that handle an event; what lies below them returns errors and does not log. */

#include <syslog.h>

#include "cleanup.h"

struct log_field {
        const char *name;  /* "IMAGE", "PROXY", "STATE", "CLIENT", "USER" */
        const char *value; /* NULL: left out */
};

#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__, {} })

/* priority: LOG_ERR ... LOG_DEBUG. fields may be NULL, else ends with a NULL name; at most 8 are taken. Control characters become '?': names come from the network. errno
 * is kept. */
void log_event(int priority, const struct log_field *fields, const char *format, ...) _printf_(3, 4);
