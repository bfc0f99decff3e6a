/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The blocking halves of device operations, to be run by device-child.h. */

#include <systemd/sd-id128.h>

#include "device-child.h"
#include "device-nbd.h"

struct device_work {
        const char *name; /* image's local name */
        uint32_t index;   /* all but connect */
        sd_id128_t trigger;
        struct device_nbd_setup setup; /* identity always; the rest for connect and reconfigure */
        bool flush;                    /* disconnect: what is cached goes out first; needs a living worker */
};

/* All take a struct device_work. Errors as device-nbd.h, and -EBUSY with the holders in text, -ENODEV when nbdINDEX is not of this identity (any more). */
void device_work_connect(const void *argument, struct device_result *result);
void device_work_reconfigure(const void *argument, struct device_result *result);
void device_work_disconnect(const void *argument, struct device_result *result);
/* Only looks whether somebody uses the device. */
void device_work_check(const void *argument, struct device_result *result);
