/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When an image is said to be parked: no proxy can be had, and I/O has waited for PATIENCE_USEC. Until then it is reconnecting. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "pool.h"

#define PATIENCE_USEC \
        (2U * 1000U * 1000U) /* the kernel's last word on what was under way comes up to 1.5 s after the loss */

struct patience {
        sd_event *event;     /* the owner's */
        uint64_t limit_usec; /* PATIENCE_USEC, but for tests */
        void (*over)(void *userdata);
        void *userdata;

        sd_event_source *timer; /* while I/O waits */
        bool is_over;
};

/* To be told of the pool's state whenever it may have changed. Returns the state that is to be shown; over() is called when that is another one by now. */
enum pool_state patience_observe(struct patience *p, enum pool_state state);
void patience_done(struct patience *p);
