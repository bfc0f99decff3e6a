/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct options {
        const char *build, *directory, *self_test, *rules_off, *rule, *points, *ceph;
        double minutes;
        uint64_t seed, dead_time_usec, io_timeout_usec, only, size; /* io_timeout_usec 0: infinity */
        unsigned kills, each, n_proxies, depth;
        bool limits, verbose, any_order, volatile_store;
};

/* Returns 0, 1 when all has been said (--help, --list), or a negative errno after a message. */
int options_parse(struct options *options, int argc, char *argv[]);
