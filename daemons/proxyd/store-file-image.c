/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One image of the file store: its open files, and its lease. The record on disk is the truth about the lease, since other proxies on this machine change
 * it, too; every decision reads it anew, under the lock of the image's directory. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "ivbs-lifecycle.h"
#include "store-file.h"

struct store_image *store_file_close_image(struct store_image *i) {
        struct file_image *image = FILE_IMAGE(i);

        if (!image)
                return NULL;

        store_file_unwatch(image);
        store_file_sync_close(image);
        store_file_sums_close(image->sums);
        safe_close(image->data_fd);
        safe_close(image->directory_fd);
        free(image->path);
        free(image->name);
        free(image);
        return NULL;
}
DEFINE_CLEANUP(struct store_image *, store_file_close_image);

int store_file_load_record(struct file_store *store, int directory_fd, const char *name, struct image_record *ret) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = store_file_lock_image(store, directory_fd, LOCK_SH, name);
        if (r < 0)
                return r;
        r = image_record_load(directory_fd, name, ret, &message);
        (void) flock(directory_fd, LOCK_UN);

        if (message)
                store->how.complain(name, message);
        return r == -ENOENT ? -EUCLEAN : r;
}

/* Its directory, while that of the image is locked: a snapshot's lies below it. */
static int open_directory(struct file_image *image, int image_fd, const char *base, const char *snapshot) {
        if (!*snapshot) {
                image->directory_fd = openat(image_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                image->path = strdup(base);
        } else {
                image->directory_fd = store_file_open_snapshot(image_fd, snapshot);
                if (asprintf(&image->path, "%s/" SNAPSHOTS_NAME "/%s", base, snapshot) < 0)
                        image->path = NULL;
        }
        if (!image->path)
                return -ENOMEM;
        if (image->directory_fd < 0)
                return *snapshot ? image->directory_fd : -errno;
        image->image.read_only = *snapshot;
        return 0;
}

/* Nobody can rename or remove it until it is marked as open. */
static int open_locked(struct file_image *image, struct image_record *ret) {
        struct file_store *store = FILE_STORE(image->image.store);
        char base[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE];
        _cleanup_close_ int lock_fd = -EBADF;
        _cleanup_free_ char *message = NULL;
        int r;

        r = ivbs_snapshot_name_split(image->name, base, snapshot);
        if (r < 0)
                return -ENOENT;
        r = store_file_open_and_lock_image(store, base, LOCK_SH, &lock_fd);
        if (r >= 0)
                r = open_directory(image, lock_fd, base, snapshot);
        if (r < 0)
                return r;

        r = image_record_load(image->directory_fd, image->name, ret, &message);
        if (message)
                store->how.complain(image->name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;

        image->data_fd = openat(
                image->directory_fd, "data", (image->image.read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC);
        if (image->data_fd < 0)
                return errno == ENOENT ? -EUCLEAN : -errno;
        return store_file_mark_open(image->data_fd);
}

int store_file_open_image(struct store *s, const char *name, struct store_image **ret) {
        _cleanup_(store_file_close_imagep) struct store_image *owned = NULL;
        struct file_store *store = FILE_STORE(s);
        struct image_record record = {};
        struct file_image *image;
        struct stat st;
        int r;

        image = calloc(1, sizeof(*image));
        if (!image)
                return -ENOMEM;
        *image = (struct file_image){ .image.store = s, .directory_fd = -EBADF, .data_fd = -EBADF };
        owned = &image->image;
        store_file_sync_init(image);
        image->name = strdup(name);
        if (!image->name)
                return -ENOMEM;

        r = open_locked(image, &record);
        if (r < 0)
                return r;
        if (fstat(image->data_fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size < record.size) {
                store->how.complain(name, "The image's data is shorter than its record says");
                return -EUCLEAN;
        }

        r = record.checksums ? store_file_sums_open(image) : 0;
        if (r >= 0)
                r = store_file_sync_open(image);
        if (r >= 0)
                r = store_file_at_once_open(image);
        if (r < 0)
                return r;

        image->image.uuid = record.uuid;
        image->image.block_size = 4096;
        store_file_watch(image);
        store_file_size_is(image, &record);
        *ret = TAKE_PTR(owned);
        return 0;
}

int store_file_lock_record(struct file_image *image, int *ret_fd, struct image_record *ret) {
        struct file_store *store = FILE_STORE(image->image.store);
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *message = NULL;
        struct image_record record = {};
        int r;

        /* A descriptor of its own, so that the lock ends with it whatever happens. */
        fd = openat(image->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock_image(store, fd, LOCK_EX, image->name);
        if (r < 0)
                return r;
        r = store_file_check_current(image);
        if (r < 0)
                return r;
        r = image_record_load(fd, image->name, &record, &message);
        if (message)
                store->how.complain(image->name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;

        store_file_size_is(image, &record);
        *ret = record;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int store_file_change_lease(
        struct store_image *i, store_lease_change_t change, void *userdata, struct lease *ret_lease) {
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        int r;

        if (change && i->read_only)
                return -EROFS;
        r = store_file_lock_record(FILE_IMAGE(i), &fd, &record);
        if (r < 0)
                return r;

        if (change) {
                r = change(&record.lease, userdata);
                if (r == 0)
                        r = image_record_save(fd, &record);
                if (r < 0)
                        return r;
        }

        *ret_lease = record.lease;
        return r;
}
