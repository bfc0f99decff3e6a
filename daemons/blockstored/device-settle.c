/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel takes an id with a synthetic uevent and udev hands it on when its rules have run, so "udev has seen this very change" is an event, neither a guess nor a
 * sleep. The monitor is started before the trigger; an event that comes before anybody waits is remembered.
 *
 * While the system starts, udev has hundreds of devices to go through before it comes to ours, and is no less alive for that: its queue, which is a file for as long as something is in it, tells a busy udev from
 * one that does not run. */

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-device.h>

#include "device-settle.h"

/* Made and removed by systemd-udevd. One that was killed leaves it behind, hence the bound. */
#define UDEV_QUEUE "/run/udev/queue"

struct device_settle {
        sd_event *event;
        sd_device_monitor *monitor;
        sd_event_source *deadline, *finished;
        sd_id128_t trigger;
        char *name;
        bool appear, seen;
        uint32_t index;
        uint64_t patience_usec, busy_usec; /* a turn, and what is left for turns in which udev was busy */
        device_settle_done_t done;
        void *userdata;
};

struct device_settle *device_settle_free(struct device_settle *settle) {
        if (!settle)
                return NULL;

        sd_device_monitor_unref(settle->monitor);
        sd_event_source_disable_unref(settle->deadline);
        sd_event_source_disable_unref(settle->finished);
        sd_event_unref(settle->event);
        free(settle->name);
        free(settle);
        return NULL;
}

bool device_link_is(const char *name, uint32_t index) {
        char path[PATH_MAX], target[PATH_MAX], node[32];
        const char *last;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/dev/blockstore/%s", name);
        (void) snprintf(node, sizeof(node), "nbd%u", index);

        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = 0;

        last = strrchr(target, '/');
        return strcmp(last ? last + 1 : target, node) == 0;
}

static void finish(struct device_settle *settle, int error) {
        (void) sd_event_source_set_enabled(settle->deadline, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(settle->finished, SD_EVENT_OFF);
        (void) sd_device_monitor_stop(settle->monitor);
        settle->done(error, settle->userdata); /* may free us */
}

static int on_finished(sd_event_source *source, void *userdata) {
        struct device_settle *settle = userdata;
        bool there = device_link_is(settle->name, settle->index);

        finish(settle, there == settle->appear ? 0 : settle->appear ? -ENOENT : -EEXIST);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_settle *settle = userdata;

        if (settle->busy_usec > 0 && access(UDEV_QUEUE, F_OK) >= 0) {
                uint64_t turn = settle->busy_usec < settle->patience_usec ? settle->busy_usec : settle->patience_usec;

                settle->busy_usec -= turn;
                if (sd_event_source_set_time_relative(source, turn) >= 0 &&
                        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0)
                        return 0;
        }
        finish(settle, -ETIMEDOUT);
        return 0;
}

static int on_device(sd_device_monitor *monitor, sd_device *device, void *userdata) {
        struct device_settle *settle = userdata;
        sd_id128_t id;

        if (sd_device_get_trigger_uuid(device, &id) < 0 || !sd_id128_equal(id, settle->trigger))
                return 0;

        settle->seen = true;
        if (settle->finished)
                (void) sd_event_source_set_enabled(settle->finished, SD_EVENT_ONESHOT);
        return 0;
}

int device_settle_new(sd_event *event, const char *name, sd_id128_t trigger, bool appear, struct device_settle **ret) {
        _cleanup_(device_settle_freep) struct device_settle *settle = NULL;
        int r;

        settle = calloc(1, sizeof(*settle));
        if (!settle)
                return -ENOMEM;
        settle->event = sd_event_ref(event);
        settle->trigger = trigger;
        settle->appear = appear;

        settle->name = strdup(name);
        if (!settle->name)
                return -ENOMEM;

        r = sd_device_monitor_new(&settle->monitor);
        if (r < 0)
                return r;

        r = sd_device_monitor_filter_add_match_subsystem_devtype(settle->monitor, "block", "disk");
        if (r < 0)
                return r;

        r = sd_device_monitor_attach_event(settle->monitor, event);
        if (r < 0)
                return r;

        r = sd_device_monitor_start(settle->monitor, on_device, settle);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(settle);
        return 0;
}

int device_settle_wait(struct device_settle *settle, uint32_t index, uint64_t timeout_usec, uint64_t busy_usec,
        device_settle_done_t done, void *userdata) {
        int r;

        settle->patience_usec = timeout_usec;
        settle->busy_usec = busy_usec;

        settle->index = index;
        settle->done = done;
        settle->userdata = userdata;

        r = sd_event_add_defer(settle->event, &settle->finished, on_finished, settle);
        if (r < 0)
                return r;

        r = sd_event_source_set_enabled(settle->finished, settle->seen ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
        if (r < 0)
                return r;

        return sd_event_add_time_relative(
                settle->event, &settle->deadline, CLOCK_MONOTONIC, timeout_usec, 0, on_deadline, settle);
}
