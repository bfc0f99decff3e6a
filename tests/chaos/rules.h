/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One test for each safety rule, by the rule's name. A test brings about what the rule is there to prevent, and looks whether it was prevented. The suite runs
 * each twice: as it is, when it must hold, and with the rule switched off (rules_off is its name), when the test must see it broken. */

#include "scene.h"

typedef enum rule_verdict (*rule_test_t)(const struct rig_options *options, const char *rules_off);

/* rule-fence.c: the ghost write, through another proxy and through the same one. */
enum rule_verdict rule_hold(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_fence(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_fence_settle(const struct rig_options *options, const char *rules_off);

/* rule-lease.c */
enum rule_verdict rule_lease_generation(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_one_writer(const struct rig_options *options, const char *rules_off);

/* rule-durable.c: power lost, and failed syncs. */
enum rule_verdict rule_retained(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_retained_order(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_durability_identity(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_dirty_mark(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_flush_rewrite(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_error_epoch(const struct rig_options *options, const char *rules_off);

/* rule-silence.c */
enum rule_verdict rule_keepalive(const struct rig_options *options, const char *rules_off);
enum rule_verdict rule_dead_time(const struct rig_options *options, const char *rules_off);

/* rule-order.c */
enum rule_verdict rule_ordering(const struct rig_options *options, const char *rules_off);

/* Runs the test of that rule. Returns the verdict as exit status. */
int rules_run(const char *name, const char *build, const char *directory, const char *rules_off);
