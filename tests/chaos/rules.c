/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "rules.h"

static const struct {
        const char *name;
        rule_test_t run;
} tests[] = {
        { "fence", rule_fence },
        { "fence-settle", rule_fence_settle },
        { "hold", rule_hold },
        { "lease-generation", rule_lease_generation },
        { "one-writer", rule_one_writer },
        { "retained", rule_retained },
        { "retained-order", rule_retained_order },
        { "durability-identity", rule_durability_identity },
        { "dirty-mark", rule_dirty_mark },
        { "flush-rewrite", rule_flush_rewrite },
        { "error-epoch", rule_error_epoch },
        { "keepalive", rule_keepalive },
        { "dead-time", rule_dead_time },
        { "ordering", rule_ordering },
};

int rules_run(const char *name, const char *build, const char *directory, const char *rules_off) {
        static const char *const verdicts[] = { "holds", "is broken", "was not tested" };

        for (size_t i = 0; i < ELEMENTSOF(tests); i++) {
                enum rule_verdict verdict;

                if (strcmp(tests[i].name, name) != 0)
                        continue;
                verdict = tests[i].run(
                        &(struct rig_options){ .build = build, .directory = directory, .size = 8U << 20 }, rules_off);
                printf("%s %s%s%s\n", name, verdicts[verdict], rules_off ? " without " : "", rules_off ?: "");
                return (int) verdict;
        }
        fprintf(stderr, "--rule %s: there is no test of that name, see tests/chaos/rules\n", name);
        return RULE_UNTESTED;
}
