/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker says why it gives up in two ways that outlive it: its exit status, of the table, and the last STATUS= it sent, a sentence for a user. Both are what `systemctl
 * status` shows, so a caller on the bus is told just the same. */

#include <stdio.h>
#include <string.h>

#include "unit-state.h"

/* systemd's own exit statuses, of systemd.exec(5): from 200 on, of which 243 is about credentials. */
#define SYSTEMD_EXIT_FIRST       200
#define SYSTEMD_EXIT_CREDENTIALS 243

/* A worker's status line begins with its state. */
#define FAILED_PREFIX "failed: "

bool unit_state_is_gone(const struct unit_state *state) {
        return strcmp(state->active_state, "inactive") == 0 && state->job == 0;
}

bool unit_state_is_failed(const struct unit_state *state) {
        return strcmp(state->active_state, "failed") == 0 && state->job == 0;
}

bool unit_state_is_limited(const struct unit_state *state) {
        return strcmp(state->result, "start-limit-hit") == 0;
}

bool unit_state_is_up(const struct unit_state *state) {
        return strcmp(state->active_state, "active") == 0 || strcmp(state->active_state, "activating") == 0 ||
               strcmp(state->active_state, "reloading") == 0;
}

static bool in_table(int32_t status) {
        for (unsigned i = 0; i < failure_table_size; i++)
                if ((int32_t) failure_table[i].failure == status)
                        return true;
        return false;
}

static enum failure classify(const struct unit_state *state, const char **ret_cause) {
        *ret_cause = NULL;

        if (strcmp(state->load_state, "not-found") == 0) {
                *ret_cause = "the unit is not installed";
                return FAILURE_SYSTEM;
        }
        if (strcmp(state->load_state, "masked") == 0) {
                *ret_cause = "the unit is masked";
                return FAILURE_SYSTEM;
        }
        if (in_table(state->exec_main_status)) {
                *ret_cause = failure_lookup((enum failure) state->exec_main_status)->description;
                return (enum failure) state->exec_main_status;
        }
        if (state->exec_main_status == SYSTEMD_EXIT_CREDENTIALS) {
                *ret_cause = "its credentials could not be set up";
                return FAILURE_CONFIGURATION;
        }
        if (strcmp(state->result, "timeout") == 0) {
                *ret_cause = "it was not ready within its time";
                return FAILURE_TIMEOUT;
        }
        if (unit_state_is_limited(state))
                return FAILURE_BUSY;
        if (strcmp(state->result, "resources") == 0 || strcmp(state->result, "exec-condition") == 0 ||
                strcmp(state->result, "protocol") == 0 || state->exec_main_status >= SYSTEMD_EXIT_FIRST) {
                *ret_cause = "systemd could not start it";
                return FAILURE_SYSTEM;
        }
        return FAILURE_INTERNAL;
}

static const char *skip_prefix(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : text;
}

enum failure unit_state_failure(const struct unit_state *state, const char *unit, char *message, size_t size) {
        const char *cause;
        enum failure failure = classify(state, &cause);

        if (!message)
                return failure;

        if (unit_state_is_limited(state)) {
                const char *text = cause;

                if (in_table(state->exec_main_status) && state->status_text[0])
                        text = skip_prefix(state->status_text, FAILED_PREFIX);
                (void) snprintf(message, size,
                        "%s was started too often in a row and is not started again by itself. %s%s%sThen: systemctl "
                        "reset-failed %s && systemctl start %s",
                        unit, text ? "Correct why it failed (" : "Wait a moment. ", text ? text : "",
                        text ? "). " : "", unit, unit);
        } else if (state->status_text[0] && in_table(state->exec_main_status))
                (void) snprintf(message, size, "%s", skip_prefix(state->status_text, FAILED_PREFIX));
        else if (cause)
                (void) snprintf(
                        message, size, "%s failed: %s (\"systemctl status %s\" tells more)", unit, cause, unit);
        else
                /* A crash is followed by another start (Restart=), unless there have been too many: systemd keeps the first reason as its result then, and says nothing of the limit. */
                (void) snprintf(message, size,
                        "%s failed (%s, exit status %d) and is not started again by itself. \"systemctl status %s\" "
                        "tells more. Once mended: systemctl reset-failed %s && systemctl start %s",
                        unit, state->result[0] ? state->result : state->active_state, (int) state->exec_main_status,
                        unit, unit, unit);
        return failure;
}

bool unit_state_is_worded(const struct unit_state *state) {
        return unit_state_is_failed(state) && !unit_state_is_limited(state) && in_table(state->exec_main_status);
}
