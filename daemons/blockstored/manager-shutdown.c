/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* At shutdown nobody may come for a device whose worker is gone, who would have come otherwise: systemd cancels the restart of a worker that has just died, and stops its unit only after what stands on the image,
 * which waits for the device. A worker gives I/O up some seconds after the notice of a shutdown; for one that is not there it is done here, whatever io-timeout says. */

#include <errno.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"

#define PATIENCE_USEC   (5U * 1000U * 1000U)
#define LOOK_EVERY_USEC (250U * 1000U) /* after that: a worker may still be lost, or a device be busy */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;
        struct managed *managed, *next;

        /* It was called off. */
        if (!going_down_is_announced(manager->going_down)) {
                manager_unwatch_shutdown(manager);
                manager_watch_shutdown(manager);
                return 0;
        }

        HASH_ITER(hh, manager->images, managed, next)
                managed_abandon(managed, "has no worker, and the system is going down");
        (void) sd_event_source_set_time_relative(source, LOOK_EVERY_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static void on_going_down(void *userdata) {
        struct manager *manager = userdata;
        int r;

        r = sd_event_add_time_relative(
                manager->event, &manager->shutdown_timer, CLOCK_MONOTONIC, PATIENCE_USEC, 0, on_timer, manager);
        if (r < 0)
                log_message(LOG_WARNING, "Devices without a worker may hold the shutdown up: %s", strerror(-r));
}

void manager_watch_shutdown(struct manager *manager) {
        int r;

        r = going_down_new(&manager->going_down, manager->event, on_going_down, manager);
        if (r < 0)
                log_message(LOG_WARNING, "It will not be known when the system goes down: %s", strerror(-r));
}

void manager_unwatch_shutdown(struct manager *manager) {
        manager->shutdown_timer = sd_event_source_disable_unref(manager->shutdown_timer);
        manager->going_down = going_down_free(manager->going_down);
}
