/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Since when the image is in the state that is shown, and what is worth a line in the journal. Pure: the clock is handed in, and the owner logs. */

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "error-table.h"

#define TRANSITION_MESSAGE_MAX 1280U

struct transitions {
        char state[16]; /* "" before the first */
        uint64_t since_usec;
        uint64_t waiting_usec; /* since when I/O waits; 0: it does not */
        uint64_t failovers;
        char proxy[IVBS_PROXY_ADDRESS_MAX + 1]; /* the last one that I/O went to; "" for none yet */
};

/* A line for the journal. */
struct transition {
        int priority;           /* LOG_ERR ... LOG_INFO */
        const char *message_id; /* of message-ids.h */
        char message[TRANSITION_MESSAGE_MAX];
        char proxy[IVBS_PROXY_ADDRESS_MAX + 1]; /* whom it is about; "": nobody */
};

/* What is shown from now on. state: a printable state name. reason: a sentence, or "". detail: what "attached" means here ("as /dev/nbd0, 4096 bytes"). now_usec: CLOCK_REALTIME. Returns whether
 * this is to be logged, and then fills ret. */
bool transitions_observe(struct transitions *t, const char *state, const char *reason, const char *detail,
        const struct engine_status *status, uint64_t now_usec, struct transition *ret);

/* MESSAGE_ID= of a worker's end. attached: it had been. */
const char *transitions_failure_id(enum failure failure, bool attached);
