/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A detach that waits until nobody holds the device, without a caller who waits for it. The kernel has no event for the last close of a device that is still connected, so it is looked for once a second, by the child that
 * every detach begins with; nobody is kept out meanwhile. It is noted below /run, and ends when it is cancelled, when somebody asks for the image again, and when the image is gone by whatever way. */

#include <errno.h>

#include "image-log.h"
#include "manager.h"
#include "remembered.h"

#define LOOK_EVERY_USEC (1000U * 1000U)

static void remember(const struct managed *managed) {
        const struct image *image = managed->image;
        struct remembered remembered = { .owner_uid = image->owner_uid, .detach_pending = image->detach_pending };
        int r = remembered_save(image->name, &remembered);

        if (r < 0)
                log_image(LOG_WARNING, image->name,
                        "Its owner, and whether it is to be detached, cannot be kept for the next supervisor: %s",
                        strerror(-r));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct managed *managed = userdata;

        if (managed->work == MANAGED_IDLE)
                managed_detach_if_free(managed);
        managed_lazy_look_later(managed);
        return 0;
}

void managed_lazy_look_later(struct managed *managed) {
        if (!managed->image->detach_pending)
                return;
        if (!managed->lazy_timer)
                (void) sd_event_add_time_relative(managed->manager->event, &managed->lazy_timer, CLOCK_MONOTONIC,
                        LOOK_EVERY_USEC, 0, on_timer, managed);
        else {
                (void) sd_event_source_set_time_relative(managed->lazy_timer, LOOK_EVERY_USEC);
                (void) sd_event_source_set_enabled(managed->lazy_timer, SD_EVENT_ONESHOT);
        }
}

void managed_lazy_begin(struct managed *managed) {
        if (!managed->image->detach_pending)
                log_image(LOG_INFO, managed->image->name, "It is detached when nobody uses it any more.");
        image_set_detach_pending(managed->image, true);
        remember(managed);
        managed_lazy_look_later(managed);
}

bool managed_lazy_cancel(struct managed *managed) {
        if (!managed->image->detach_pending)
                return false;

        managed->lazy_timer = sd_event_source_disable_unref(managed->lazy_timer);
        image_set_detach_pending(managed->image, false);
        log_image(LOG_INFO, managed->image->name, "It stays attached.");
        remember(managed);
        return true;
}

void managed_set_owner(struct managed *managed, uid_t uid) {
        image_set_owner(managed->image, uid);
        remember(managed);
}

void managed_forget(struct managed *managed) {
        managed->lazy_timer = sd_event_source_disable_unref(managed->lazy_timer);
        image_set_owner(managed->image, 0);
        image_set_detach_pending(managed->image, false);
        remember(managed);
}

void managed_recall(struct managed *managed) {
        struct remembered remembered;

        remembered_load(managed->image->name, &remembered);
        managed->image->owner_uid = remembered.owner_uid;
        managed->image->detach_pending = remembered.detach_pending;
        managed_lazy_look_later(managed);
}
