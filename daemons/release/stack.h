/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What rests on a disk: its partitions, the device-mapper devices on them and on each other, file systems mounted from any of these, and swaps. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

#define STACK_NODES_MAX  256U
#define STACK_MOUNTS_MAX 1024U
#define STACK_DEPTH_MAX  16U

/* Where to look: "/proc", "/sys" and "/run/mount/utab", or a test's stand-ins. */
struct stack_roots {
        const char *proc, *sys, *utab;
};

struct stack_node {
        char name[64];     /* "nbd0", "nbd0p1", "dm-2" */
        char number[24];   /* "43:0" */
        char dm_name[256]; /* "" for others than device-mapper's */
        bool is_held;      /* by another node */
};

struct stack_mount {
        char *where;
        bool is_network; /* marked _netdev: systemd unmounts it while there is a network */
};

struct stack {
        struct stack_node nodes[STACK_NODES_MAX]; /* from the bottom up */
        size_t n_nodes;
        struct stack_mount mounts[STACK_MOUNTS_MAX]; /* in the order of mounting */
        size_t n_mounts;
        char *swaps[STACK_NODES_MAX];
        size_t n_swaps;
};

/* disk: the kernel's name, "nbd0". What is beyond the limits is not seen. Returns 0 or a negative errno. */
int stack_read(const struct stack_roots *roots, const char *disk, struct stack **ret);
struct stack *stack_free(struct stack *stack);
DEFINE_CLEANUP(struct stack *, stack_free);
