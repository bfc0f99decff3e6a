/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where an image is read and written: accesses of each 1/1024 of it, decaying, so that what was long ago counts for less. A worker counts into a memfd, and hands a copy of the descriptor to the supervisor once: nothing is
 * sent while nobody looks. */

#include <stdint.h>

#define HEAT_BUCKETS        1024U
#define HEAT_HALF_LIFE_USEC (5U * 60U * 1000U * 1000U)
#define HEAT_MAGIC          0x4d544145484b4c42U /* "BLKHEATM" */

/* What is in the memfd, in the host's byte order: both ends are on one machine. A number of accesses is reads[i] / weight as of weight_usec; the weight of a new access grows instead of all others shrinking. */
struct heat_map {
        uint64_t magic;
        uint64_t changing;    /* odd while all of it is being rewritten */
        uint64_t size;        /* of the image, bytes; 0: nothing is known yet */
        uint64_t weight_usec; /* CLOCK_MONOTONIC */
        double weight;        /* of an access then */
        double reads[HEAT_BUCKETS], writes[HEAT_BUCKETS];
};

/* As somebody sees it: accesses, one that was just now counting 1, one of a half-life ago 1/2. */
struct heat_picture {
        uint64_t size;
        double reads[HEAT_BUCKETS], writes[HEAT_BUCKETS];
};

/* Whether fd can be read without waiting and without being cut short under us: a sealed memfd of the right size. Returns 0, or -EINVAL. */
int heat_map_check(int fd);
/* now_usec: CLOCK_MONOTONIC. Nothing of what the worker has written is believed: a number that is none is 0. Returns 0; -EAGAIN when it was being rewritten all the time; -EBADMSG; or a negative errno. */
int heat_map_read(int fd, uint64_t now_usec, struct heat_picture *ret);
