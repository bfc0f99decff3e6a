/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What rests on a disk, read from a made-up /proc and /sys. */

#include "scratch.h"
#include "stack.h"

static char proc[64], sys[64], utab[64];
static const struct stack_roots roots = { .proc = proc, .sys = sys, .utab = utab };

static void begin(void) {
        scratch_make();
        (void) snprintf(proc, sizeof(proc), "%s/proc", scratch);
        (void) snprintf(sys, sizeof(sys), "%s/sys", scratch);
        (void) snprintf(utab, sizeof(utab), "%s/utab", scratch);
        scratch_file("sys/block/nbd3/dev", "43:96\n");
        scratch_file("sys/block/nbd3/nbd3p1/dev", "43:97\n");
        scratch_file("sys/block/nbd3/nbd3p2/dev", "43:98\n");
        scratch_file("sys/block/nbd31/dev", "43:992\n");
        scratch_file("sys/block/nbd3/queue/io_timeout", "500\n");
}

static void whole_stack(void) {
        struct stack *stack;

        begin();
        scratch_link("sys/block/nbd3/nbd3p2/holders/dm-0", "../../../dm-0");
        scratch_file("sys/block/dm-0/dev", "253:0\n");
        scratch_file("sys/block/dm-0/dm/name", "secret\n");
        scratch_link("sys/block/dm-0/holders/dm-4", "../../dm-4");
        scratch_file("sys/block/dm-4/dev", "253:4\n");
        scratch_file("sys/block/dm-4/dm/name", "vg-lv\n");
        scratch_file("proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
                                            "30 22 43:97 / /a\\040b rw shared:2 - ext4 /dev/nbd3p1 rw\n"
                                            "31 22 43:992 / /other rw - ext4 /dev/nbd31 rw\n"
                                            "32 22 0:55 / /pool rw shared:4 - btrfs /dev/mapper/vg-lv rw\n"
                                            "33 30 253:4 / /a\\040b/deep rw - ext4 /dev/mapper/vg-lv rw\n"
                                            "34 22 0:3 / /nowhere\n");
        scratch_file("proc/swaps",
                "Filename Type Size Used Priority\n/dev/nbd3p2 partition 1 0 -2\n/dev/sda2 partition 1 0 -3\n");
        scratch_file("utab",
                "SRC=/dev/nbd3p1 TARGET=/a\\040b ROOT=/ OPTS=rw,_netdev\nSRC=x TARGET=/pool ROOT=/ OPTS=_netdevice\n");

        ASSERT_OK(stack_read(&roots, "nbd3", &stack));
        ASSERT_EQ(stack->n_nodes, 5U);
        ASSERT_EQ(stack->n_mounts, 3U);
        ASSERT_STREQ(stack->mounts[0].where, "/a b");
        ASSERT_TRUE(stack->mounts[0].is_network);
        ASSERT_STREQ(stack->mounts[1].where, "/pool");
        ASSERT_FALSE(stack->mounts[1].is_network);
        ASSERT_STREQ(stack->mounts[2].where, "/a b/deep");
        ASSERT_EQ(stack->n_swaps, 1U);
        ASSERT_STREQ(stack->swaps[0], "/dev/nbd3p2");
        for (size_t i = 0; i < stack->n_nodes; i++) {
                const struct stack_node *node = stack->nodes + i;

                ASSERT_EQ(node->is_held, strcmp(node->name, "nbd3p2") == 0 || strcmp(node->name, "dm-0") == 0);
                if (strcmp(node->name, "dm-4") == 0)
                        ASSERT_STREQ(node->dm_name, "vg-lv");
        }
        stack_free(stack);
        scratch_remove();
}

/* A loop cannot be in sysfs, but it would be no reason to go round for ever. */
static void loop(void) {
        struct stack *stack;

        begin();
        scratch_link("sys/block/nbd3/holders/dm-0", "../../dm-0");
        scratch_file("sys/block/dm-0/dev", "253:0\n");
        scratch_link("sys/block/dm-0/holders/nbd3", "../../nbd3");
        ASSERT_OK(stack_read(&roots, "nbd3", &stack));
        ASSERT_EQ(stack->n_nodes, 4U);
        stack_free(stack);
        scratch_remove();
}

static void nothing_there(void) {
        struct stack *stack;

        begin();
        ASSERT_OK(stack_read(&roots, "nbd7", &stack));
        ASSERT_EQ(stack->n_nodes + stack->n_mounts + stack->n_swaps, 0U);
        stack_free(stack);
        scratch_remove();
}

TEST_MAIN(TEST(whole_stack), TEST(loop), TEST(nothing_there));
