/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pool knows at once that nobody answers, and acts on it. People are told a moment later: a proxy that is restarted is no reason for a warning in the journal and a notice on a desktop. And
 * "parked" promises that the kernel's log is quiet, which it is only when its driver has said its line about each request that was under way. */

#include <stddef.h>

#include "patience.h"

#define ACCURACY_USEC (100U * 1000U)

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct patience *p = userdata;

        p->is_over = true;
        p->over(p->userdata);
        return 0;
}

enum pool_state patience_observe(struct patience *p, enum pool_state state) {
        if (state != POOL_RECONNECTING && state != POOL_PARKED) {
                patience_done(p);
                return state;
        }

        /* Without a timer there is nothing to wait for. */
        if (!p->timer && sd_event_add_time_relative(
                                 p->event, &p->timer, CLOCK_MONOTONIC, p->limit_usec, ACCURACY_USEC, on_timer, p) < 0)
                p->is_over = true;
        return state == POOL_PARKED && !p->is_over ? POOL_RECONNECTING : state;
}

void patience_done(struct patience *p) {
        p->timer = sd_event_source_disable_unref(p->timer);
        p->is_over = false;
}
