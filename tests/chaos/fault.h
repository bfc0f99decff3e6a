/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kinds of fault have in common. A fault is a function of steps: the schedule calls it when its time has come; it looks at s->step, does that, and says by its result when
 * it wants to be called again. It returns true when it is over: injected, and undone. The table of kinds is in schedule.c. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dice.h"
#include "points.h"
#include "schedule.h"

#define FAULT_TICK (2 * MSEC)

enum phase {
        PHASE_PAUSE,
        PHASE_FAULT,
        PHASE_RECOVERY,
};

struct schedule {
        struct rig *rig;
        struct workload *workload;
        struct statistics *statistics;
        struct schedule_options options;
        struct dice dice;
        sd_event_source *timer;

        enum phase phase;
        unsigned kind, n_faults;
        uint64_t next_usec, began_usec, step_began_usec, n_done_before, first_done_usec;
        bool stopping, over;

        /* The fault's own, from its first step to its last. */
        unsigned step;
        unsigned target; /* the proxy that it is for: the active one when it began */
        uint64_t parameter;
        unsigned lies_left;
        pid_t control_pid;
        struct point *point;
};

/* For a fault's result: the next step after so many µs; the same one again in a moment, what being what it waits for; again after so many µs. */
bool fault_go_on(struct schedule *s, uint64_t usec);
bool fault_wait_more(struct schedule *s, const char *what);
void fault_after(struct schedule *s, uint64_t usec);

struct rig_proxy *fault_target(struct schedule *s);
/* Unless it runs. A failure is counted. */
void fault_start_proxy(struct schedule *s, unsigned proxy);

/* fault-proxy.c */
bool fault_kill(struct schedule *s);
bool fault_freeze(struct schedule *s);
bool fault_short_freeze(struct schedule *s);
bool fault_stop(struct schedule *s);
bool fault_rolling(struct schedule *s);
bool fault_drain(struct schedule *s);
bool fault_sync_error(struct schedule *s);
bool fault_slow_disk(struct schedule *s);

/* fault-away.c */
bool fault_no_proxy(struct schedule *s);
bool fault_io_timeout(struct schedule *s);

/* fault-network.c */
bool fault_cut_one(struct schedule *s);
bool fault_cut_all(struct schedule *s);
bool fault_black_hole(struct schedule *s);
bool fault_slow(struct schedule *s);
bool fault_half_packet(struct schedule *s);
bool fault_lie_status(struct schedule *s);
bool fault_lie_error(struct schedule *s);
bool fault_lie_header(struct schedule *s);

/* fault-worker.c */
bool fault_worker_kill(struct schedule *s);

/* fault-at-point.c */
bool fault_at_point(struct schedule *s);
