/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is done in the child. A device is disconnected only under an exclusive open of its node, which the kernel refuses while it is mounted, swapped on or stacked upon,
 * and which keeps anybody from mounting it in between. Descriptors of processes do not stand in the way of such an open, so they are looked for by name as well. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "device-sysfs.h"
#include "device-work.h"
#include "holders.h"

#define SYSFS              "/sys"
#define IO_TIMEOUT_MSEC    500U /* the longest stall after a lost connection, and how often a slow request is logged */
#define WAITING_SEC        1U   /* the smallest there is: a request that waits is to be back with the kernel soon */
#define UDEV_PATIENCE_MSEC 2000U
#define UDEV_STEP_MSEC     20U

static void fail(struct device_result *result, int error, const char *text) {
        result->error = error;
        (void) snprintf(result->text, sizeof(result->text), "%s", text);
}

void device_work_connect(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        int r;

        r = device_nbd_connect(&work->setup, &result->index);
        if (r < 0) {
                fail(result, r, "the kernel refused to connect a device");
                return;
        }

        r = device_sysfs_set_io_timeout(SYSFS, result->index, IO_TIMEOUT_MSEC);
        if (r < 0) {
                fail(result, r, "the device's io_timeout could not be set");
                return;
        }

        r = device_sysfs_trigger(SYSFS, result->index, work->trigger);
        if (r < 0)
                fail(result, r, "the device could not be announced to udev");
}

/* Somebody else may have taken the number since. */
static int check_identity(const struct device_work *work) {
        struct device_found *found = NULL;
        int r, match = -ENODEV;
        size_t n = 0;

        r = device_sysfs_list(SYSFS, &found, &n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n; i++) {
                char identity[DEVICE_NBD_IDENTITY_MAX];

                (void) snprintf(identity, sizeof(identity), "%s/%s", found[i].name, found[i].uuid);
                if (found[i].index == work->index && strcmp(identity, work->setup.identity) == 0)
                        match = 0;
        }

        device_found_free_many(found, n);
        return match;
}

void device_work_set_waiting(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        uint64_t msec;
        int r;

        result->index = work->index;
        r = check_identity(work);
        /* A fresh device need not be touched. */
        if (r >= 0 && !work->waiting && !work->was_waiting &&
                device_sysfs_io_timeout(SYSFS, work->index, &msec) >= 0 && msec == IO_TIMEOUT_MSEC)
                return;
        if (r >= 0)
                r = device_nbd_set_timeout(work->index, work->setup.identity, work->waiting ? WAITING_SEC : 0);
        if (r < 0)
                fail(result, r, "the device's request timeout could not be set");
}

void device_work_set_timer(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        uint64_t msec;
        int r;

        result->index = work->index;
        r = check_identity(work);
        if (r >= 0)
                r = device_sysfs_io_timeout(SYSFS, work->index, &msec);
        if (r >= 0 && msec != IO_TIMEOUT_MSEC)
                r = device_sysfs_set_io_timeout(SYSFS, work->index, IO_TIMEOUT_MSEC);
        if (r < 0)
                fail(result, r, "the device's io_timeout could not be set");
}

void device_work_reconfigure(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        int r;

        result->index = work->index;

        r = check_identity(work);
        if (r >= 0)
                r = device_nbd_reconfigure(work->index, &work->setup);
        if (r < 0)
                fail(result, r, "the kernel refused the new connection");
}

static int flush_device(uint32_t index) {
        _cleanup_close_ int fd = -EBADF;
        char node[32];

        (void) snprintf(node, sizeof(node), "/dev/nbd%u", index);
        fd = open(node, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

void device_work_resize(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        uint64_t size = 0;
        bool shrinks;
        int r;

        result->index = work->index;
        r = check_identity(work);
        if (r >= 0)
                r = device_sysfs_size(SYSFS, work->index, &size);
        if (r < 0) {
                fail(result, r, "the device's size cannot be read");
                return;
        }
        if (size == work->setup.size)
                return;
        shrinks = work->setup.size < size;

        r = shrinks ? flush_device(work->index) : 0;
        if (r < 0) {
                fail(result, r, "flushing the device failed");
                return;
        }
        r = device_nbd_resize(work->index, work->setup.identity, work->setup.size);
        if (r < 0) {
                fail(result, r, "the kernel refused the new size");
                return;
        }
        if (shrinks)
                (void) flush_device(work->index);

        r = device_sysfs_size(SYSFS, work->index, &size);
        if (r < 0 || size != work->setup.size)
                fail(result, r < 0 ? r : -EIO, "the kernel has not taken the new size");
}

/* Opens exclusively, and only if nobody else has it open. Returns the descriptor, or -EBUSY with result->text. */
static int open_unheld(const struct device_work *work, struct device_result *result) {
        static const struct holders_roots roots = { .proc = "/proc", .sys = SYSFS };
        char node[32];

        (void) snprintf(node, sizeof(node), "/dev/nbd%u", work->index);

        for (unsigned waited = 0;; waited += UDEV_STEP_MSEC) {
                _cleanup_close_ int fd = -EBADF;
                bool only_udev = false;
                int n, error = 0;

                fd = open(node, O_RDONLY | O_EXCL | O_CLOEXEC);
                if (fd < 0) {
                        error = -errno;
                        if (error != -EBUSY)
                                return error;
                }

                n = holders_find(&roots, work->index, work->name, result->text, sizeof(result->text), &only_udev);
                if (n < 0)
                        return n;
                if (n > 0)
                        return -EBUSY;
                if (fd >= 0 && !only_udev)
                        return TAKE_FD(fd);

                /* udev looks at each device that changes, and goes away by itself. */
                if (waited >= UDEV_PATIENCE_MSEC) {
                        if (fd >= 0)
                                return TAKE_FD(fd);
                        fail(result, -EBUSY, "used in another mount namespace, or by the kernel");
                        return -EBUSY;
                }
                safe_close(TAKE_FD(fd));
                (void) nanosleep(&(struct timespec){ .tv_nsec = UDEV_STEP_MSEC * 1000L * 1000L }, NULL);
        }
}

void device_work_list_holders(const void *argument, struct device_result *result) {
        static const struct holders_roots roots = { .proc = "/proc", .sys = SYSFS };
        const struct device_work *work = argument;
        int n;

        result->index = work->index;
        n = holders_list(&roots, work->index, work->name, result->holders, HOLDERS_MAX, NULL);
        if (n < 0)
                result->error = n;
        else
                result->n_holders = n < (int) HOLDERS_MAX ? (uint32_t) n : HOLDERS_MAX;
}

void device_work_check(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        int r;

        result->index = work->index;

        r = check_identity(work);
        if (r >= 0)
                r = open_unheld(work, result);
        if (r < 0) {
                result->error = r;
                return;
        }

        safe_close(r);
}

void device_work_disconnect(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        _cleanup_close_ int fd = -EBADF;
        int r;

        result->index = work->index;

        r = check_identity(work);
        if (r < 0) {
                result->error = r;
                return;
        }

        r = fd = open_unheld(work, result);
        if (r < 0) {
                result->error = r;
                return;
        }

        if (work->flush && fsync(fd) < 0) {
                fail(result, -errno, "flushing the device failed");
                return;
        }

        r = device_nbd_disconnect(work->index);
        if (r < 0) {
                fail(result, r, "the kernel refused to disconnect the device");
                return;
        }

        /* The device keeps its identity until the last descriptor is closed. */
        safe_close(TAKE_FD(fd));

        r = device_sysfs_trigger(SYSFS, work->index, work->trigger);
        if (r < 0)
                fail(result, r, "the change could not be announced to udev");
}

void device_work_disconnect_unserved(const void *argument, struct device_result *result) {
        static const struct holders_roots roots = { .proc = "/proc", .sys = SYSFS };
        const struct device_work *work = argument;
        bool only_udev = false;
        int r;

        result->index = work->index;

        r = check_identity(work);
        if (r >= 0)
                r = holders_find(&roots, work->index, work->name, result->text, sizeof(result->text), &only_udev);
        if (r != 0) {
                result->error = r < 0 ? r : -EBUSY;
                return;
        }

        r = device_nbd_disconnect(work->index);
        if (r >= 0)
                r = device_sysfs_trigger(SYSFS, work->index, work->trigger);
        if (r < 0)
                fail(result, r, "the kernel refused to disconnect the device");
}

void device_work_abandon(const void *argument, struct device_result *result) {
        const struct device_work *work = argument;
        int r;

        result->index = work->index;

        r = check_identity(work);
        if (r >= 0)
                r = device_nbd_disconnect(work->index);
        if (r < 0)
                fail(result, r, "the kernel refused to disconnect the device");
}
