/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker has no bus to ask, the supervisor may have lost it, and both hear of a shutdown last: file systems above are unmounted before their units are stopped. So blockstore-shutdown.service, which nothing
 * is ordered after, makes a file when the shutdown begins. The directory is watched first and the file looked for then: it cannot slip through.
 *
 * The kernel gives a user 128 watches by default (fs.inotify.max_user_instances), and all workers are one user: whoever gets none looks for the file every second. */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "going-down.h"
#include "host-config.h"

#define FILE_NAME       "shutdown"
#define LOOK_EVERY_USEC (1000U * 1000U)

struct going_down {
        void (*begun)(void *userdata);
        void *userdata;
        char directory[256];
        bool told;
        sd_event_source *watch, *look;
};

bool going_down_is_announced(const struct going_down *g) {
        char path[sizeof(g->directory) + sizeof("/" FILE_NAME)];

        (void) snprintf(path, sizeof(path), "%s/" FILE_NAME, g->directory);
        return access(path, F_OK) >= 0;
}

static void look(struct going_down *g) {
        if (g->told || !going_down_is_announced(g))
                return;
        g->told = true;
        g->begun(g->userdata);
}

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        struct going_down *g = userdata;

        if ((event->mask & IN_Q_OVERFLOW) || (event->len > 0 && strcmp(event->name, FILE_NAME) == 0))
                look(g);
        return 0;
}

static int on_look(sd_event_source *source, void *userdata) {
        look(userdata);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct going_down *g = userdata;

        look(g);
        if (!g->told) {
                (void) sd_event_source_set_time_relative(source, LOOK_EVERY_USEC);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        return 0;
}

int going_down_new(struct going_down **ret, sd_event *event, void (*begun)(void *userdata), void *userdata) {
        _cleanup_(going_down_freep) struct going_down *g = calloc(1, sizeof(*g));
        const char *directory = getenv("BLOCKSTORE_RUNTIME_DIRECTORY") ?: HOST_RUNTIME_DIRECTORY;
        int r;

        if (!g)
                return -ENOMEM;

        g->begun = begun;
        g->userdata = userdata;
        if ((size_t) snprintf(g->directory, sizeof(g->directory), "%s", directory) >= sizeof(g->directory))
                return -ENAMETOOLONG;

        r = sd_event_add_inotify(event, &g->watch, g->directory, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR, on_change, g);
        if (r >= 0)
                r = sd_event_add_defer(event, &g->look, on_look, g);
        else if (r == -EMFILE || r == -ENOSPC)
                r = sd_event_add_time_relative(event, &g->look, CLOCK_MONOTONIC, 0, LOOK_EVERY_USEC / 4, on_timer, g);
        else if (r == -ENOENT || r == -EACCES)
                r = 0;
        if (r < 0)
                return r;

        *ret = TAKE_PTR(g);
        return 0;
}

struct going_down *going_down_free(struct going_down *g) {
        if (!g)
                return NULL;

        sd_event_source_disable_unref(g->watch);
        sd_event_source_disable_unref(g->look);
        free(g);
        return NULL;
}
