/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making snapshots and clones, and rolling back: all three are another set of bytes, made under a hidden name and put into its place in one step.
 *
 *                  from                       to, hidden                        committed by
 *     snapshot     NAME/data                  NAME/snapshots/.new-*             its own name
 *     clone        NAME/snapshots/SNAP/data   .new-* beside the images          its own name
 *     roll back    NAME/snapshots/SNAP/data   NAME/.roll-back-*, a file         an intent, see store-file-intent.c
 *
 * Where the file system can share storage, that is one call. Elsewhere the data is copied, holes left out, and whoever calls does it piece by piece. What is under way is locked, so that another
 * proxy's sweep leaves it alone; the snapshot that is read is marked as open, so that nobody removes it. */

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "fault-point.h"
#include "store-file.h"
#include "sums.h"

#define BUFFER_SIZE 65536U

struct file_copy {
        struct store_copy copy;
        enum store_copy_kind kind;
        char *name, *snapshot, *new_name;
        int image_fd;                       /* the directory of the image that it is about */
        int source_fd;                      /* data */
        int parent_fd;                      /* where the hidden name is */
        int directory_fd;                   /* what has it, unless it is a file */
        int target_fd;                      /* data */
        int source_sums_fd, target_sums_fd; /* -EBADF: has none */
        char hidden[HIDDEN_NAME_SIZE];
        uint64_t created_usec;
        bool by_hand; /* copy_file_range() does not work here */
        bool made, committed;
};

static struct file_copy *FILE_COPY(struct store_copy *copy) {
        return (struct file_copy *) copy;
}

struct store_copy *store_file_copy_free(struct store_copy *c) {
        struct file_copy *copy = FILE_COPY(c);

        if (!copy)
                return NULL;

        /* Unlocked last: until then no sweep touches it. */
        if (copy->made && !copy->committed) {
                if (copy->kind == STORE_COPY_ROLL_BACK) {
                        char sums[HIDDEN_NAME_SIZE];

                        store_file_sums_name(copy->hidden, sums);
                        (void) unlinkat(copy->parent_fd, sums, 0);
                        (void) unlinkat(copy->parent_fd, copy->hidden, 0);
                } else
                        (void) store_file_delete_tree(copy->parent_fd, copy->hidden);
        }
        safe_close(copy->target_sums_fd);
        safe_close(copy->source_sums_fd);
        safe_close(copy->target_fd);
        safe_close(copy->directory_fd);
        safe_close(copy->parent_fd);
        safe_close(copy->source_fd);
        safe_close(copy->image_fd);
        free(copy->new_name);
        free(copy->snapshot);
        free(copy->name);
        free(copy);
        return NULL;
}
DEFINE_CLEANUP(struct store_copy *, store_file_copy_free);

static uint64_t realtime_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

static bool exists(int directory_fd, const char *name) {
        struct stat st;

        return fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0;
}

/* --- the beginning --- */

/* Loads the record in directory_fd, which is locked, and opens the data beside it. */
static int open_source(struct file_copy *copy, int directory_fd, struct image_record *ret) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = image_record_load(directory_fd, copy->name, ret, &message);
        if (message)
                FILE_STORE(copy->copy.store)->how.complain(copy->name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;

        copy->copy.size = ret->size;
        copy->source_fd = openat(directory_fd, "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (copy->source_fd < 0)
                return -errno;
        if (ret->checksums) {
                copy->source_sums_fd = openat(directory_fd, SUMS_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                if (copy->source_sums_fd < 0)
                        return errno == ENOENT ? -EUCLEAN : -errno;
        }
        return 0;
}

/* Beside the data that are made; locked as they are. */
static int make_sums(struct file_copy *copy, int directory_fd, const char *name) {
        copy->target_sums_fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (copy->target_sums_fd < 0 || flock(copy->target_sums_fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        store_file_stepped("checksums made");
        return sums_file_make(copy->target_sums_fd);
}

static int open_snapshot_as_source(struct file_copy *copy) {
        _cleanup_close_ int fd = -EBADF;
        struct image_record record;
        int r;

        fd = store_file_open_snapshot(copy->image_fd, copy->snapshot);
        if (fd < 0)
                return fd;
        r = open_source(copy, fd, &record);
        return r < 0 ? r : store_file_mark_open(copy->source_fd);
}

/* Under the lock of parent_fd. */
static int make_directory(struct file_copy *copy) {
        int r;

        r = store_file_hidden_name("new", copy->hidden);
        if (r < 0)
                return r;
        if (mkdirat(copy->parent_fd, copy->hidden, 0700) < 0)
                return -errno;
        copy->made = true;
        copy->directory_fd = openat(copy->parent_fd, copy->hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (copy->directory_fd < 0 || flock(copy->directory_fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        store_file_stepped("directory made");

        copy->target_fd = openat(copy->directory_fd, "data", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (copy->target_fd < 0)
                return -errno;
        return copy->source_sums_fd >= 0 ? make_sums(copy, copy->directory_fd, SUMS_NAME) : 0;
}

static int begin_snapshot(struct file_copy *copy, const struct image_record *record) {
        if (mkdirat(copy->image_fd, SNAPSHOTS_NAME, 0700) < 0 && errno != EEXIST)
                return -errno;
        store_file_stepped("snapshots made");
        copy->parent_fd = openat(copy->image_fd, SNAPSHOTS_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (copy->parent_fd < 0 || fsync(copy->image_fd) < 0)
                return -errno;
        if (exists(copy->parent_fd, copy->snapshot))
                return -EEXIST;
        return make_directory(copy);
}

static int begin_clone(struct file_copy *copy) {
        struct file_store *store = FILE_STORE(copy->copy.store);
        _cleanup_close_ int lock_fd = -EBADF;
        int r;

        r = store_file_lock_images(store, &lock_fd);
        if (r < 0)
                return r;
        copy->parent_fd = openat(lock_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy->parent_fd < 0)
                return -errno;
        if (exists(copy->parent_fd, copy->new_name))
                return -EEXIST;
        return make_directory(copy);
}

/* Whether nobody has the image, in its locked directory. */
static int check_idle(int directory_fd, const struct image_record *record) {
        int r;

        if (record->lease.live)
                return -EBUSY;
        r = store_file_is_open(directory_fd);
        return r > 0 ? -EBUSY : r;
}

static int begin_roll_back(struct file_copy *copy, const struct image_record *record) {
        char sums[HIDDEN_NAME_SIZE];
        int r;

        r = store_file_hidden_name(HIDDEN_ROLL_BACK, copy->hidden);
        if (r < 0)
                return r;
        copy->parent_fd = openat(copy->image_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy->parent_fd < 0)
                return -errno;
        copy->target_fd =
                openat(copy->parent_fd, copy->hidden, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (copy->target_fd < 0)
                return -errno;
        copy->made = true;
        if (flock(copy->target_fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        store_file_sums_name(copy->hidden, sums);
        /* The image has them, or not, as before. */
        return record->checksums ? make_sums(copy, copy->parent_fd, sums) : 0;
}

static int begin(struct file_copy *copy, sd_id128_t uuid) {
        struct file_store *store = FILE_STORE(copy->copy.store);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int lock_fd = -EBADF;
        struct image_record record;
        int r;

        r = store_file_open_and_lock_image(store, copy->name, LOCK_EX, &lock_fd);
        if (r < 0)
                return r;
        copy->image_fd = openat(lock_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy->image_fd < 0)
                return -errno;

        if (copy->kind == STORE_COPY_SNAPSHOT)
                r = open_source(copy, lock_fd, &record);
        else
                r = image_record_load(lock_fd, copy->name, &record, &message);
        if (message)
                store->how.complain(copy->name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;
        if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, record.uuid))
                return -ENOENT;
        if (copy->kind == STORE_COPY_SNAPSHOT)
                return begin_snapshot(copy, &record);

        r = copy->kind == STORE_COPY_ROLL_BACK ? check_idle(lock_fd, &record) : 0;
        if (r >= 0)
                r = open_snapshot_as_source(copy);
        if (r < 0)
                return r;
        if (copy->kind == STORE_COPY_ROLL_BACK)
                return begin_roll_back(copy, &record);

        /* The lock of an image is never waited for the other way round. */
        lock_fd = safe_close(lock_fd);
        return begin_clone(copy);
}

static int copy_string(const char *text, char **ret) {
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

int store_file_copy_begin(struct store *s, const struct store_copy_how *how, struct store_copy **ret) {
        _cleanup_(store_file_copy_freep) struct store_copy *owned = NULL;
        struct file_copy *copy;
        int r;

        copy = malloc(sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        *copy = (struct file_copy){
                .copy.store = s,
                .kind = how->kind,
                .image_fd = -EBADF,
                .source_fd = -EBADF,
                .parent_fd = -EBADF,
                .directory_fd = -EBADF,
                .target_fd = -EBADF,
                .source_sums_fd = -EBADF,
                .target_sums_fd = -EBADF,
        };
        owned = &copy->copy;

        r = copy_string(how->name, &copy->name);
        if (r >= 0)
                r = copy_string(how->snapshot, &copy->snapshot);
        if (r >= 0)
                r = copy_string(how->new_name, &copy->new_name);
        if (r >= 0)
                r = begin(copy, how->uuid);
        if (r < 0)
                return r;
        store_file_stepped("data made");
        if (ftruncate(copy->target_fd, (off_t) copy->copy.size) < 0)
                return errno == EINVAL ? -EFBIG : -errno;

        copy->created_usec = realtime_usec();
        fault_point("life-begun");
        *ret = TAKE_PTR(owned);
        return 0;
}

/* --- the bytes --- */

static bool has_sums_to_copy(const struct file_copy *copy) {
        return copy->source_sums_fd >= 0 && copy->target_sums_fd >= 0;
}

int store_file_copy_prepare(struct store_copy *c) {
        struct file_copy *copy = FILE_COPY(c);

        /* Sharing begins with writing out what is dirty, and holds up whoever writes meanwhile. */
        return copy->kind == STORE_COPY_SNAPSHOT && fdatasync(copy->source_fd) < 0 ? -errno : 0;
}

int store_file_copy_whole(struct store_copy *c) {
        struct file_copy *copy = FILE_COPY(c);

        copy->created_usec = realtime_usec();
        if (ioctl(copy->target_fd, FICLONE, copy->source_fd) < 0) {
                if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL || errno == EXDEV || errno == ENOSYS)
                        return STORE_COPY_BY_PIECES;
                return -errno;
        }
        if (has_sums_to_copy(copy) && ioctl(copy->target_sums_fd, FICLONE, copy->source_sums_fd) < 0)
                return -errno;
        return ftruncate(copy->target_fd, (off_t) copy->copy.size) < 0 ? -errno : 0;
}

static int copy_by_hand(struct file_copy *copy, uint64_t offset, uint64_t length) {
        _cleanup_free_ uint8_t *buffer = malloc(BUFFER_SIZE);

        if (!buffer)
                return -ENOMEM;
        while (length > 0) {
                size_t wanted = length < BUFFER_SIZE ? (size_t) length : BUFFER_SIZE;
                ssize_t n = pread(copy->source_fd, buffer, wanted, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                for (ssize_t done = 0, k; done < n; done += k) {
                        k = pwrite(copy->target_fd, buffer + done, (size_t) (n - done), (off_t) offset + done);
                        if (k < 0 && errno == EINTR)
                                k = 0;
                        if (k < 0)
                                return -errno;
                }
                offset += (uint64_t) n;
                length -= (uint64_t) n;
        }
        return 0;
}

static int copy_range(struct file_copy *copy, uint64_t offset, uint64_t length) {
        while (length > 0 && !copy->by_hand) {
                off_t from = (off_t) offset, to = (off_t) offset;
                ssize_t n = copy_file_range(copy->source_fd, &from, copy->target_fd, &to, (size_t) length, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && (errno == EOPNOTSUPP || errno == EXDEV || errno == ENOSYS || errno == EINVAL)) {
                        copy->by_hand = true;
                        break;
                }
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                offset += (uint64_t) n;
                length -= (uint64_t) n;
        }
        return copy_by_hand(copy, offset, length);
}

/* The data at or behind offset, up to end. Returns 0, or -ENXIO when there is none up to the file's end. */
static int find_data(int fd, uint64_t offset, uint64_t end, uint64_t *ret_start, uint64_t *ret_end) {
        off_t start, stop;

        start = lseek(fd, (off_t) offset, SEEK_DATA);
        if (start < 0 && errno == EINVAL) { /* not every file system tells */
                *ret_start = offset;
                *ret_end = end;
                return 0;
        }
        if (start < 0)
                return -errno;
        stop = lseek(fd, start, SEEK_HOLE);
        if (stop < 0)
                return -errno;
        *ret_start = (uint64_t) start;
        *ret_end = (uint64_t) stop;
        return 0;
}

static int copy_data(struct store_copy *c, uint64_t offset, uint64_t length, uint64_t *ret_next) {
        struct file_copy *copy = FILE_COPY(c);
        uint64_t end = length < c->size - offset ? offset + length : c->size, start = 0, stop = 0;
        int r;

        for (;;) {
                if (offset >= c->size) {
                        *ret_next = c->size;
                        return 0;
                }
                r = find_data(copy->source_fd, offset, end, &start, &stop);
                if (r == -ENXIO || (r >= 0 && start >= c->size)) {
                        *ret_next = c->size;
                        return 0;
                }
                if (r < 0)
                        return r;
                if (start >= end) {
                        *ret_next = start;
                        return 0;
                }
                if (stop > end)
                        stop = end;
                r = copy_range(copy, start, stop - start);
                if (r < 0)
                        return r == -EDQUOT ? -ENOSPC : r;
                store_file_stepped("piece copied");
                offset = stop;
        }
}

int store_file_copy_piece(struct store_copy *c, uint64_t offset, uint64_t length, uint64_t *ret_next) {
        struct file_copy *copy = FILE_COPY(c);
        uint64_t next = 0;
        int r;

        r = copy_data(c, offset, length, &next);
        /* Where nothing is but a hole, too: checksums of something would be damage, and stay so. */
        if (r >= 0 && has_sums_to_copy(copy))
                r = sums_file_copy(copy->source_sums_fd, copy->target_sums_fd, offset, next);
        if (r >= 0)
                *ret_next = next;
        return r == -EDQUOT ? -ENOSPC : r;
}

int store_file_copy_sync(struct store_copy *c) {
        struct file_copy *copy = FILE_COPY(c);
        int r;

        if (fsync(copy->target_fd) < 0)
                return -errno;
        if (copy->target_sums_fd >= 0) {
                r = sums_file_settle(copy->target_fd, copy->target_sums_fd, copy->source_sums_fd < 0);
                if (r < 0)
                        return r;
                store_file_stepped("checksums synced");
        }
        store_file_stepped("copy synced");
        fault_point("life-synced");
        return 0;
}

/* --- the end --- */

static int commit_name(struct file_copy *copy, const char *name) {
        if (renameat2(copy->parent_fd, copy->hidden, copy->parent_fd, name, RENAME_NOREPLACE) < 0)
                return -errno;
        copy->committed = true;
        store_file_stepped("named");
        return fsync(copy->parent_fd) < 0 ? -errno : 0;
}

static int commit_snapshot(struct file_copy *copy, const struct image_record *record) {
        _cleanup_close_ int lock_fd = -EBADF;
        int r;

        r = store_file_open_and_lock_image(FILE_STORE(copy->copy.store), copy->name, LOCK_EX, &lock_fd);
        if (r >= 0)
                r = image_record_save(copy->directory_fd, record);
        return r < 0 ? r : commit_name(copy, copy->snapshot);
}

static int commit_clone(struct file_copy *copy, const struct image_record *record) {
        _cleanup_close_ int lock_fd = -EBADF;
        int r;

        r = store_file_lock_images(FILE_STORE(copy->copy.store), &lock_fd);
        if (r >= 0)
                r = store_file_write_new_record(copy->directory_fd, record);
        return r < 0 ? r : commit_name(copy, copy->new_name);
}

static int commit_roll_back(struct file_copy *copy, sd_id128_t *ret_uuid) {
        struct file_store *store = FILE_STORE(copy->copy.store);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int lock_fd = -EBADF;
        struct image_record record;
        struct stat named, begun;
        int r;

        r = store_file_open_and_lock_image(store, copy->name, LOCK_EX, &lock_fd);
        if (r < 0)
                return r == -ENOENT ? -ESTALE : r;
        if (fstat(lock_fd, &named) < 0 || fstat(copy->image_fd, &begun) < 0)
                return -errno;
        if (named.st_dev != begun.st_dev || named.st_ino != begun.st_ino)
                return -ESTALE;

        r = image_record_load(lock_fd, copy->name, &record, &message);
        if (message)
                store->how.complain(copy->name, message);
        if (r < 0)
                return r == -ENOENT ? -EUCLEAN : r;
        r = check_idle(lock_fd, &record);
        if (r < 0)
                return r;

        /* Once it is written down it is going to be done, if not here. */
        r = store_file_roll_back_now(store, lock_fd, copy->name, copy->hidden, copy->copy.size);
        copy->committed = faccessat(lock_fd, INTENT_NAME, F_OK, AT_SYMLINK_NOFOLLOW) >= 0 || r >= 0;
        *ret_uuid = record.uuid;
        return r;
}

int store_file_copy_commit(struct store_copy *c, sd_id128_t *ret_uuid) {
        struct file_copy *copy = FILE_COPY(c);
        struct image_record record = {
                .size = c->size, .created_usec = copy->created_usec, .checksums = copy->target_sums_fd >= 0
        };
        int r;

        r = sd_id128_randomize(&record.uuid);
        if (r < 0)
                return r;
        *ret_uuid = record.uuid;

        switch (copy->kind) {
        case STORE_COPY_SNAPSHOT:
                r = commit_snapshot(copy, &record);
                break;
        case STORE_COPY_CLONE:
                r = commit_clone(copy, &record);
                break;
        case STORE_COPY_ROLL_BACK:
                r = commit_roll_back(copy, ret_uuid);
                break;
        case STORE_COPY_NEW:
        case _STORE_COPY_KIND_MAX:
        default:
                abort();
        }
        if (r >= 0)
                fault_point("life-committed");
        return r;
}
