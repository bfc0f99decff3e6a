/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waits until udev has done with a change of a device that we triggered, and looks whether /dev/blockstore/NAME is as it should be. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "cleanup.h"

struct device_settle;

/* error: 0; -ETIMEDOUT: udev has not answered (is it running?); -ENOENT: it has, but the link is not there (is the rule installed?); -EEXIST: the link is still there. */
typedef void (*device_settle_done_t)(int error, void *userdata);

/* Listens from now on, so that an event cannot be missed between the trigger and the wait. appear: the link is expected to point to the device, else to be gone. */
int device_settle_new(sd_event *event, const char *name, sd_id128_t trigger, bool appear, struct device_settle **ret);

/* The change of nbdINDEX has been triggered: done() comes once, from the loop, not from within this call, within timeout_usec, and busy_usec more while udev has something to do. */
int device_settle_wait(struct device_settle *settle, uint32_t index, uint64_t timeout_usec, uint64_t busy_usec,
        device_settle_done_t done, void *userdata);

struct device_settle *device_settle_free(struct device_settle *settle);
DEFINE_CLEANUP(struct device_settle *, device_settle_free);

/* Whether /dev/blockstore/NAME points to nbdINDEX now. */
bool device_link_is(const char *name, uint32_t index);
