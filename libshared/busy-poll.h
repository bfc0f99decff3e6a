/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a loop that has nothing to do is to look again at once instead of sleeping: sleeping and being woken costs two switches and, where it wakes an idle processor, an interrupt
 * between processors (in virtual machines some 20 to 40 µs), which one request at a time pays at each of its four hand-overs. */

#include <stdbool.h>
#include <stdint.h>

#define BUSY_POLL_DEFAULT_USEC UINT64_C(100)
#define BUSY_POLL_MAX_USEC     UINT64_C(1000)

struct busy_poll {
        uint64_t bound_usec; /* for how long to look at most; 0: never */

        /* private */
        uint16_t short_waits; /* one bit for each of the last waits, the newest lowest: set when it was short */
};

/* Whether the wait that is about to begin will probably be a short one. */
bool busy_poll_pays(const struct busy_poll *poll);

/* How long a wait has taken, µs; slept: including the time to fall asleep and to wake up. */
void busy_poll_learn(struct busy_poll *poll, uint64_t waited_usec, bool slept);
