/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Faults, one after the other: chosen by the seed, injected, undone, and waited for until all is well again. What each has cost in time goes to the statistics. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"
#include "points.h"
#include "rig.h"
#include "statistics.h"
#include "workload.h"

struct schedule;

/* Kinds by number, from 0: their names as --only takes them, and what they do. NULL: no such kind. The first, "none", is the time between faults. */
const char *fault_name(unsigned kind);
const char *fault_text(unsigned kind);
/* -EINVAL: there is none of that name. */
int fault_from_name(const char *name, size_t n);
/* Longest stall that is promised for this kind, in µs; UINT64_MAX: none is. */
uint64_t fault_limit_usec(unsigned kind, uint64_t dead_time_usec);

struct schedule_options {
        uint64_t seed;
        uint64_t dead_time_usec;
        uint64_t io_timeout_usec; /* the worker's; 0: infinity */
        uint64_t only;            /* bit 1 << kind; 0: all that this rig can do */
        unsigned each;            /* no kind more often than that, and the end when none is left; 0: no limit */
        struct points *points;    /* nothing but these, until each was tried; NULL: none */
        bool retained;            /* the worker keeps what is not flushed, so that a failed flush can be made good */
        bool verbose;             /* tell each fault */
};

int schedule_new(struct schedule **ret, struct rig *rig, struct workload *workload, struct statistics *statistics,
        const struct schedule_options *options);
struct schedule *schedule_free(struct schedule *schedule);
DEFINE_CLEANUP(struct schedule *, schedule_free);

/* No further fault after the present one. */
void schedule_stop(struct schedule *schedule);
bool schedule_is_over(const struct schedule *schedule);
unsigned schedule_n_faults(const struct schedule *schedule);
