/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* inotify on images.d, and on the directory above it for as long as that is what exists. Events say only that something happened: the directory is then read anew, which is
 * right after a lost event or a renamed file too. Several events come for one file (create, write, close): a short timer makes them one. */

#include <errno.h>
#include <sys/inotify.h>

#include "config-watch.h"
#include "host-config.h"

#define CALM_USEC (50U * 1000U)

struct config_watch {
        sd_event *event;
        char *parent, *directory;
        sd_event_source *parent_source, *directory_source, *calm;
        config_watch_changed_t changed;
        void *userdata;
};

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata);

static void watch_directory(struct config_watch *watch) {
        if (watch->directory_source)
                return;

        (void) sd_event_add_inotify(watch->event, &watch->directory_source, watch->directory,
                IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                        IN_ONLYDIR,
                on_change, watch);
}

static int on_calm(sd_event_source *source, uint64_t usec, void *userdata) {
        struct config_watch *watch = userdata;

        watch_directory(watch);
        watch->changed(watch->userdata);
        return 0;
}

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        struct config_watch *watch = userdata;

        /* One that is called otherwise now is no more what is watched for. */
        if (source == watch->directory_source && (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)))
                watch->directory_source = sd_event_source_disable_unref(watch->directory_source);

        if (sd_event_source_set_time_relative(watch->calm, CALM_USEC) >= 0)
                (void) sd_event_source_set_enabled(watch->calm, SD_EVENT_ONESHOT);
        return 0;
}

int config_watch_new(sd_event *event, config_watch_changed_t changed, void *userdata, struct config_watch **ret) {
        _cleanup_(config_watch_freep) struct config_watch *watch = calloc(1, sizeof(*watch));
        const char *parent = secure_getenv("BLOCKSTORE_CONFIG_DIRECTORY");
        int r;

        if (!watch)
                return -ENOMEM;
        watch->event = sd_event_ref(event);
        watch->changed = changed;
        watch->userdata = userdata;

        if (asprintf(&watch->parent, "%s", parent && *parent ? parent : HOST_CONFIG_DIRECTORY) < 0 ||
                asprintf(&watch->directory, "%s/images.d", watch->parent) < 0)
                return -ENOMEM;

        r = sd_event_add_time(event, &watch->calm, CLOCK_MONOTONIC, 0, 0, on_calm, watch);
        if (r >= 0)
                r = sd_event_source_set_enabled(watch->calm, SD_EVENT_OFF);
        if (r < 0)
                return r;

        /* Neither need exist: without them no image is configured, which is what will be found. */
        (void) sd_event_add_inotify(event, &watch->parent_source, watch->parent,
                IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR, on_change, watch);
        watch_directory(watch);

        *ret = TAKE_PTR(watch);
        return 0;
}

struct config_watch *config_watch_free(struct config_watch *watch) {
        if (!watch)
                return NULL;

        sd_event_source_disable_unref(watch->parent_source);
        sd_event_source_disable_unref(watch->directory_source);
        sd_event_source_disable_unref(watch->calm);
        sd_event_unref(watch->event);
        free(watch->parent);
        free(watch->directory);
        free(watch);
        return NULL;
}
