/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel device of one image: connected, given a new connection, disconnected; each a sequence of steps in children and waits for udev, none of which blocks the loop. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "error-table.h"

struct device;

struct device_parameters {
        uint64_t size;       /* bytes, a multiple of block_size, below 2^63 */
        uint32_t block_size; /* bytes, a power of two, 512-4096 */
        uint32_t flags;      /* NBD transmission flags */
        char uuid[37];
};

/* The end of an operation, from the loop. failure FAILURE_NONE: it is done; else message is a sentence for a user. The device may be freed from here. */
typedef void (*device_done_t)(enum failure failure, const char *message, void *userdata);

/* freed(), from the loop: a call of which an operation had reported that it was not finished in time has ended, and the device is no longer busy with it. Look again what there is; the device may be freed from there. */
int device_new(sd_event *event, const char *name, void (*freed)(void *userdata), void *userdata, struct device **ret);
/* Forgets what is under way; the kernel's device stays as it is. */
struct device *device_free(struct device *device);
DEFINE_CLEANUP(struct device *, device_free);

/* Looks whether the kernel has a device with this image's name, and remembers its index. Returns 1 or 0, or a negative errno. */
int device_discover(struct device *device);
bool device_exists(const struct device *device);
bool device_is_busy(const struct device *device); /* an operation is under way, or stuck in the kernel */
uint32_t device_index(const struct device *device);
const char *device_uuid(const struct device *device);  /* NULL without a device */
const char *device_phase(const struct device *device); /* printable */

/* What is wrong with the parameters, or NULL. */
const char *device_parameters_check(const struct device_parameters *parameters);

/* Connects, or replaces the connection of the device that is there. Takes socket, also on failure. -EBUSY while an operation is under way. */
int device_connect(struct device *device, const struct device_parameters *parameters, int socket, device_done_t done,
        void *userdata);

/* Disconnects if nobody holds the device. flush: send out what is cached; needs a living worker. -ENODEV without a device, -EBUSY as above. */
int device_disconnect(struct device *device, bool flush, device_done_t done, void *userdata);

/* I/O waits, or goes on, over the connection that is there now; see device-work.h. Errors as device_disconnect(). */
int device_set_waiting(struct device *device, bool waiting, device_done_t done, void *userdata);

/* Gives the device another size, bytes, on the connection that it has. Errors as device_disconnect(). */
int device_resize(struct device *device, uint64_t size, device_done_t done, void *userdata);

/* FAILURE_BUSY with the holders, or FAILURE_NONE. Errors as device_disconnect(). */
int device_check_unheld(struct device *device, device_done_t done, void *userdata);

/* Disconnects under whoever holds the device: what waits fails with EIO, and so does all that comes. It exists until its last holder has closed it. Errors as device_disconnect(). */
int device_abandon(struct device *device, device_done_t done, void *userdata);
