/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One image of the file store: its open files, and its lease. The record on disk is the truth about the lease, since other proxies on this machine change
 * it, too; every decision reads it anew, under the lock of the image's directory. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "store-file.h"

struct store_image *store_file_close_image(struct store_image *i) {
        struct file_image *image = FILE_IMAGE(i);

        if (!image)
                return NULL;

        store_file_unwatch(image);
        store_file_sync_close(image);
        safe_close(image->data_fd);
        safe_close(image->directory_fd);
        free(image->name);
        free(image);
        return NULL;
}
DEFINE_CLEANUP(struct store_image *, store_file_close_image);

int store_file_load_record(struct file_store *store, int directory_fd, const char *name, struct image_record *ret) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = store_file_lock(store, directory_fd, LOCK_SH, name);
        if (r < 0)
                return r;
        r = image_record_load(directory_fd, name, ret, &message);
        (void) flock(directory_fd, LOCK_UN);

        if (message)
                store->how.complain(name, message);
        return r == -ENOENT ? -EUCLEAN : r;
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

        image->directory_fd = openat(store->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (image->directory_fd < 0)
                return -errno;
        r = store_file_load_record(store, image->directory_fd, name, &record);
        if (r < 0)
                return r;

        image->data_fd = openat(image->directory_fd, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (image->data_fd < 0 || fstat(image->data_fd, &st) < 0)
                return errno == ENOENT ? -EUCLEAN : -errno;
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size < record.size) {
                store->how.complain(name, "The image's data is shorter than its record says");
                return -EUCLEAN;
        }

        r = store_file_sync_open(image);
        if (r >= 0)
                r = store_file_at_once_open(image);
        if (r < 0)
                return r;

        image->image.uuid = record.uuid;
        image->image.size = record.size;
        image->image.block_size = 4096;
        store_file_watch(image);
        *ret = TAKE_PTR(owned);
        return 0;
}

int store_file_change_lease(
        struct store_image *i, store_lease_change_t change, void *userdata, struct lease *ret_lease) {
        struct file_image *image = FILE_IMAGE(i);
        struct file_store *store = FILE_STORE(i->store);
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *message = NULL;
        struct image_record record;
        int r;

        /* A descriptor of its own, so that the lock ends with it whatever happens. */
        fd = openat(image->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, LOCK_EX, image->name);
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
