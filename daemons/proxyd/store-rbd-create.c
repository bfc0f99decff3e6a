/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What changes the directory of images: create, remove, rename. RBD does each of them in several steps, and what a crash leaves of them "rbd" knows how to clear away. */

#include <string.h>

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

int store_rbd_create(struct store *s, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid) {
        struct rbd_store *store = RBD_STORE(s);
        rbd_image_options_t options;
        char id[RBD_ID_SIZE];
        int r;

        /* A pool gives no promise of space. */
        if (preallocate)
                return -EOPNOTSUPP;
        rbd_image_options_create(&options);
        r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FORMAT, 2);
        if (r >= 0)
                r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, FEATURES);
        if (r >= 0)
                r = rbd_create4(store->control_io, name, size, options);
        rbd_image_options_destroy(options);
        /* The name is valid, and so is the size but for this. */
        if (r == -EDOM || r == -EINVAL)
                return -EFBIG;
        if (r >= 0)
                r = store_rbd_find(store, name, id);
        if (r < 0)
                return r;

        *ret_uuid = store_rbd_uuid(store, id, 0);
        return 0;
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
        return r == 1 ? -EBUSY : r;
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

        r = rbd_remove(store->control_io, name);
        /* Clones hang on what were its snapshots: it goes out of sight, and for good when they have gone, by "rbd trash purge". */
        return r == -ENOTEMPTY ? rbd_trash_move(store->control_io, name, 0) : r;
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
