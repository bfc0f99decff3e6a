/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what: every decision of the supervisor about a caller on the system bus. */

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"

struct bouncer;

/* The polkit action of a method ("AttachImage"), NULL for one that everybody may call. A method that is not in the table needs the strictest. is_owner: the caller has attached what it is about. */
const char *bouncer_action(const char *method, bool is_owner);

int bouncer_new(struct bouncer **ret);
struct bouncer *bouncer_free(struct bouncer *bouncer);
DEFINE_CLEANUP(struct bouncer *, bouncer_free);

/* To be called first in a method's handler. Returns 1: go on. 0: it is being asked; return 1 to sd-bus, and handler will be called again with the same message and userdata,
 * which must both live until then. Negative: refused, error is set. */
int bouncer_check(struct bouncer *bouncer, sd_bus_message *message, sd_bus_message_handler_t handler, void *userdata,
        sd_bus_error *error);
/* The same for a method that has an action of its own for what somebody else has attached. owner: the uid of whoever has. */
int bouncer_check_owner(struct bouncer *bouncer, sd_bus_message *message, uid_t owner,
        sd_bus_message_handler_t handler, void *userdata, sd_bus_error *error);
/* After bouncer_check() has returned 1, in the same call: who calls. */
uid_t bouncer_caller(const struct bouncer *bouncer, const sd_bus_message *message);
/* Forgets what is being asked: the bus is lost. */
void bouncer_clear(struct bouncer *bouncer);
unsigned bouncer_count(const struct bouncer *bouncer);
