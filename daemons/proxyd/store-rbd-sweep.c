/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A proxy that dies while it makes a clone leaves an image under a hidden name, which nobody is going to use. They are looked for when a proxy starts. Another proxy may be making one at that moment, so it has to be old; and if that
 * should be wrong all the same, the clone fails, and nothing else does. */

#include <string.h>
#include <time.h>

#include "store-rbd.h"

static bool is_left_behind(struct rbd_store *store, const rbd_image_spec_t *spec) {
        struct timespec created = {};
        rbd_image_t image;
        int r;

        if (strncmp(spec->name, RBD_HIDDEN_PREFIX, strlen(RBD_HIDDEN_PREFIX)) != 0 ||
                store_rbd_peek(store, spec->id, &image) < 0)
                return false;
        r = rbd_get_create_timestamp(image, &created);
        (void) rbd_close(image);
        return r >= 0 && created.tv_sec + RBD_LEFT_BEHIND_SECONDS < time(NULL);
}

static void run_sweep(struct rbd_task *task) {
        struct rbd_store *store = CONTAINER_OF(task, struct rbd_store, sweep);
        rbd_image_spec_t *specs;
        char message[512];
        size_t n;
        int r;

        if (store_rbd_list_names(store, &specs, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                if (!is_left_behind(store, specs + i))
                        continue;
                r = rbd_remove(store->control_io, specs[i].name);
                if (r < 0 && r != -ENOENT) {
                        (void) snprintf(message, sizeof(message),
                                "An unfinished clone that a proxy has left in the pool, %s, cannot be removed: %s",
                                specs[i].name, strerror(-r));
                        store->how.complain(NULL, message);
                }
        }
        rbd_image_spec_list_cleanup(specs, n);
        free(specs);
}

void store_rbd_sweep(struct rbd_store *store) {
        store->sweep.run = run_sweep;
        store_rbd_thread_do(store, &store->sweep);
}
