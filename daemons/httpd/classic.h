/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The control protocol of the old driver's daemon: one JSON object with the members Command, Device, Image, User and Pass, in any case, and a few lines of text as answer. Pure functions. */

#include <stdbool.h>
#include <stddef.h>

#include "json-object.h"

#define CLASSIC_DEVICES_MAX 1024U

struct classic_command {
        char *command, *device, *image, *user; /* "" where it was not given */
        bool has_password;                     /* which is not kept: see docs/web.md */
};

/* Returns 0; -EBADMSG for what is no JSON object with a Command, or has a member that is no text; or -ENOMEM. Other members are passed over, as they always were. */
int classic_parse(const char *text, size_t n, struct classic_command **ret);
struct classic_command *classic_command_free(struct classic_command *command);
DEFINE_CLEANUP(struct classic_command *, classic_command_free);

/* "/dev/nbd7" is 7. Returns -EINVAL for anything else. */
int classic_device_index(const char *device, unsigned *ret);

enum classic_device {
        CLASSIC_DEVICE_MISSING, /* the kernel has none of that number */
        CLASSIC_DEVICE_FREE,
        CLASSIC_DEVICE_BUSY, /* connected, whoever has done it */
};

/* directory: "/sys/block". */
enum classic_device classic_device_state(const char *directory, unsigned index);
/* The numbers of the free ones, ascending, at most max. Returns how many, or a negative errno. */
int classic_devices_free(const char *directory, unsigned *indices, size_t max);

/* What /status/, /status/json and listm show of images (the array of the model): each that has a device. NULL: no memory. */
char *classic_list(struct json_object *images);
struct json_object *classic_status(struct json_object *images);
