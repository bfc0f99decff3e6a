/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a run has counted, and its report. Wrong blocks and errors are told as they are found, with the time since the start. */

#include <stdbool.h>
#include <stdint.h>

#include "model.h"

#define STATISTICS_KINDS_MAX 32U

struct stall_list {
        uint64_t *usec;
        unsigned n, size;
};

struct statistics {
        uint64_t started_usec;
        uint64_t reads, writes, fua, flushes, trims, zeroes; /* answered without error */
        uint64_t bytes_read, bytes_written, blocks_checked;
        uint64_t wrong[_WRONG_MAX], n_wrong;
        uint64_t errors, excused_errors, unanswered;    /* unanswered: lost with a killed worker */
        struct stall_list stalls[STATISTICS_KINDS_MAX]; /* one for each fault injected, by its kind */
};

/* Time and text, on a line of its own. */
void statistics_say(const struct statistics *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void statistics_error(struct statistics *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void statistics_wrong(struct statistics *s, enum model_wrong wrong, uint64_t offset, const char *text);
void statistics_add_stall(struct statistics *s, unsigned kind, uint64_t usec);

unsigned statistics_n_stalls(const struct statistics *s, unsigned kind);
uint64_t statistics_longest(const struct statistics *s, unsigned kind);
uint64_t statistics_median(struct statistics *s, unsigned kind);
/* name(kind): NULL behind the last kind. */
void statistics_report(struct statistics *s, const char *(*name)(unsigned kind));
void statistics_done(struct statistics *s);
