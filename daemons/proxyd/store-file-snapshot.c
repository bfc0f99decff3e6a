/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Snapshots of an image. One is a directory below the image's, with a record and data as an image has them: bytes of its own, which nobody ever changes, and which share their storage with the
 * image's where the file system can do that. So there are no chains: any snapshot may go, in any order, and the image as well. They are made in store-file-copy.c. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "directory.h"
#include "ivbs-lifecycle.h"
#include "store-file.h"

/* All names of snapshots in byte order; none where there is no such directory. */
static int list_names(int directory_fd, struct directory_names *ret) {
        DIR *directory = directory_open(directory_fd, SNAPSHOTS_NAME);
        struct directory_names names = {};
        struct dirent *entry;
        int r = 0;

        if (!directory && errno != ENOENT)
                return -errno;
        while (r >= 0 && directory && (entry = readdir(directory)))
                if (ivbs_new_name_is_valid(entry->d_name))
                        r = directory_names_add(&names, entry->d_name);
        if (directory)
                closedir(directory);
        if (r < 0) {
                directory_names_done(&names);
                return r;
        }
        directory_names_sort(&names);
        *ret = names;
        return 0;
}

int store_file_open_snapshot(int directory_fd, const char *snapshot) {
        _cleanup_close_ int snapshots_fd = -EBADF;
        int fd;

        snapshots_fd = openat(directory_fd, SNAPSHOTS_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (snapshots_fd < 0)
                return -errno;
        fd = openat(snapshots_fd, snapshot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int store_file_check_unused(int directory_fd, size_t *ret_n_snapshots) {
        struct directory_names names = {};
        int r;

        r = store_file_is_open(directory_fd);
        if (r != 0)
                return r < 0 ? r : -EBUSY;

        r = list_names(directory_fd, &names);
        for (size_t i = 0; r >= 0 && i < names.n; i++) {
                _cleanup_close_ int fd = store_file_open_snapshot(directory_fd, names.names[i]);

                r = fd < 0 ? fd : store_file_is_open(fd);
                if (r > 0)
                        r = -EBUSY;
        }
        if (r >= 0)
                *ret_n_snapshots = names.n;
        directory_names_done(&names);
        return r;
}

/* Returns 1 when ret was filled, 0 for what is no (whole) snapshot: damage of one must not hide the others. */
static int describe(struct file_store *store, int directory_fd, const char *image, const char *name,
        struct store_listed_snapshot *ret) {
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        struct stat st;
        int r;

        fd = store_file_open_snapshot(directory_fd, name);
        if (fd < 0)
                return 0;
        r = image_record_load(fd, name, &record, &message);
        if (message)
                store->how.complain(image, message);
        if (r < 0 || fstatat(fd, "data", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;

        *ret = (struct store_listed_snapshot){
                .uuid = record.uuid,
                .size = record.size,
                .used = (uint64_t) st.st_blocks * 512U,
                .created_usec = record.created_usec,
                .open = store_file_is_open(fd) > 0,
        };
        strcpy(ret->name, name);
        return 1;
}

int store_file_list_snapshots(struct store *s, const char *name, const char *after, size_t max,
        struct store_listed_snapshot **ret, size_t *ret_n, bool *ret_more) {
        _cleanup_free_ struct store_listed_snapshot *listed = NULL;
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int fd = -EBADF;
        struct directory_names names = {};
        size_t n = 0, i;
        int r;

        listed = calloc(max, sizeof(*listed));
        if (!listed)
                return -ENOMEM;
        /* For changes, since looking whether one is open takes a lock for a moment, and that must not be mistaken for somebody who has it open. */
        r = store_file_open_and_lock_image(store, name, LOCK_EX, &fd);
        if (r >= 0)
                r = list_names(fd, &names);
        if (r < 0)
                return r;

        for (i = 0; i < names.n && n < max; i++)
                if (!after || strcmp(names.names[i], after) > 0)
                        n += (size_t) describe(store, fd, name, names.names[i], listed + n);

        *ret = TAKE_PTR(listed);
        *ret_n = n;
        *ret_more = i < names.n;
        directory_names_done(&names);
        return 0;
}

int store_file_remove_snapshot(struct store *s, const char *name, const char *snapshot, sd_id128_t uuid) {
        _cleanup_close_ int image_fd = -EBADF, snapshots_fd = -EBADF, fd = -EBADF;
        struct file_store *store = FILE_STORE(s);
        _cleanup_free_ char *message = NULL;
        char hidden[HIDDEN_NAME_SIZE];
        struct image_record record;
        int r;

        r = store_file_hidden_name("removed", hidden);
        if (r >= 0)
                r = store_file_open_and_lock_image(store, name, LOCK_EX, &image_fd);
        if (r < 0)
                return r;
        snapshots_fd = openat(image_fd, SNAPSHOTS_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (snapshots_fd < 0)
                return -errno;
        fd = store_file_open_snapshot(image_fd, snapshot);
        if (fd < 0)
                return fd;

        /* A damaged one may go; but not in another's place. */
        if (!sd_id128_is_null(uuid)) {
                r = image_record_load(fd, snapshot, &record, &message);
                if (message)
                        store->how.complain(name, message);
                if (r < 0)
                        return r == -ENOENT ? -EUCLEAN : r;
                if (!sd_id128_equal(record.uuid, uuid))
                        return -ENOENT;
        }
        r = store_file_is_open(fd);
        if (r != 0)
                return r < 0 ? r : -EBUSY;

        if (renameat(snapshots_fd, snapshot, snapshots_fd, hidden) < 0)
                return -errno;
        store_file_stepped("snapshot's name removed");
        if (fsync(snapshots_fd) < 0)
                return -errno;
        store_file_stepped("snapshot's removal synced");

        /* It is gone; what cannot be deleted now is swept later. */
        image_fd = safe_close(image_fd);
        (void) store_file_delete_tree(snapshots_fd, hidden);
        return 0;
}
