/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One process at a time changes an image. The proof is an OFD lock on the very file description that is written to: the kernel lets go of it only when
 * nothing uses the description any more, neither an operation of io_uring's nor a thread in a system call, so a process that was killed keeps the lock until the last of its writes is over. That is why this description is
 * never duplicated and never inherited, and why no other kind of lock would do: a POSIX lock ends with the process' descriptors, before its writes.
 *
 * Beside the lock stands who has it, written under the lock of the image's directory: whoever finds the image taken, under that same lock, reads the name of the
 * process that has it, and not of one before it.
 *
 * The lock is on an inode and the image is a name. So after locking it is checked again that the one still leads to the other, from the store's path
 * downwards: a store that was renamed or whose file system was unmounted beneath us is one that other processes do not find. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "fault-point.h"
#include "store-file.h"

static bool is_same_file(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether the name still leads to the directory and to the file that are open. */
int store_file_check_current(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);
        struct stat named, open;

        if (fstatat(store->images_fd, image->path, &named, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? -ESTALE : -errno;
        if (fstat(image->directory_fd, &open) < 0)
                return -errno;
        if (!is_same_file(&named, &open))
                return -ESTALE;

        if (fstatat(image->directory_fd, "data", &named, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? -ESTALE : -errno;
        if (fstat(image->data_fd, &open) < 0)
                return -errno;
        return is_same_file(&named, &open) ? 0 : -ESTALE;
}

static int lock_data(int fd, short type) {
        struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

        if (rule_is_off("hold"))
                return 0;
        return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Two kinds of lock, for two things: the one above ends with the last write and says who changes the image; this one ends with the last descriptor, is shared, and says only that somebody has it
 * open. They know nothing of each other. */
int store_file_mark_open(int data_fd) {
        return flock(data_fd, LOCK_SH | LOCK_NB) < 0 ? -errno : 0;
}

int store_file_is_open(int directory_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(directory_fd, "data", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        /* Both end with the descriptor; nobody can take them meanwhile without the lock on the directory. */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? 1 : -errno;
        r = lock_data(fd, F_WRLCK);
        return r == -EAGAIN || r == -EACCES ? 1 : r;
}

static int find_holder(struct file_image *image, int directory_fd, struct store_holder *ret) {
        struct file_store *store = FILE_STORE(image->image.store);
        _cleanup_free_ char *message = NULL;
        struct store_holder holder = {};
        int r;

        r = holder_record_load(directory_fd, image->name, &holder, &message);
        /* Once: it is read again and again. */
        if (message && !image->holder_damaged)
                store->how.complain(image->name, message);
        image->holder_damaged = r < 0;
        if (r < 0 && r != -ENOENT && r != -EUCLEAN)
                return r;

        /* Not known: it can only be waited for. */
        if (r < 0)
                holder = (struct store_holder){};
        *ret = holder;
        return STORE_HELD_ELSEWHERE;
}

int store_file_hold(struct store_image *i, const struct store_holder *self, struct store_holder *ret_other) {
        struct file_image *image = FILE_IMAGE(i);
        struct file_store *store = FILE_STORE(i->store);
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (i->read_only)
                return -EROFS;
        /* A descriptor of its own, so that this lock ends with it whatever happens. */
        fd = openat(image->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock_image(store, fd, LOCK_EX, image->name);
        if (r < 0)
                return r;

        r = lock_data(image->data_fd, F_WRLCK);
        if (r == -EAGAIN || r == -EACCES)
                return find_holder(image, fd, ret_other);
        if (r < 0)
                return r;

        fault_point("hold-locked");
        r = store_file_check(store);
        if (r >= 0)
                r = store_file_check_current(image);
        if (r >= 0)
                r = holder_record_save(fd, self);
        if (r < 0)
                (void) lock_data(image->data_fd, F_UNLCK);
        return r;
}

void store_file_let_go(struct store_image *i) {
        if (FILE_IMAGE(i)->sums)
                store_file_sums_let_go(FILE_IMAGE(i)->sums);
        /* Cannot fail: it was locked. */
        (void) lock_data(FILE_IMAGE(i)->data_fd, F_UNLCK);
}

int store_file_look_at_holder(struct store_image *i, struct store_holder *ret) {
        struct file_image *image = FILE_IMAGE(i);
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(image->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock_image(FILE_STORE(i->store), fd, LOCK_SH, image->name);
        if (r < 0)
                return r;
        r = find_holder(image, fd, ret);
        return r < 0 ? r : 0;
}
