/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The worker's end of a heat map: counts. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"
#include "heat-map.h"

struct heat {
        struct heat_map *map; /* in the memfd */
        int fd;
        double buckets_per_byte;
        uint64_t next_usec; /* when the weight is to be raised */
};

int heat_new(struct heat **ret);
struct heat *heat_free(struct heat *heat);
DEFINE_CLEANUP(struct heat *, heat_free);

/* The image has this size, bytes: what is counted for another one is forgotten. now_usec: CLOCK_MONOTONIC, as below. */
void heat_set_size(struct heat *heat, uint64_t size, uint64_t now_usec);

/* An access; each bucket that it touches counts it. In the data path of each request: no more than a multiplication and an addition, but for once a second. */
void heat_count(struct heat *heat, bool write, uint64_t offset, uint32_t length, uint64_t now_usec);
