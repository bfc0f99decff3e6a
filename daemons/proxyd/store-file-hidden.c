/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is being built or deleted has a hidden name, so that nobody takes it for what it is going to be or has been. A crash leaves it behind, and the next proxy that starts
 * sweeps it away. But several proxies share a store, and one of them may be at work on it: so whoever builds outside of the short locks keeps what it builds locked, and what is
 * locked is left alone. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "directory.h"
#include "store-file.h"

#define DEPTH_MAX 4U /* an image, its directory of snapshots, a snapshot, its files */

int store_file_hidden_name(const char *what, char ret[static HIDDEN_NAME_SIZE]) {
        uint64_t random;

        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        (void) snprintf(ret, HIDDEN_NAME_SIZE, ".%s-%016jx", what, (uintmax_t) random);
        return 0;
}

void store_file_sums_name(const char *data, char ret[static HIDDEN_NAME_SIZE]) {
        (void) snprintf(ret, HIDDEN_NAME_SIZE, "%.*s.s", (int) HIDDEN_NAME_SIZE - 3, data);
}

int store_file_lock_images(struct file_store *store, int *ret_fd) {
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

static int delete_within(int parent_fd, const char *name, unsigned depth) {
        struct dirent *entry;
        DIR *directory;

        if (depth == 0)
                return -ELOOP;
        directory = directory_open(parent_fd, name);
        if (!directory)
                return errno == ENOENT ? 0 : -errno;

        while ((entry = readdir(directory)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                        unlinkat(dirfd(directory), entry->d_name, 0) < 0 && (errno == EISDIR || errno == EPERM))
                        (void) delete_within(dirfd(directory), entry->d_name, depth - 1);
        closedir(directory);
        store_file_stepped("files deleted");

        return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int store_file_delete_tree(int parent_fd, const char *name) {
        return delete_within(parent_fd, name, DEPTH_MAX);
}

/* --- sweeping --- */

static bool begins_with(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Whether somebody is at work on it. */
static bool is_locked(int parent_fd, const char *name) {
        _cleanup_close_ int fd = openat(parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* Under a lock of parent_fd, so that nothing has its name and not yet its lock. */
static void sweep_hidden(int parent_fd) {
        struct dirent *entry;
        DIR *directory;

        directory = directory_open(parent_fd, ".");
        if (!directory)
                return;
        while ((entry = readdir(directory))) {
                const char *name = entry->d_name;

                if ((begins_with(name, ".new-") || begins_with(name, ".removed-")) && !is_locked(parent_fd, name))
                        (void) store_file_delete_tree(parent_fd, name);
                else if (begins_with(name, "." HIDDEN_ROLL_BACK "-") && !is_locked(parent_fd, name))
                        (void) unlinkat(parent_fd, name, 0);
        }
        closedir(directory);
}

/* Locking it ends what was interrupted. One image that cannot be tidied keeps nobody from the others. */
static void sweep_image(struct file_store *store, const char *name) {
        _cleanup_close_ int fd = -EBADF, snapshots_fd = -EBADF;

        if (store_file_open_and_lock_image(store, name, LOCK_EX, &fd) < 0)
                return;
        sweep_hidden(fd);
        (void) unlinkat(fd, "." INTENT_NAME ".spare", 0);
        snapshots_fd = openat(fd, SNAPSHOTS_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (snapshots_fd >= 0)
                sweep_hidden(snapshots_fd);
}

int store_file_sweep(struct file_store *store) {
        _cleanup_close_ int images_fd = -EBADF;
        struct dirent *entry;
        DIR *directory;
        int r;

        r = store_file_lock_images(store, &images_fd);
        if (r < 0)
                return r;
        sweep_hidden(images_fd);

        directory = directory_open(images_fd, ".");
        if (!directory)
                return -errno;
        while ((entry = readdir(directory)))
                if (image_store_name_is_valid(entry->d_name))
                        sweep_image(store, entry->d_name);
        closedir(directory);
        return 0;
}
