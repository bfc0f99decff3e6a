/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images come and go in one step each. A new one is built under a hidden name and gets its own name when every byte of
 * it is on disk; a removed one loses its name first and is deleted then; another name is one step for the file system. Whatever a crash leaves has a hidden name and
 * is swept when a proxy starts. Proxies that share the store take turns by a lock on the directory of images.
 *
 * Nobody may have an image open that goes or gets another name, through whichever proxy: a host comes back to its image by the name. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "fault-point.h"
#include "store-file.h"

int store_file_write_new_record(int directory_fd, const struct image_record *record) {
        int r;

        /* The second time makes the spare, so that later changes need no space. */
        r = image_record_save(directory_fd, record);
        if (r >= 0)
                r = image_record_save(directory_fd, record);
        /* Its space, too, is had from the beginning. */
        if (r >= 0)
                r = holder_record_save(
                        directory_fd, &(const struct store_holder){ .boot_id = record->uuid, .socket = "none" });
        return r;
}

/* Fills the new image's directory. */
static int build(int directory_fd, uint64_t size, bool preallocate, sd_id128_t uuid) {
        struct image_record record = { .uuid = uuid, .size = size };
        _cleanup_close_ int data_fd = -EBADF;
        struct timespec now;
        int r;

        data_fd = openat(directory_fd, "data", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (data_fd < 0)
                return -errno;
        store_file_stepped("data made");
        if (ftruncate(data_fd, (off_t) size) < 0)
                return errno == EINVAL ? -EFBIG : -errno;
        if (preallocate) {
                do
                        r = fallocate(data_fd, 0, 0, (off_t) size) < 0 ? -errno : 0;
                while (r == -EINTR);
                if (r < 0)
                        return r;
        }
        if (fsync(data_fd) < 0)
                return -errno;
        store_file_stepped("data synced");

        clock_gettime(CLOCK_REALTIME, &now);
        record.created_usec = (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;

        return store_file_write_new_record(directory_fd, &record);
}

int store_file_create(struct store *s, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        char hidden[HIDDEN_NAME_SIZE];
        struct stat st;
        sd_id128_t uuid;
        int r;

        r = sd_id128_randomize(&uuid);
        if (r < 0)
                return r;
        r = store_file_hidden_name("new", hidden);
        if (r < 0)
                return r;
        r = store_file_lock_images(store, &images_fd);
        if (r < 0)
                return r;
        if (fstatat(images_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0)
                return -EEXIST;

        if (mkdirat(images_fd, hidden, 0700) < 0)
                return -errno;
        store_file_stepped("directory made");
        fd = openat(images_fd, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? -errno : build(fd, size, preallocate, uuid);
        if (r >= 0 && renameat2(images_fd, hidden, images_fd, name, RENAME_NOREPLACE) < 0)
                r = -errno;
        if (r < 0) {
                (void) store_file_delete_tree(images_fd, hidden);
                return r;
        }
        store_file_stepped("named");
        if (fsync(images_fd) < 0)
                return -errno;

        *ret_uuid = uuid;
        return 0;
}

/* Finds an image that is to go, or to get another name, and locks it. */
static int lock_idle(
        struct file_store *store, const char *name, sd_id128_t uuid, int *ret_fd, size_t *ret_n_snapshots) {
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        int r;

        r = store_file_open_and_lock_image(store, name, LOCK_EX, &fd);
        if (r < 0)
                return r;
        r = image_record_load(fd, name, &record, &message);
        if (r < 0) {
                if (message)
                        store->how.complain(name, message);
                return r == -ENOENT ? -EUCLEAN : r;
        }
        if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, record.uuid))
                return -ENOENT;
        if (record.lease.live)
                return -EBUSY;
        /* A client that has no lease may use it through another proxy. */
        r = store_file_check_unused(fd, ret_n_snapshots);
        if (r < 0)
                return r;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int store_file_add_checksums(struct store *s, const char *name) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct image_record record = {};
        size_t n_snapshots;
        int r;

        r = store_file_open_and_lock_image(store, name, LOCK_EX, &fd);
        if (r >= 0)
                r = store_file_check_unused(fd, &n_snapshots);
        if (r >= 0)
                r = image_record_load(fd, name, &record, &message);
        if (r < 0 || record.checksums)
                return r;

        r = store_file_sums_add(fd);
        if (r < 0)
                return r;
        store_file_stepped("checksums made");
        record.checksums = true;
        return image_record_save(fd, &record);
}

int store_file_remove(struct store *s, const char *name, sd_id128_t uuid, bool snapshots_too) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        char hidden[HIDDEN_NAME_SIZE];
        size_t n_snapshots;
        int r;

        r = store_file_hidden_name("removed", hidden);
        if (r < 0)
                return r;
        r = store_file_lock_images(store, &images_fd);
        if (r < 0)
                return r;
        r = lock_idle(store, name, uuid, &fd, &n_snapshots);
        if (r < 0)
                return r;
        if (n_snapshots > 0 && !snapshots_too)
                return -ENOTEMPTY;

        if (renameat(images_fd, name, images_fd, hidden) < 0)
                return -errno;
        store_file_stepped("name removed");
        if (fsync(images_fd) < 0)
                return -errno;
        store_file_stepped("removal synced");

        /* The image is gone; what cannot be deleted now is swept later. */
        images_fd = safe_close(images_fd);
        (void) store_file_delete_tree(store->images_fd, hidden);
        return 0;
}

int store_file_rename(struct store *s, const char *name, sd_id128_t uuid, const char *new_name) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        size_t n_snapshots;
        int r;

        r = store_file_lock_images(store, &images_fd);
        if (r < 0)
                return r;
        r = lock_idle(store, name, uuid, &fd, &n_snapshots);
        if (r < 0)
                return r;

        if (renameat2(images_fd, name, images_fd, new_name, RENAME_NOREPLACE) < 0)
                return -errno;
        store_file_stepped("name changed");
        fault_point("life-renamed");
        if (fsync(images_fd) < 0)
                return -errno;
        store_file_stepped("new name synced");
        return 0;
}
