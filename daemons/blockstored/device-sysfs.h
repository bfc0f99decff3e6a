/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kernel shows of NBD devices below /sys/block: whose they are, how big, and the two files that are written. root is "/sys", or a test's stand-in. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-id128.h>

#include "cleanup.h"

struct device_found {
        uint32_t index; /* nbdN */
        char *name;     /* image's local name */
        char *uuid;
};

/* "NAME/UUID" as in nbdN/backend. Returns 0 with two strings, -EINVAL for what is not ours, -ENOMEM. */
int device_identity_parse(const char *text, char **ret_name, char **ret_uuid);
bool device_uuid_is_valid(const char *uuid); /* 36 characters, lower or upper case */

/* All devices of ours that are configured, in order of index. The array ends at *ret_n. Returns 0 or a negative errno; without /sys/block there are none. */
int device_sysfs_list(const char *root, struct device_found **ret, size_t *ret_n);
struct device_found *device_found_free_many(struct device_found *found, size_t n);

/* Size in bytes and write protection. */
int device_sysfs_size(const char *root, uint32_t index, uint64_t *ret);
int device_sysfs_read_only(const char *root, uint32_t index, bool *ret);

/* The block layer's request timer, ms: how soon a request that was lost with its connection comes back. CONNECT resets it. Since Linux 6.12 setting it waits until no request is under way. */
int device_sysfs_io_timeout(const char *root, uint32_t index, uint64_t *ret_msec);
int device_sysfs_set_io_timeout(const char *root, uint32_t index, unsigned msec);

/* Makes the kernel announce a change that udev hands on with this id (SYNTH_UUID). The kernel announces CONNECT before it shows `backend`, and DISCONNECT not at all. */
int device_sysfs_trigger(const char *root, uint32_t index, sd_id128_t id);
