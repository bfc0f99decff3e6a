/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What systemd says about a unit, and what that means as a failure of error-table.h. Pure. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"
#include "error-table.h"

struct unit_state {
        char load_state[24];   /* loaded, not-found, masked ... */
        char active_state[24]; /* inactive, activating, active, deactivating, failed ... */
        char sub_state[32];
        char result[32];       /* success, exit-code, signal, timeout, start-limit-hit ... ; "" for units without */
        char status_text[512]; /* what the service said with STATUS= */
        int32_t exec_main_status;
        uint32_t exec_main_pid; /* of the last main process, also when it has ended */
        uint32_t job;           /* id of a queued job, 0 none */
};

/* Why the unit is not running as wanted: the failure, and a sentence that names the unit. message may be NULL. */
enum failure unit_state_failure(const struct unit_state *state, const char *unit, char *message, size_t size);

bool unit_state_is_gone(const struct unit_state *state); /* inactive, and nothing is queued that would start it */
bool unit_state_is_failed(const struct unit_state *state);
/* Started too often in a row: systemd does not try again. */
bool unit_state_is_limited(const struct unit_state *state);
/* Failed by itself, with a status of error-table.h: it has said why. */
bool unit_state_is_worded(const struct unit_state *state);
bool unit_state_is_up(const struct unit_state *state); /* running, or on its way */
