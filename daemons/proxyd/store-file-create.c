/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images come and go in one step each. A new one is built under a hidden name and gets its own name when every byte of
 * it is on disk; a removed one loses its name first and is deleted then. Whatever a crash leaves has a hidden name and
 * is swept when a proxy starts. Proxies that share the store take turns by a lock on the directory of images. */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "store-file.h"

#define HIDDEN_NAME_SIZE 32U

static int hidden_name(const char *what, char ret[static HIDDEN_NAME_SIZE]) {
        uint64_t random;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        (void) snprintf(ret, HIDDEN_NAME_SIZE, ".%s-%016jx", what, (uintmax_t) random);
        return 0;
}

/* A descriptor of its own, so that the lock ends with it. */
static int lock_images(struct file_store *store, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(store->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, LOCK_EX, NULL);
        if (r < 0)
                return r;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* An image's directory holds files only. */
static int delete_tree(int parent_fd, const char *name) {
        _cleanup_close_ int fd = -EBADF;
        struct dirent *entry;
        DIR *directory;

        fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        directory = fdopendir(fd);
        if (!directory)
                return -errno;
        TAKE_FD(fd);

        while ((entry = readdir(directory)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        (void) unlinkat(dirfd(directory), entry->d_name, 0);
        closedir(directory);
        store_file_stepped("files deleted");

        return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* Fills the new image's directory. */
static int build(int directory_fd, uint64_t size, sd_id128_t uuid) {
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
        if (fsync(data_fd) < 0)
                return -errno;
        store_file_stepped("data synced");

        clock_gettime(CLOCK_REALTIME, &now);
        record.created_usec = (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;

        /* The second time makes the spare, so that later changes need no space. */
        r = image_record_save(directory_fd, &record);
        if (r >= 0)
                r = image_record_save(directory_fd, &record);
        /* Its space, too, is had from the beginning. */
        if (r >= 0)
                r = holder_record_save(
                        directory_fd, &(const struct store_holder){ .boot_id = uuid, .socket = "none" });
        return r;
}

int store_file_create(struct store *s, const char *name, uint64_t size, sd_id128_t *ret_uuid) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        char hidden[HIDDEN_NAME_SIZE];
        struct stat st;
        sd_id128_t uuid;
        int r;

        r = sd_id128_randomize(&uuid);
        if (r < 0)
                return r;
        r = hidden_name("new", hidden);
        if (r < 0)
                return r;
        r = lock_images(store, &images_fd);
        if (r < 0)
                return r;
        if (fstatat(images_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0)
                return -EEXIST;

        if (mkdirat(images_fd, hidden, 0700) < 0)
                return -errno;
        store_file_stepped("directory made");
        fd = openat(images_fd, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? -errno : build(fd, size, uuid);
        if (r >= 0 && renameat2(images_fd, hidden, images_fd, name, RENAME_NOREPLACE) < 0)
                r = -errno;
        if (r < 0) {
                (void) delete_tree(images_fd, hidden);
                return r;
        }
        store_file_stepped("named");
        if (fsync(images_fd) < 0)
                return -errno;

        *ret_uuid = uuid;
        return 0;
}

int store_file_remove(struct store *s, const char *name, sd_id128_t uuid) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        _cleanup_free_ char *message = NULL;
        struct image_record record;
        char hidden[HIDDEN_NAME_SIZE];
        int r;

        r = hidden_name("removed", hidden);
        if (r < 0)
                return r;
        r = lock_images(store, &images_fd);
        if (r < 0)
                return r;
        fd = openat(images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, LOCK_EX, name);
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
        /* A client that has no lease may write through another proxy. */
        r = store_file_is_held(fd);
        if (r != 0)
                return r < 0 ? r : -EBUSY;

        if (renameat(images_fd, name, images_fd, hidden) < 0)
                return -errno;
        store_file_stepped("name removed");
        if (fsync(images_fd) < 0)
                return -errno;
        store_file_stepped("removal synced");

        /* The image is gone; what cannot be deleted now is swept later. */
        images_fd = safe_close(images_fd);
        (void) delete_tree(store->images_fd, hidden);
        return 0;
}

int store_file_sweep(struct file_store *store) {
        _cleanup_close_ int images_fd = -EBADF, fd = -EBADF;
        struct dirent *entry;
        DIR *directory;
        int r;

        r = lock_images(store, &images_fd);
        if (r < 0)
                return r;
        fd = openat(images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        directory = fdopendir(fd);
        if (!directory)
                return -errno;
        TAKE_FD(fd);

        while ((entry = readdir(directory)))
                if (strncmp(entry->d_name, ".new-", 5) == 0 || strncmp(entry->d_name, ".removed-", 9) == 0)
                        (void) delete_tree(images_fd, entry->d_name);
        closedir(directory);
        return 0;
}
