/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What each block of the image may hold. Nothing here does I/O: the workload says when it sends a change and what became of it, and asks whether what it has read is acceptable.
 *
 * Time is a count of events; a write's content is named by the event at which it was sent. The rules:
 *   - A change that is in flight may or may not have happened.
 *   - A write or zeroing that was acknowledged is there, and with it everything older is gone: seen again it is a ghost.
 *   - A change that failed, or whose client was lost, may have happened or not, or happens yet, until a later change of the same block is acknowledged.
 *   - Once such changes are settled, each has happened or never will: the first read of a block decides, and all later ones must bring the same.
 *   - A trimmed block holds zeroes or what it held.
 * "Older" depends on who reads. Strictly (a connection of its own, as the worker promises to order what overlaps): sent before. Otherwise, as any observer may have it: finished
 * before the other was sent. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"

struct model;

enum model_change {
        MODEL_WRITE,
        MODEL_ZERO,
        MODEL_TRIM,
};

enum model_outcome {
        MODEL_DONE,
        MODEL_UNKNOWN,
};

enum model_wrong {
        WRONG_STALE,     /* a content that an acknowledged change has replaced: lost write, or ghost */
        WRONG_TORN,      /* damaged, or mixed */
        WRONG_MISPLACED, /* belongs to another offset */
        WRONG_FOREIGN,   /* of another run, or of a write that never was */
        WRONG_ORDER,     /* a request was answered before an earlier one that it overlaps */
        _WRONG_MAX,
};

const char *model_wrong_to_string(enum model_wrong wrong);

typedef void (*model_report_t)(void *userdata, enum model_wrong wrong, uint64_t offset, const char *text);

/* size: bytes, a multiple of CHAOS_BLOCK. strict: see above. report is called once for each wrong block, until that is written again. */
int model_new(struct model **ret, uint64_t size, uint64_t seed, bool strict, model_report_t report, void *userdata);
struct model *model_free(struct model *model);
DEFINE_CLEANUP(struct model *, model_free);

/* The next event: call it for each request that is sent, reads too. */
uint64_t model_event(struct model *model);
/* No read that was sent before this event is outstanding: what was replaced by then can be forgotten. */
void model_set_horizon(struct model *model, uint64_t event);

/* Changes that have failed or were lost by now are settled: nobody has them in hand any more, nor repeats what they have covered. */
void model_settle(struct model *model);

/* A change is sent; sent is its model_event() and, for a write, what block_fill() was given as counter. -ENOMEM. */
int model_begin(struct model *model, enum model_change change, uint64_t offset, uint64_t length, uint64_t sent);
void model_end(struct model *model, enum model_change change, uint64_t offset, uint64_t length, uint64_t sent,
        enum model_outcome outcome);

/* What a read that was sent at that event has brought. ordered: on the connection of the changes. Returns the number of wrong blocks. */
unsigned model_check(
        struct model *model, uint64_t offset, uint64_t length, const uint8_t *data, uint64_t sent, bool ordered);

/* The content that offset must have, if there is exactly one: 1 and its counter (0: zeroes). Otherwise 0. */
int model_settled(struct model *model, uint64_t offset, uint64_t *ret_counter);
