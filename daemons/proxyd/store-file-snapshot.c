/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Snapshots of an image. One is a directory below the image's, with a record and data as an image has them: bytes of its own, which nobody ever changes, and which share their storage with the
 * image's where the file system can do that. So there are no chains: any snapshot may go, in any order, and the image as well. They are made in store-file-copy.c. */

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "ivbs-lifecycle.h"
#include "store-file.h"

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void free_names(char **names, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(names[i]);
        free(names);
}

/* All names of snapshots in byte order; none where there is no such directory. */
static int list_names(int directory_fd, char ***ret, size_t *ret_n) {
        char **names = NULL;
        struct dirent *entry;
        DIR *directory;
        size_t n = 0;
        int fd, r = 0;

        fd = openat(directory_fd, SNAPSHOTS_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return -errno;
        directory = fd < 0 ? NULL : fdopendir(fd);
        if (fd >= 0 && !directory) {
                r = -errno;
                safe_close(fd);
                return r;
        }

        while (directory && (entry = readdir(directory))) {
                char **grown;

                if (!ivbs_new_name_is_valid(entry->d_name))
                        continue;
                grown = reallocarray(names, n + 1, sizeof(char *));
                if (!grown) {
                        r = -ENOMEM;
                        break;
                }
                names = grown;
                names[n] = strdup(entry->d_name);
                if (!names[n]) {
                        r = -ENOMEM;
                        break;
                }
                n++;
        }
        if (directory)
                closedir(directory);
        if (r < 0) {
                free_names(names, n);
                return r;
        }
        if (n > 0)
                qsort(names, n, sizeof(char *), compare_names);

        *ret = names;
        *ret_n = n;
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
        char **names = NULL;
        size_t n = 0;
        int r;

        r = store_file_is_open(directory_fd);
        if (r != 0)
                return r < 0 ? r : -EBUSY;

        r = list_names(directory_fd, &names, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_close_ int fd = store_file_open_snapshot(directory_fd, names[i]);

                r = fd < 0 ? fd : store_file_is_open(fd);
                if (r > 0)
                        r = -EBUSY;
        }
        free_names(names, n);
        if (r >= 0)
                *ret_n_snapshots = n;
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
        size_t n_names = 0, n = 0, i;
        char **names = NULL;
        int r;

        listed = calloc(max, sizeof(*listed));
        if (!listed)
                return -ENOMEM;
        /* For changes, since looking whether one is open takes a lock for a moment, and that must not be mistaken for somebody who has it open. */
        r = store_file_open_and_lock_image(store, name, LOCK_EX, &fd);
        if (r >= 0)
                r = list_names(fd, &names, &n_names);
        if (r < 0)
                return r;

        for (i = 0; i < n_names && n < max; i++)
                if (!after || strcmp(names[i], after) > 0)
                        n += (size_t) describe(store, fd, name, names[i], listed + n);

        *ret = TAKE_PTR(listed);
        *ret_n = n;
        *ret_more = i < n_names;
        free_names(names, n_names);
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
