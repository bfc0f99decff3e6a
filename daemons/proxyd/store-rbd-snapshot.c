/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Snapshots are RBD's own. Who has one open RBD does not know, so the proxies are asked. One that clones hang on may go all the same: RBD keeps it, out of sight, until they are gone or flattened. */

#include <string.h>

#include "ivbs-lifecycle.h"
#include "store-rbd.h"

#define ASK_USEC 1000000U /* for all of a page */

static int compare(const void *a, const void *b) {
        return strcmp(((const rbd_snap_info_t *) a)->name, ((const rbd_snap_info_t *) b)->name);
}

/* *ret to be given to rbd_snap_list_end() and free(), when there are any. */
static int list_all(rbd_image_t image, rbd_snap_info_t **ret, int *ret_n) {
        rbd_snap_info_t *snaps = NULL;
        int n = 64, r;

        for (;;) {
                rbd_snap_info_t *grown = reallocarray(snaps, (size_t) n + 1, sizeof(*snaps));

                if (!grown) {
                        free(snaps);
                        return -ENOMEM;
                }
                snaps = grown;
                r = rbd_snap_list(image, snaps, &n);
                if (r != -ERANGE || n > (int) RBD_IMAGES_MAX)
                        break;
        }
        if (r <= 0) {
                free(snaps);
                snaps = NULL;
        } else
                qsort(snaps, (size_t) r, sizeof(*snaps), compare);
        if (r < 0)
                return r;
        *ret = snaps;
        *ret_n = r;
        return 0;
}

static bool is_shown(rbd_image_t image, const rbd_snap_info_t *snap) {
        rbd_snap_namespace_type_t type;

        return ivbs_new_name_is_valid(snap->name) && rbd_snap_get_namespace_type(image, snap->id, &type) >= 0 &&
               type == RBD_SNAP_NAMESPACE_TYPE_USER;
}

int store_rbd_list_snapshots(struct store *s, const char *name, const char *after, size_t max,
        struct store_listed_snapshot **ret, size_t *ret_n, bool *ret_more) {
        struct rbd_store *store = RBD_STORE(s);
        uint64_t deadline = store_rbd_now_usec() + ASK_USEC;
        struct store_listed_snapshot *listed = NULL;
        rbd_snap_info_t *snaps = NULL;
        char id[RBD_ID_SIZE];
        rbd_image_t image;
        bool more = false;
        int r, n_snaps = 0;
        size_t n = 0;

        r = store_rbd_find(store, name, id);
        if (r >= 0)
                r = store_rbd_peek(store, id, &image);
        if (r < 0)
                return r;
        r = list_all(image, &snaps, &n_snaps);
        if (r >= 0) {
                listed = calloc(max, sizeof(*listed));
                if (!listed)
                        r = -ENOMEM;
        }

        for (int i = 0; i < n_snaps && listed; i++) {
                struct store_listed_snapshot *one = listed + n;
                struct timespec created = {};

                if (!is_shown(image, snaps + i) || (after && strcmp(snaps[i].name, after) <= 0))
                        continue;
                if (n == max) {
                        more = true;
                        break;
                }
                one->uuid = store_rbd_uuid(store, id, snaps[i].id);
                one->size = snaps[i].size;
                if (rbd_snap_get_timestamp(image, snaps[i].id, &created) >= 0)
                        one->created_usec = (uint64_t) created.tv_sec * 1000000U + (uint64_t) created.tv_nsec / 1000U;
                strcpy(one->name, snaps[i].name);
                if (store_rbd_now_usec() < deadline)
                        one->open = store_rbd_ask_if_open(store, one->uuid) > 0;
                n++;
        }

        if (snaps) {
                rbd_snap_list_end(snaps);
                free(snaps);
        }
        (void) rbd_close(image);
        if (r < 0)
                return r;
        *ret = listed;
        *ret_n = n;
        *ret_more = more;
        return 0;
}

int store_rbd_remove_snapshot(struct store *s, const char *name, const char *snapshot, sd_id128_t uuid) {
        struct rbd_store *store = RBD_STORE(s);
        char id[RBD_ID_SIZE];
        rbd_image_t image;
        uint64_t number;
        sd_id128_t own;
        int r;

        r = store_rbd_find(store, name, id);
        /* Not by the control client's handle for looking: that one changes nothing. */
        if (r >= 0)
                r = rbd_open_by_id(store->control_io, id, &image, NULL);
        if (r < 0)
                return r;

        r = rbd_snap_get_id(image, snapshot, &number);
        if (r >= 0) {
                own = store_rbd_uuid(store, id, number);
                if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, own))
                        r = -ENOENT;
        }
        if (r >= 0) {
                store_rbd_thread_wait(store);
                r = store_rbd_ask_if_open(store, own);
                if (r > 0)
                        r = -EBUSY;
        }
        if (r >= 0)
                r = rbd_snap_remove(image, snapshot);
        (void) rbd_close(image);
        return r;
}
