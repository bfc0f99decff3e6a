/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What changes the directory of images: create, remove, rename. RBD creates and removes in many steps, and a crash may come between any two. So a new image is made under a hidden name and gets its own when it is
 * whole; one that goes loses its name first, and is deleted then (store-rbd-sweep.c). That leaves the change of a name, which is one step in RBD's directory, and the directory is believed: see store_rbd_find(). */

#include <string.h>

#include "fault-point.h"
#include "store-rbd.h"

/* layering, exclusive-lock, object-map, fast-diff, deep-flatten */
#define FEATURES    (UINT64_C(1) | UINT64_C(4) | UINT64_C(8) | UINT64_C(16) | UINT64_C(32))
#define PAUSE_USEC  20000U
#define PAUSES_MAX  2U /* for a client that is just closing it; the proxy tries several times */
#define WATCHES_MAX 64U

int store_rbd_peek(struct rbd_store *store, const char *id, rbd_image_t *ret) {
        return rbd_open_by_id_read_only(store->control_io, id, ret, NULL);
}

int store_rbd_is_watched(struct rbd_store *store, rbd_image_t image) {
        rbd_image_watcher_t watchers[WATCHES_MAX];
        size_t n = ELEMENTSOF(watchers);
        int r;

        r = rbd_watchers_list(image, watchers, &n);
        if (r == -ERANGE)
                return 1;
        if (r < 0)
                return r;
        rbd_watchers_list_cleanup(watchers, n);
        return n > 0;
}

int store_rbd_is_watched_by(struct rbd_store *store, const struct rbd_image *image, const char *address) {
        rbd_image_watcher_t watchers[WATCHES_MAX];
        size_t n = ELEMENTSOF(watchers);
        rbd_image_t peeked;
        int r, found = 0;

        r = store_rbd_peek(store, image->id, &peeked);
        if (r < 0)
                return r;
        r = rbd_watchers_list(peeked, watchers, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                char normal[RBD_ADDRESS_SIZE];

                rbd_address_normalise(watchers[i].addr, normal, sizeof(normal));
                if (strcmp(normal, address) == 0)
                        found = 1;
        }
        if (r >= 0)
                rbd_watchers_list_cleanup(watchers, n);
        (void) rbd_close(peeked);
        return r < 0 ? r : found;
}

int store_rbd_make(struct rbd_store *store, const char *name, uint64_t size) {
        rbd_image_options_t options;
        int r;

        rbd_image_options_create(&options);
        r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FORMAT, 2);
        if (r >= 0)
                r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, FEATURES);
        if (r >= 0)
                r = rbd_create4(store->control_io, name, size, options);
        rbd_image_options_destroy(options);
        /* The name is valid, and so is the size but for this. */
        return r == -EDOM || r == -EINVAL ? -EFBIG : r;
}

int store_rbd_name(struct rbd_store *store, const char *hidden, const char *name, sd_id128_t *ret_uuid) {
        char id[RBD_ID_SIZE];
        int r;

        r = rbd_rename(store->control_io, hidden, name);
        if (r >= 0)
                r = store_rbd_find(store, name, id);
        if (r >= 0)
                *ret_uuid = store_rbd_uuid(store, id, 0);
        return r;
}

int store_rbd_create(struct store *s, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid) {
        struct rbd_store *store = RBD_STORE(s);
        char hidden[RBD_HIDDEN_SIZE], id[RBD_ID_SIZE];
        int r;

        if (preallocate)
                return -EOPNOTSUPP;
        r = store_rbd_find(store, name, id);
        if (r != -ENOENT)
                return r < 0 ? r : -EEXIST;

        r = store_rbd_hidden_name(RBD_HIDDEN_PREFIX, hidden);
        if (r >= 0)
                r = store_rbd_make(store, hidden, size);
        if (r < 0)
                return r;
        fault_point("rbd-created");
        r = store_rbd_name(store, hidden, name, ret_uuid);
        if (r < 0)
                (void) rbd_remove(store->control_io, hidden);
        return r;
}

int store_rbd_check_unused(struct rbd_store *store, const char *id, sd_id128_t uuid) {
        char object[RBD_HEADER_SIZE];
        struct rbd_header header;
        rbd_image_t image;
        int r;

        if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, store_rbd_uuid(store, id, 0)))
                return -ENOENT;
        store_rbd_header_name(id, object);
        r = store_rbd_load(store, object, &header);
        if (r >= 0 && header.record.lease.live)
                return -EBUSY;
        /* A damaged record must not make it stay for ever. */
        if (r < 0 && r != -EUCLEAN)
                return r;

        store_rbd_thread_wait(store);
        r = store_rbd_peek(store, id, &image);
        if (r < 0)
                return r;
        for (unsigned i = 0; (r = store_rbd_is_watched(store, image)) == 1 && i < PAUSES_MAX; i++)
                (void) usleep(PAUSE_USEC);
        (void) rbd_close(image);
        return r == 1 ? -EBUSY : r < 0 ? r : store_rbd_unlock(store, object);
}

static int remove_snapshots(struct rbd_store *store, const char *name, const char *id, bool too) {
        struct store_listed_snapshot *listed;
        bool more = true;
        int r = 0;

        while (more && r >= 0) {
                size_t n = 0;

                r = store_rbd_list_snapshots(&store->store, name, NULL, 64, &listed, &n, &more);
                if (r < 0)
                        return r;
                if (n > 0 && !too)
                        r = -ENOTEMPTY;
                for (size_t i = 0; i < n && r >= 0; i++)
                        r = store_rbd_remove_snapshot(&store->store, name, listed[i].name, listed[i].uuid);
                free(listed);
        }
        return r;
}

/* Clones hang on what were its snapshots, which RBD keeps out of sight. */
static bool is_hung_on(struct rbd_store *store, const char *id) {
        rbd_snap_info_t snap;
        rbd_image_t image;
        int n = 1, r;

        if (store_rbd_peek(store, id, &image) < 0)
                return false;
        r = rbd_snap_list(image, &snap, &n);
        if (r > 0)
                rbd_snap_list_end(&snap);
        (void) rbd_close(image);
        return r > 0 || r == -ERANGE;
}

int store_rbd_remove(struct store *s, const char *name, sd_id128_t uuid, bool snapshots_too) {
        struct rbd_store *store = RBD_STORE(s);
        char id[RBD_ID_SIZE];
        int r;

        r = store_rbd_find(store, name, id);
        if (r >= 0)
                r = store_rbd_check_unused(store, id, uuid);
        if (r >= 0)
                r = remove_snapshots(store, name, id, snapshots_too);
        if (r < 0)
                return r;

        /* It goes for good when they have gone, by "rbd trash purge". */
        if (is_hung_on(store, id))
                return rbd_trash_move(store->control_io, name, 0);
        return store_rbd_give_up(store, name, id);
}

int store_rbd_rename(struct store *s, const char *name, sd_id128_t uuid, const char *new_name) {
        struct rbd_store *store = RBD_STORE(s);
        char id[RBD_ID_SIZE];
        int r;

        r = store_rbd_find(store, name, id);
        if (r >= 0)
                r = store_rbd_check_unused(store, id, uuid);
        return r < 0 ? r : rbd_rename(store->control_io, name, new_name);
}
