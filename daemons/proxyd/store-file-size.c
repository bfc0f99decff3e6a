/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The size of an image, and how it changes. Two things have to agree, the record and the length of the data, and a crash may come between any two steps. The rule: the data are never shorter than
 * the record says. So what grows gets its data first and its record then, and what shrinks the other way round; cut short, it has the old size or the new one.
 *
 * Data that are longer than the record are what a shrink that was cut short has left behind. They must not come back when the image grows again, so growing begins by cutting them off:
 * nobody writes there, since a session may only reach as far as the smallest size that the image has had since the session was told one.
 *
 * Where it becomes known: the store's thread reads the record, sessions ask on the ring's. Hence the lock, which is held for a copy. */

#include <sys/stat.h>

#include "store-file.h"

void store_file_size_is(struct file_image *image, const struct image_record *record) {
        struct file_store *store = FILE_STORE(image->image.store);

        pthread_mutex_lock(&store->mutex);
        image->size = (struct store_size){ .bytes = record->size, .epoch = record->size_epoch };
        image->limits = record->limits;
        pthread_mutex_unlock(&store->mutex);
}

void store_file_get_size(struct store_image *i, struct store_size *ret) {
        struct file_store *store = FILE_STORE(i->store);

        pthread_mutex_lock(&store->mutex);
        *ret = FILE_IMAGE(i)->size;
        pthread_mutex_unlock(&store->mutex);
}

static int set_length(struct file_image *image, uint64_t size) {
        if (ftruncate(image->data_fd, (off_t) size) < 0)
                return errno == EINVAL ? -EFBIG : -errno;
        return fsync(image->data_fd) < 0 ? -errno : 0;
}

/* What a shrink that was cut short has left behind. */
static int cut_leftover(struct file_image *image, uint64_t size) {
        struct stat st;
        int r;

        if (fstat(image->data_fd, &st) < 0)
                return -errno;
        if (!image->sums || (uint64_t) st.st_size <= size)
                return 0;
        r = store_file_sums_expect_cut(image->sums, size);
        return r < 0 ? r : store_file_sums_cut(image->sums, size);
}

static int grow(struct file_image *image, int directory_fd, struct image_record *record, uint64_t size) {
        uint64_t old = record->size;
        int r;

        r = cut_leftover(image, old);
        if (r < 0)
                return r;
        if (ftruncate(image->data_fd, (off_t) old) < 0)
                return -errno;
        r = set_length(image, size);
        store_file_stepped("data grown");
        if (r >= 0) {
                record->size = size;
                r = image_record_save(directory_fd, record);
        }
        /* Space that nobody gets; whether it goes does not matter, see above. */
        if (r < 0)
                (void) !ftruncate(image->data_fd, (off_t) old);
        return r;
}

static int shrink(struct file_image *image, int directory_fd, struct image_record *record, uint64_t size) {
        int r;

        r = image->sums ? store_file_sums_expect_cut(image->sums, size) : 0;
        if (r < 0)
                return r;
        store_file_stepped("cut expected");
        record->size = size;
        r = image_record_save(directory_fd, record);
        if (r < 0)
                return r;

        store_file_stepped("record shrunk");
        /* Done, whatever comes of it: a store that keeps the space does no harm. */
        if (!image->sums) {
                (void) set_length(image, size);
                return 0;
        }
        /* Data that are longer than the record show that this has not been done. */
        r = store_file_sums_cut(image->sums, size);
        store_file_stepped("checksums cut");
        if (r >= 0)
                r = set_length(image, size);
        if (r >= 0)
                (void) store_file_sums_was_cut(image->sums, size);
        return 0;
}

int store_file_resize(
        struct store_image *i, uint64_t size, store_size_check_t check, void *userdata, struct lease *ret_lease) {
        struct file_image *image = FILE_IMAGE(i);
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        int r;

        if (i->read_only)
                return -EROFS;
        r = store_file_lock_record(image, &fd, &record);
        if (r < 0)
                return r;

        r = check(&record.lease, record.size, size, userdata);
        if (r == 0 && size != record.size) {
                if (record.size_epoch >= INT64_MAX)
                        return -EOVERFLOW;
                record.size_epoch++;
                r = size > record.size ? grow(image, fd, &record, size) : shrink(image, fd, &record, size);
                if (r < 0)
                        return r;
                store_file_size_is(image, &record);
        }

        *ret_lease = record.lease;
        return r;
}
