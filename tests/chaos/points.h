/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The list of named points (tests/chaos/points), as things to be tried: each once by killing the process that passes it, and once by stopping it. */

#include <stdbool.h>
#include <stdint.h>

struct point {
        char name[48];
        bool in_worker;      /* otherwise in the proxy */
        bool stop;           /* otherwise it is killed */
        bool volatile_store; /* comes about only where a sync fails or power is lost */
        unsigned
                n_tries; /* at most POINT_TRIES: what leads to a point does not always, as when a cut finds nothing in flight */
        bool tried, reached; /* tried: for good */
};

#define POINT_TRIES 4U

struct points {
        struct point *points;
        unsigned n;
};

/* In an order that the seed chooses. volatile_store: only those that need it, otherwise only the others. Returns 0, -EBADMSG for a line that is none, or another negative errno. */
int points_load(struct points *ret, const char *path, bool volatile_store, uint64_t seed);
void points_done(struct points *points);
/* The next to be tried; NULL: none is left. */
struct point *points_next(struct points *points);
