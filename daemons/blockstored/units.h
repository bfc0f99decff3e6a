/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* systemd's D-Bus API: start and stop units, wait for the jobs, ask for states and watch them. All asynchronous; over the system bus, or systemd's private socket without one. */

#include <stdbool.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "cleanup.h"
#include "unit-state.h"

struct units;
struct units_call;
struct units_watch;

int units_new(sd_event *event, struct units **ret);
struct units *units_free(struct units *units);
DEFINE_CLEANUP(struct units *, units_free);

/* The system bus, once it is connected, or NULL when it is lost. It is used from the next connection on; what works is not moved. */
int units_set_system_bus(struct units *units, sd_bus *bus);

/* result: "done", "failed", "canceled", "timeout", "dependency", "skipped" ... as systemd names a job's end; NULL when systemd could not be asked or refused, then message says
 * why. */
typedef void (*units_job_done_t)(const char *result, const char *message, void *userdata);
/* error: 0 or a negative errno. */
typedef void (*units_state_done_t)(const struct unit_state *state, int error, void *userdata);
/* state NULL: systemd does not answer. */
typedef void (*units_changed_t)(const struct unit_state *state, void *userdata);
/* Once for each unit that matches, then once with unit NULL. */
typedef void (*units_list_done_t)(const char *unit, const char *active_state, int error, void *userdata);

/* Whether there is a connection at all. */
bool units_are_reachable(const struct units *units);

/* The connection in use, made if need be, and whom to address on it (NULL for nobody). Borrowed. Returns 0 or a negative errno. */
int units_connection(struct units *units, sd_bus **ret_bus, const char **ret_destination);

/* Queues a job (mode "replace") and waits for its end. The callback comes once, from the loop, and never after units_call_free(), which does not cancel the job. */
int units_start(struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret);
int units_stop(struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret);
/* As `systemctl restart`; one that does not run is started. */
int units_restart(
        struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret);
/* No answer wanted. */
void units_reset_failed(struct units *units, const char *unit);
/* The state of a unit; an unknown one is inactive with load state not-found. */
int units_query(
        struct units *units, const char *unit, units_state_done_t done, void *userdata, struct units_call **ret);
/* Those that are loaded and match the pattern. */
int units_list(
        struct units *units, const char *pattern, units_list_done_t done, void *userdata, struct units_call **ret);
struct units_call *units_call_free(struct units_call *call);

/* The state now and after each change, until units_watch_free(). Survives the loss of the connection. */
int units_watch(
        struct units *units, const char *unit, units_changed_t changed, void *userdata, struct units_watch **ret);
struct units_watch *units_watch_free(struct units_watch *watch);
