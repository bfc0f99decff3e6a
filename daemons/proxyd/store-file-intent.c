/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rolling back changes two things, the data and the size in the record, and no file system does that in one step. So what is going to be done is written down first: from the moment that
 * the intent is on disk, the image is what it is going to be, and whoever locks its directory next, in whatever process, finishes the work before it looks at anything. Each step may be done
 * twice. Before that moment nothing has happened: what was prepared has a hidden name and is swept. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "fault-point.h"
#include "store-file.h"

static int finish(struct file_store *store, int directory_fd, const char *name, const struct image_intent *intent) {
        _cleanup_free_ char *message = NULL;
        char sums[HIDDEN_NAME_SIZE];
        struct image_record record;
        int r;

        store_file_sums_name(intent->data, sums);
        /* The checksums first: whoever finds the data without them would take the image's for theirs. Not there: there are none, or that step was done. */
        if (renameat(directory_fd, sums, directory_fd, SUMS_NAME) < 0 && errno != ENOENT)
                return -errno;
        store_file_stepped("checksums replaced");
        /* Not there: that step was done. */
        if (renameat(directory_fd, intent->data, directory_fd, "data") < 0 && errno != ENOENT)
                return -errno;
        store_file_stepped("data replaced");
        if (fsync(directory_fd) < 0)
                return -errno;
        fault_point("life-replaced");

        r = image_record_load(directory_fd, name, &record, &message);
        if (message)
                store->how.complain(name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;
        /* Done once, however often it is tried. */
        if (record.size != intent->size) {
                record.size = intent->size;
                record.size_epoch++;
                r = image_record_save(directory_fd, &record);
                if (r < 0)
                        return r;
        }

        if (unlinkat(directory_fd, INTENT_NAME, 0) < 0 && errno != ENOENT)
                return -errno;
        store_file_stepped("intent removed");
        return fsync(directory_fd) < 0 ? -errno : 0;
}

int store_file_roll_back_now(
        struct file_store *store, int directory_fd, const char *name, const char *data, uint64_t size) {
        struct image_intent intent = { .size = size };
        int r;

        (void) snprintf(intent.data, sizeof(intent.data), "%s", data);
        r = image_intent_save(directory_fd, &intent);
        if (r < 0)
                return r;
        store_file_stepped("intent written");
        fault_point("life-intended");
        return finish(store, directory_fd, name, &intent);
}

static int recover(struct file_store *store, int directory_fd, const char *name) {
        _cleanup_free_ char *message = NULL;
        struct image_intent intent;
        int r;

        r = image_intent_load(directory_fd, name, &intent, &message);
        if (r == -ENOENT)
                return 0;
        if (message)
                store->how.complain(name, message);
        if (r >= 0)
                r = finish(store, directory_fd, name, &intent);
        if (r >= 0)
                store->how.complain(name, "A roll back that was interrupted is completed");
        return r;
}

static bool has_intent(int directory_fd) {
        return faccessat(directory_fd, INTENT_NAME, F_OK, AT_SYMLINK_NOFOLLOW) >= 0;
}

int store_file_lock_image(struct file_store *store, int fd, int operation, const char *name) {
        int r;

        r = store_file_lock(store, fd, operation, name);
        if (r < 0 || !has_intent(fd))
                return r;

        /* A shared lock cannot become an exclusive one without being given up in between; recover() looks anew. */
        if (operation != LOCK_EX) {
                (void) flock(fd, LOCK_UN);
                r = store_file_lock(store, fd, LOCK_EX, name);
        }
        return r < 0 ? r : recover(store, fd, name);
}

int store_file_open_and_lock_image(struct file_store *store, const char *name, int operation, int *ret_fd) {
        /* It may be renamed while its lock is waited for, and the name be another's by then. */
        for (unsigned i = 0; i < 8; i++) {
                _cleanup_close_ int fd = -EBADF;
                struct stat named, open;
                int r;

                fd = openat(store->images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        return -errno;
                r = store_file_lock_image(store, fd, operation, name);
                if (r < 0)
                        return r;
                if (fstat(fd, &open) < 0)
                        return -errno;
                if (fstatat(store->images_fd, name, &named, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (named.st_ino == open.st_ino && named.st_dev == open.st_dev) {
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
        }
        return -ESTALE;
}
