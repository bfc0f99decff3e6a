/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Snapshots, clones and preallocated images in the making. RBD makes the first two as a whole at one moment, and nothing is copied by us; the third is store-rbd-thick.c's. What is made has a hidden name until it is committed; a snapshot that a
 * crash has left under such a name is removed when the image's next one is made, an hour later at the earliest: another proxy may be making it. Images left behind are store-rbd-sweep.c's.
 *
 * A snapshot of an image that another proxy holds needs no holding: librbd asks the owner of the lock to make it. */

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "fault-point.h"
#include "store-rbd.h"

int store_rbd_hidden_name(const char *prefix, char ret[static RBD_HIDDEN_SIZE]) {
        uint64_t number;

        if (getrandom(&number, sizeof(number), 0) != (ssize_t) sizeof(number))
                return -EIO;
        (void) snprintf(ret, RBD_HIDDEN_SIZE, "%s%016jx", prefix, (uintmax_t) number);
        return 0;
}

static void remove_left_behind(rbd_image_t image) {
        rbd_snap_info_t snaps[64];
        int n = ELEMENTSOF(snaps);

        n = rbd_snap_list(image, snaps, &n);
        for (int i = 0; i < n; i++) {
                struct timespec created;

                if (strncmp(snaps[i].name, RBD_HIDDEN_PREFIX, strlen(RBD_HIDDEN_PREFIX)) == 0 &&
                        rbd_snap_get_timestamp(image, snaps[i].id, &created) >= 0 &&
                        created.tv_sec + RBD_LEFT_BEHIND_SECONDS < time(NULL))
                        (void) rbd_snap_remove(image, snaps[i].name);
        }
        if (n > 0)
                rbd_snap_list_end(snaps);
}

/* The handle that has the lock, if we have it; NULL: the image is not open here. */
static rbd_image_t find_handle(struct rbd_store *store, const char *id) {
        rbd_image_t handle = NULL;
        struct rbd_image *image;

        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(image, &store->images, entry)
                if (!image->image.read_only && strcmp(image->id, id) == 0)
                        handle = image->handle;
        pthread_mutex_unlock(&store->mutex);
        return handle;
}

/* Whoever wants a snapshot has the image open. */
static int begin_snapshot(struct rbd_store *store, struct rbd_copy *copy) {
        bool exists;
        int r;

        copy->handle = find_handle(store, copy->id);
        if (!copy->handle)
                return -ESTALE;
        remove_left_behind(copy->handle);
        r = rbd_snap_exists(copy->handle, copy->snapshot, &exists);
        if (r >= 0)
                r = rbd_get_size(copy->handle, &copy->copy.size);
        return r < 0 ? r : exists ? -EEXIST : 0;
}

static int begin_of_snapshot(struct rbd_store *store, struct rbd_copy *copy, sd_id128_t uuid) {
        char id[RBD_ID_SIZE];
        int r;

        if (copy->kind == STORE_COPY_ROLL_BACK) {
                r = store_rbd_check_unused(store, copy->id, uuid);
                if (r < 0)
                        return r;
        } else if (store_rbd_find(store, copy->new_name, id) >= 0)
                return -EEXIST;

        r = rbd_open_by_id_read_only(store->control_io, copy->id, &copy->handle, copy->snapshot);
        if (r < 0)
                return r;
        copy->opened = true;
        r = rbd_get_size(copy->handle, &copy->copy.size);
        if (r >= 0)
                r = rbd_snap_get_id(copy->handle, copy->snapshot, &copy->number);
        return r;
}

static int begin_of_image(struct rbd_store *store, struct rbd_copy *copy, sd_id128_t uuid) {
        int r;

        r = store_rbd_hidden_name(RBD_HIDDEN_PREFIX, copy->hidden);
        if (r >= 0)
                r = store_rbd_find(store, copy->name, copy->id);
        if (r >= 0 && !sd_id128_is_null(uuid) && !sd_id128_equal(uuid, store_rbd_uuid(store, copy->id, 0)))
                r = -ENOENT;
        if (r < 0)
                return r;
        return copy->kind == STORE_COPY_SNAPSHOT ? begin_snapshot(store, copy) : begin_of_snapshot(store, copy, uuid);
}

int store_rbd_copy_begin(struct store *s, const struct store_copy_how *how, struct store_copy **ret) {
        struct rbd_store *store = RBD_STORE(s);
        struct rbd_copy *copy;
        int r;

        copy = calloc(1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        copy->copy.store = s;
        copy->kind = how->kind;
        (void) snprintf(copy->name, sizeof(copy->name), "%s", how->name);
        (void) snprintf(copy->snapshot, sizeof(copy->snapshot), "%s", how->snapshot);
        (void) snprintf(copy->new_name, sizeof(copy->new_name), "%s", how->new_name ? how->new_name : "");
        r = how->kind == STORE_COPY_NEW ? store_rbd_thick_begin(store, copy, how->size)
                                        : begin_of_image(store, copy, how->uuid);
        if (r < 0) {
                (void) store_rbd_copy_free(&copy->copy);
                return r;
        }
        *ret = &copy->copy;
        return 0;
}

int store_rbd_copy_prepare(struct store_copy *c) {
        return 0;
}

static int make_clone(struct rbd_store *store, struct rbd_copy *copy) {
        rbd_image_options_t options;
        int r;

        rbd_image_options_create(&options);
        /* The second format, which does not make the snapshot stay. */
        r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
        if (r >= 0)
                r = rbd_clone3(
                        store->control_io, copy->name, copy->snapshot, store->control_io, copy->hidden, options);
        rbd_image_options_destroy(options);
        return r;
}

int store_rbd_copy_whole(struct store_copy *c) {
        struct rbd_copy *copy = CONTAINER_OF(c, struct rbd_copy, copy);
        struct rbd_store *store = RBD_STORE(c->store);
        int r;

        if (copy->kind == STORE_COPY_NEW)
                return store_rbd_thick_make(store, copy);
        switch (copy->kind) {
        case STORE_COPY_SNAPSHOT:
                r = rbd_snap_create(copy->handle, copy->hidden);
                break;
        case STORE_COPY_CLONE:
                r = make_clone(store, copy);
                break;
        case STORE_COPY_ROLL_BACK:
                r = store_rbd_roll_back(store, copy->id, copy->number);
                break;
        case STORE_COPY_NEW:
        case _STORE_COPY_KIND_MAX:
        default:
                r = -EINVAL;
        }
        copy->made = r >= 0;
        if (copy->made && copy->kind != STORE_COPY_ROLL_BACK)
                fault_point("rbd-copy-made");
        return r < 0 ? r : 0;
}

int store_rbd_copy_piece(struct store_copy *c, uint64_t offset, uint64_t length, uint64_t *ret_next) {
        struct rbd_copy *copy = CONTAINER_OF(c, struct rbd_copy, copy);

        return copy->kind == STORE_COPY_NEW ? store_rbd_thick_piece(copy, offset, ret_next) : -EOPNOTSUPP;
}

int store_rbd_copy_sync(struct store_copy *c) {
        return 0;
}

int store_rbd_copy_commit(struct store_copy *c, sd_id128_t *ret_uuid) {
        struct rbd_copy *copy = CONTAINER_OF(c, struct rbd_copy, copy);
        struct rbd_store *store = RBD_STORE(c->store);
        sd_id128_t uuid = store_rbd_uuid(store, copy->id, 0);
        uint64_t number;
        int r = 0;

        if (copy->kind == STORE_COPY_SNAPSHOT) {
                r = rbd_snap_rename(copy->handle, copy->hidden, copy->snapshot);
                if (r >= 0)
                        r = rbd_snap_get_id(copy->handle, copy->snapshot, &number);
                if (r >= 0)
                        uuid = store_rbd_uuid(store, copy->id, number);
        } else if (copy->kind != STORE_COPY_ROLL_BACK)
                r = store_rbd_name(
                        store, copy->hidden, copy->kind == STORE_COPY_CLONE ? copy->new_name : copy->name, &uuid);
        if (r < 0)
                return r;

        *ret_uuid = uuid;
        copy->committed = true;
        fault_point("rbd-committed");
        return 0;
}

struct store_copy *store_rbd_copy_free(struct store_copy *c) {
        struct rbd_copy *copy = CONTAINER_OF(c, struct rbd_copy, copy);
        char header[RBD_HEADER_SIZE];

        if (copy->made && !copy->committed && copy->kind == STORE_COPY_SNAPSHOT)
                (void) rbd_snap_remove(copy->handle, copy->hidden);
        if (copy->opened)
                (void) rbd_close(copy->handle);
        if (copy->opened && copy->kind == STORE_COPY_NEW) {
                store_rbd_header_name(copy->id, header);
                store_rbd_unsign(RBD_STORE(c->store), header);
        }
        if (copy->made && !copy->committed && copy->kind == STORE_COPY_CLONE)
                (void) rbd_remove(RBD_STORE(c->store)->control_io, copy->hidden);
        if (copy->made && !copy->committed && copy->kind == STORE_COPY_NEW)
                store_rbd_give_up_hidden(RBD_STORE(c->store), copy->hidden);
        free(copy);
        return NULL;
}
