/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether the store is still what was opened. A store has a UUID, but a copy has the same one, and images that are written in two copies under one identity are
 * lost. So the record remembers the directory itself, by inode number and birth, neither of which a copy inherits; renaming within the file system keeps
 * both. (The birth decides where a store is the root of a file system, which has the same inode number everywhere.)
 *
 * While it runs, a proxy compares what its path leads to with what it has open: before an image is taken and every few seconds. What is attached goes on
 * where it is, since open files stay what they are; but nothing is taken anew in a place where other proxies would not find it. */

#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "container-of.h"
#include "store-file.h"

#define CHECK_USEC 5000000U

int store_file_look_at_directory(int fd, uint64_t *ret_inode, uint64_t *ret_born_nsec) {
        struct statx stx;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) < 0)
                return -errno;

        *ret_inode = stx.stx_ino;
        *ret_born_nsec =
                stx.stx_mask & STATX_BTIME ? (uint64_t) stx.stx_btime.tv_sec * 1000000000U + stx.stx_btime.tv_nsec : 0;
        return 0;
}

static _printf_(2, 3) void complain(struct file_store *store, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;

        /* Once, until it is all right again. */
        if (store->lost)
                return;
        store->lost = true;

        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        store->how.complain(NULL, message ? message : "The store is not what was opened any more");
}

static int check_path(struct file_store *store) {
        struct stat named, open;

        if (fstat(store->fd, &open) < 0)
                return -errno;
        if (stat(store->path, &named) < 0) {
                complain(store,
                        "The store %s cannot be found any more (%s): what is attached goes on, nothing else is "
                        "attached. Bring the directory back to its place, or stop this proxy",
                        store->path, strerror(errno));
                return -ENODEV;
        }
        if (named.st_dev != open.st_dev || named.st_ino != open.st_ino) {
                complain(store,
                        "The store %s is another directory than the one that was opened, which was renamed, unmounted "
                        "or covered by a mount: what is attached goes on, nothing else is attached. Bring the former "
                        "one back to its place, or restart this proxy to serve what is there now",
                        store->path);
                return -ENODEV;
        }
        return 0;
}

int store_file_check(struct file_store *store) {
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct store_record record;
        int r;

        r = check_path(store);
        if (r < 0)
                return r;

        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, LOCK_SH, NULL);
        if (r < 0)
                return r;
        r = store_record_load(fd, store->path, &record, &message);
        if (r < 0) {
                complain(store, "The record of the store %s cannot be used any more: %s", store->path,
                        message ? message : strerror(-r));
                return r == -ENOMEM ? r : -ENODEV;
        }
        if (!sd_id128_equal(record.uuid, store->uuid)) {
                complain(store,
                        "The record of the store %s is another store's: was it overwritten? Restore "
                        "its " STORE_RECORD_NAME ", or restart this proxy",
                        store->path);
                return -ENODEV;
        }

        /* Another proxy may have raised it. */
        store_file_epoch_is(store, record.error_epoch);
        if (store->lost)
                store->how.complain(NULL, "The store is back where it was opened: images can be attached again");
        store->lost = false;
        return 0;
}

static void run(struct job *job) {
        (void) store_file_check(CONTAINER_OF(job, struct file_store, check_job));
}

static void due(struct ring_timer *timer) {
        struct file_store *store = CONTAINER_OF(timer, struct file_store, check_timer);

        jobs_submit_reserved(store->how.jobs, &store->check_job);
}

static void done(struct job *job) {
        struct file_store *store = CONTAINER_OF(job, struct file_store, check_job);

        ring_timer_set(&store->check_timer, CHECK_USEC);
}

void store_file_check_start(struct file_store *store) {
        store->check_job = (struct job){ .run = run, .done = done };
        ring_timer_init(&store->check_timer, store->how.ring, due);
        ring_timer_set(&store->check_timer, CHECK_USEC);
}
