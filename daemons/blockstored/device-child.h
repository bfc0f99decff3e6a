/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A call that may block for ever, made in a forked child with a deadline. */

#include <stdint.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "holders.h"

#define DEVICE_CHILDREN_MAX 64U

/* What a child reports; small enough for one atomic write to a pipe. */
struct device_result {
        int error;       /* 0 or a negative errno; -ETIMEDOUT: killed at the deadline; -ECHILD: died without a word */
        uint32_t index;  /* of the device, where the work makes one */
        char text[1024]; /* what a user should know: who holds the device, which step failed; "" none */
        uint32_t n_holders;
        struct holder holders[HOLDERS_MAX]; /* where the work lists them */
};

/* Runs in the child: may block, must not touch the parent's loop, buses or log. */
typedef void (*device_work_t)(const void *argument, struct device_result *result);
typedef void (*device_child_done_t)(const struct device_result *result, void *userdata);
typedef void (*device_child_late_t)(void *userdata);

struct device_child;

/* Forks. All descriptors but the standard ones and keep_fd (-EBADF: none) are closed in the child. done() comes exactly once, from the loop, and never after
 * device_child_free(); the object is gone after it, but see device_child_watch(). Returns 0 or a negative errno: -EAGAIN when DEVICE_CHILDREN_MAX are running or stuck. */
int device_child_start(sd_event *event, device_work_t work, const void *argument, int keep_fd, uint64_t timeout_usec,
        device_child_done_t done, void *userdata, struct device_child **ret);

/* From within done() of -ETIMEDOUT only, and then the object stays: late() comes once, from the loop, when the child has ended after all, and what the kernel did for it in the end is done. Never after
 * device_child_free(). */
void device_child_watch(struct device_child *child, device_child_late_t late, void *userdata);

/* Children that are running, or were killed and could not be reaped yet. */
unsigned device_child_count(void);

/* Kills the child and forgets the callback; it is reaped from the loop when the kernel lets go of it. */
struct device_child *device_child_free(struct device_child *child);
DEFINE_CLEANUP(struct device_child *, device_child_free);
