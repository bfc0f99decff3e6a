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
        struct device_nbd_setup setup; /* identity always; the rest for connect and reconfigure, size for resize */
        bool waiting, was_waiting;     /* set_waiting: what it is to be, and was told to be before */
        bool flush;                    /* disconnect: what is cached goes out first; needs a living worker */
};

/* All take a struct device_work. Errors as device-nbd.h, and -EBUSY with the holders in text, -ENODEV when nbdINDEX is not of this identity (any more). */
void device_work_connect(const void *argument, struct device_result *result);
void device_work_reconfigure(const void *argument, struct device_result *result);
void device_work_disconnect(const void *argument, struct device_result *result);
/* For one that nobody serves, and that cannot be opened: whoever opened it first waits for an answer to what the kernel reads there (a partition table), and with him everybody else. It is not opened, then, and what
 * holds it is looked for by name only. */
void device_work_disconnect_unserved(const void *argument, struct device_result *result);
/* Without asking who holds it. */
void device_work_abandon(const void *argument, struct device_result *result);
/* While I/O waits because no proxy can be had. The driver logs each request that takes long, once in every period of the queue's timer, for as long as it takes: 16 lines a second at a depth of 8. With a
 * request timeout it does something else when that timer comes: it takes the connection for dead and the request back, without an error, and the request waits, silently, for a new connection. So each request is
 * logged once, by a line that the driver limits to 10 in 5 s, and what comes later is not logged at all. The worker sees its end hang up, and comes with a new pair when a proxy is there again. */
void device_work_set_waiting(const void *argument, struct device_result *result);
/* After its end: the driver has left the queue's timer at 30 s. Since Linux 6.12 this waits until no request is under way, which may be never if the connection is lost meanwhile: nothing may wait for it. */
void device_work_set_timer(const void *argument, struct device_result *result);
/* Gives the device, on the connection that it has, another size, setup.size, which the kernel announces by itself (RESIZE=1). One that becomes smaller is flushed before, while all of it can still be written, and
 * after, for what was written in between. -EIO: the kernel has not taken the size. */
void device_work_resize(const void *argument, struct device_result *result);
/* Lists who uses the device, by looking at /proc and /sys alone: it is not opened. */
void device_work_list_holders(const void *argument, struct device_result *result);
/* Only looks whether somebody uses the device. */
void device_work_check(const void *argument, struct device_result *result);
