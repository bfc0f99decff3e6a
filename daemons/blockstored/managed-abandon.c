/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device whose worker has failed for good, and that somebody holds. Its requests wait in the kernel, for whoever serves it next; nobody but us knows that there will be nobody. So the time that I/O may wait
 * (`io-timeout`) is counted here, from the moment that the worker was lost, and at its end the device is disconnected under its holder: the kernel fails what waits, and all that comes, with EIO. A
 * supervisor that was restarted counts anew. At shutdown nobody waits that long, see manager-shutdown.c. */

#include <string.h>
#include <time.h>

#include "host-config.h"
#include "image-log.h"
#include "manager.h"

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

static uint64_t io_timeout(const char *name) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;

        /* A file that cannot be read is no reason to fail anybody's I/O. */
        return host_config_load(name, &config, &message) < 0 ? UINT64_MAX : config->io_timeout_usec;
}

void managed_device_served(struct managed *managed) {
        managed->unserved_usec = 0;
        managed->abandoned = false;
        managed->io_deadline = sd_event_source_disable_unref(managed->io_deadline);
}

static void on_abandoned(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;

        if (failure != FAILURE_NONE && failure != FAILURE_NOT_ATTACHED)
                log_image(LOG_ERR, managed->image->name,
                        "%s, for which nobody waits any more, cannot be disconnected: %s", managed->image->device,
                        message);
        if (!device_exists(managed->device))
                (void) image_set_device(managed->image, "");
        managed_device_free_again(managed);
        (void) managed_collect(managed);
}

void managed_abandon(struct managed *managed, const char *why) {
        if (managed->abandoned || managed->link || !device_exists(managed->device) || device_is_busy(managed->device))
                return;

        managed->abandoned = true;
        log_image(LOG_ERR, managed->image->name, "%s %s: its I/O fails from now on, and it is disconnected",
                managed->image->device, why);
        if (device_abandon(managed->device, on_abandoned, managed) < 0)
                managed->abandoned = false;
}

void managed_device_unserved(struct managed *managed) {
        if (managed->unserved_usec == 0)
                managed->unserved_usec = now_usec();
}

static int on_io_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct managed *managed = userdata;

        managed->io_deadline = sd_event_source_disable_unref(managed->io_deadline);
        managed_abandon(managed, "has had no worker for as long as io-timeout allows");
        return 0;
}

void managed_consider_abandoning(struct managed *managed) {
        uint64_t timeout, deadline;

        if (managed->abandoned || managed->io_deadline)
                return;

        managed_device_unserved(managed);
        timeout = io_timeout(managed->image->name);
        if (timeout == UINT64_MAX)
                return;

        deadline = managed->unserved_usec + timeout;
        (void) sd_event_add_time(
                managed->manager->event, &managed->io_deadline, CLOCK_MONOTONIC, deadline, 0, on_io_deadline, managed);
}
