/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key of the store's tickets: 32 random bytes in tickets.key, made once and shared by all proxies of the store. A key that is cut short, or that others may read, is
 * replaced: all that is lost is that every client logs in once with its password. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "store-file.h"

#define KEY_NAME  "tickets.key"
#define KEY_SPARE ".tickets.key.new"

/* Returns 0, -ENOENT (none that is good), or another negative errno. */
static int load_key(struct file_store *store, uint8_t ret[static STORE_KEY_SIZE]) {
        uint8_t key[STORE_KEY_SIZE + 1];
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        ssize_t n;

        fd = openat(store->fd, KEY_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EEXIST;

        n = read(fd, key, sizeof(key));
        if (n < 0)
                return -errno;
        if (n == (ssize_t) STORE_KEY_SIZE && (st.st_mode & 0077) == 0)
                memcpy(ret, key, STORE_KEY_SIZE);
        explicit_bzero(key, sizeof(key));
        if (n == (ssize_t) STORE_KEY_SIZE && (st.st_mode & 0077) == 0)
                return 0;

        store->how.complain(
                NULL, n == (ssize_t) STORE_KEY_SIZE
                              ? "The store's " KEY_NAME " could be read by others: it is replaced, and every "
                                "client has to log in with its password once"
                              : "The store's " KEY_NAME " is damaged: it is replaced, and every client has "
                                "to log in with its password once");
        return -ENOENT;
}

static int make_key(struct file_store *store, uint8_t ret[static STORE_KEY_SIZE]) {
        _cleanup_close_ int fd = -EBADF;
        uint8_t key[STORE_KEY_SIZE];
        int r = 0;

        if (getrandom(key, sizeof(key), 0) != (ssize_t) sizeof(key))
                return -EIO;
        (void) unlinkat(store->fd, KEY_SPARE, 0);
        fd = openat(store->fd, KEY_SPARE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;

        if (write(fd, key, sizeof(key)) != (ssize_t) sizeof(key))
                r = -ENOSPC;
        else if (fsync(fd) < 0 || renameat(store->fd, KEY_SPARE, store->fd, KEY_NAME) < 0 || fsync(store->fd) < 0)
                r = -errno;
        if (r >= 0)
                memcpy(ret, key, sizeof(key));
        else
                (void) unlinkat(store->fd, KEY_SPARE, 0);
        explicit_bzero(key, sizeof(key));
        return r;
}

int store_file_get_key(struct store *s, uint8_t ret[static STORE_KEY_SIZE]) {
        struct file_store *store = FILE_STORE(s);
        _cleanup_close_ int fd = -EBADF;
        int r;

        /* A descriptor of its own, so that the lock ends with it. */
        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, LOCK_EX, NULL);
        if (r < 0)
                return r;

        r = load_key(store, ret);
        return r == -ENOENT ? make_key(store, ret) : r;
}
