/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The past tells: of the last sixteen waits, whether looked away or slept away, three quarters have to have been short enough that looking would have met their end. So looking in vain is
 * rare: an idle image, one with a request now and then, and a loop on a machine so busy that nobody answers soon, never look; once the load ends, five looks in vain are the last.
 * A fixed bound without a memory would burn its time at each of those waits. */

#include "busy-poll.h"

/* What waking up adds to a wait that looking would not have had. */
#define WAKE_UP 2U

#define ENOUGH  12

bool busy_poll_pays(const struct busy_poll *poll) {
        return poll->bound_usec > 0 && __builtin_popcount(poll->short_waits) >= ENOUGH;
}

void busy_poll_learn(struct busy_poll *poll, uint64_t waited_usec, bool slept) {
        bool is_short = waited_usec <= (slept ? WAKE_UP * poll->bound_usec : poll->bound_usec);

        poll->short_waits = (uint16_t) (poll->short_waits << 1 | is_short);
}
