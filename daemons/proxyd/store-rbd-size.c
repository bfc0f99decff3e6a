/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another size. RBD has one and the record has one, and a crash may come in between; the record's counts, and RBD's is never smaller. So what grows gets its objects first and its record then, what shrinks
 * the other way round; and what a shrink that was cut short has left behind the end is cut off before the image grows, since it must not come back.
 *
 * An image that was only ever made larger by other means (rbd resize) has the size that its record says until it is resized here. */

#include "fault-point.h"
#include "store-rbd.h"

/* librbd wants one. */
static int progress(uint64_t done, uint64_t total, void *userdata) {
        return 0;
}

static int set_size(struct rbd_image *image, uint64_t size) {
        uint64_t now;
        int r;

        r = rbd_get_size(image->handle, &now);
        if (r < 0 || now == size)
                return r;
        r = rbd_resize2(image->handle, size, size < now, progress, NULL);
        return r == -EINVAL || r == -EDOM ? -EFBIG : r;
}

static int save(struct rbd_image *image, struct rbd_header *header, const struct rbd_record *record) {
        return store_rbd_save(RBD_STORE(image->image.store), image->header, header, record);
}

/* As the record had it before. */
static int grow(struct rbd_image *image, struct rbd_header *header, const struct rbd_record *record, uint64_t old) {
        struct rbd_record before = header->record;
        int r = 0;

        /* Without one of its own RBD's counts, which would be the new one before its epoch is. */
        if (before.size == 0) {
                before.size = old;
                r = save(image, header, &before);
        }
        if (r >= 0 && header->size > old)
                r = set_size(image, old);
        if (r >= 0)
                r = set_size(image, record->size);
        if (r >= 0)
                fault_point("rbd-grown");
        return r < 0 ? r : save(image, header, record);
}

static int shrink(struct rbd_image *image, struct rbd_header *header, const struct rbd_record *record) {
        int r;

        r = save(image, header, record);
        if (r < 0)
                return r;
        fault_point("rbd-shrunk");
        /* Done, whatever comes of it: a pool that keeps the space does no harm. */
        (void) set_size(image, record->size);
        return r;
}

int store_rbd_resize(
        struct store_image *i, uint64_t size, store_size_check_t check, void *userdata, struct lease *ret_lease) {
        struct rbd_image *image = RBD_IMAGE(i);
        struct rbd_store *store = RBD_STORE(i->store);
        struct rbd_header header;
        struct rbd_record record;
        uint64_t old;
        int r;

        if (i->read_only)
                return -EROFS;
        r = store_rbd_load(store, image->header, &header);
        if (r < 0)
                return r == -ENOENT ? -ESTALE : r;

        record = header.record;
        old = store_rbd_size_of(&header);
        r = check(&record.lease, old, size, userdata);
        if (r == 0 && size != old) {
                r = store_rbd_unlock_open(store, image);
                if (r < 0)
                        return r;
                if (record.size_epoch >= INT64_MAX)
                        return -EOVERFLOW;
                record.size = size;
                record.size_epoch++;
                r = size > old ? grow(image, &header, &record, old) : shrink(image, &header, &record);
                /* Another proxy has changed the lease meanwhile: the client comes again. */
                if (r < 0)
                        return r == -EAGAIN ? -ETIMEDOUT : r;
                store_rbd_header_is(image, &header);
                store_rbd_tell(store, RBD_MESSAGE_CHANGED, 0, i->uuid, 0);
        }

        *ret_lease = header.record.lease;
        return r;
}
