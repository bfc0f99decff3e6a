/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Proof that the driver finds what it looks for: damages the image behind everybody's back, as a defect would. */

#include "rig.h"
#include "workload.h"

enum self_test {
        SELF_TEST_NONE,
        SELF_TEST_CORRUPT,   /* one bit is another */
        SELF_TEST_TORN,      /* half a block is of an older write */
        SELF_TEST_MISPLACED, /* a block stands where another belongs */
        SELF_TEST_GHOST,     /* an older write of the same block has come back */
        SELF_TEST_LOST,      /* a write is acknowledged and not done */
        _SELF_TEST_MAX,
};

/* -EINVAL: no such test. */
int self_test_from_string(const char *name);
/* Before the workload: SELF_TEST_LOST takes effect while it runs. */
void self_test_begin(struct rig *rig, enum self_test test);
/* Some time later: remembers what the image holds, for the ghost. */
int self_test_remember(struct rig *rig, uint8_t **ret_memory);
/* When all is written and flushed. memory: of self_test_remember(). Returns 1 when something was damaged, 0 when there was nothing to damage. */
int self_test_damage(struct rig *rig, struct workload *workload, enum self_test test, const uint8_t *memory);
/* What the driver must have called it. */
bool self_test_was_found(const struct statistics *statistics, enum self_test test);
