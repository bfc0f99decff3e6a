/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what: every decision of the supervisor about a caller on the system bus. */

#include <systemd/sd-bus.h>

#include "cleanup.h"

struct bouncer;

/* The polkit action of a method ("AttachImage"), NULL for one that everybody may call. A method that is not in the table needs the strictest. */
const char *bouncer_action(const char *method);

int bouncer_new(struct bouncer **ret);
struct bouncer *bouncer_free(struct bouncer *bouncer);
DEFINE_CLEANUP(struct bouncer *, bouncer_free);

/* To be called first in a method's handler. Returns 1: go on. 0: it is being asked; return 1 to sd-bus, and handler will be called again with the same message and userdata,
 * which must both live until then. Negative: refused, error is set. */
int bouncer_check(struct bouncer *bouncer, sd_bus_message *message, sd_bus_message_handler_t handler, void *userdata,
        sd_bus_error *error);
/* Forgets what is being asked: the bus is lost. */
void bouncer_clear(struct bouncer *bouncer);
unsigned bouncer_count(const struct bouncer *bouncer);
