/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rolling back takes its time, and in the middle of it the image is neither. So the intent is recorded first, and an image of which it is recorded is not opened: whoever wants to, and finds that
 * nobody is about it any more, does it himself. Done twice it comes to the same. */

#include <string.h>

#include "fault-point.h"
#include "store-rbd.h"

static int set_intent(struct rbd_store *store, const char *header, uint64_t snapshot) {
        struct rbd_header loaded;
        struct rbd_record record;
        int r;

        r = store_rbd_load(store, header, &loaded);
        if (r < 0)
                return r;
        record = loaded.record;
        if (record.lease.live)
                return -EBUSY;
        record.rolling_back = snapshot;
        return store_rbd_save(store, header, &loaded, &record);
}

/* The size may be another one now. */
static int unset_intent(struct rbd_store *store, const char *header, uint64_t size) {
        struct rbd_header loaded;
        struct rbd_record record;
        int r;

        r = store_rbd_load(store, header, &loaded);
        if (r < 0)
                return r;
        record = loaded.record;
        record.rolling_back = 0;
        record.size = size;
        if (record.size_epoch < INT64_MAX)
                record.size_epoch++;
        return store_rbd_save(store, header, &loaded, &record);
}

static int roll_back(struct rbd_store *store, rbd_image_t image, const char *header, uint64_t number) {
        char name[IVBS_IMAGE_NAME_SIZE];
        size_t n = sizeof(name);
        uint64_t size;
        int r;

        r = rbd_snap_get_name(image, number, name, &n);
        if (r >= 0)
                r = rbd_snap_rollback(image, name);
        fault_point("rbd-rolled-back");
        if (r >= 0)
                r = rbd_get_size(image, &size);
        return r < 0 ? r : unset_intent(store, header, size);
}

static int check_free(struct rbd_store *store, const char *header) {
        struct rbd_owner owner;
        int r;

        r = store_rbd_find_owner(store, header, &owner);
        return r >= 0 && *owner.address ? -EBUSY : r;
}

/* Who is about it watches it; the watch of one who has died ends after half a minute. Then his lock is taken from him, which librbd does not do by itself. He is looked up before the watches are: who has come in between watches. */
static int take_over(struct rbd_store *store, const char *id, const char *header) {
        struct rbd_owner owner;
        rbd_image_t image;
        int r;

        r = store_rbd_find_owner(store, header, &owner);
        if (r >= 0)
                r = store_rbd_peek(store, id, &image);
        if (r < 0)
                return r;
        r = store_rbd_is_watched(store, image);
        (void) rbd_close(image);
        if (r == 0 && *owner.address)
                r = store_rbd_evict(store, header, &owner);
        return r > 0 || r == -EPERM ? -EBUSY : r;
}

/* Under RBD's lock, signed as any proxy's. begin: the intent is new. */
static int do_locked(struct rbd_store *store, const char *id, uint64_t number, bool begin) {
        char header[RBD_HEADER_SIZE];
        rbd_image_t image;
        int r;

        store_rbd_header_name(id, header);
        r = begin ? check_free(store, header) : take_over(store, id, header);
        if (r >= 0)
                r = rbd_open_by_id(store->data_io, id, &image, NULL);
        if (r < 0)
                return r;

        r = store_rbd_sign(store, header);
        if (r >= 0)
                r = rbd_lock_acquire(image, RBD_LOCK_MODE_EXCLUSIVE);
        if (r == -EROFS || r == -EAGAIN)
                r = -EBUSY;
        if (r >= 0 && begin)
                r = set_intent(store, header, number);
        if (r >= 0)
                r = roll_back(store, image, header, number);
        (void) rbd_close(image);
        store_rbd_unsign(store, header);
        return r;
}

int store_rbd_roll_back(struct rbd_store *store, const char *id, uint64_t snapshot) {
        return do_locked(store, id, snapshot, true);
}

int store_rbd_finish_roll_back(struct rbd_store *store, const char *id) {
        char header[RBD_HEADER_SIZE];
        struct rbd_header loaded;
        int r;

        store_rbd_header_name(id, header);
        r = store_rbd_load(store, header, &loaded);
        if (r < 0 || loaded.record.rolling_back == 0)
                return r;
        r = do_locked(store, id, loaded.record.rolling_back, false);
        return r == -EBUSY ? -ETIMEDOUT : r;
}
