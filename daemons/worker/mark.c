/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file appears whole, by rename, and is then overwritten in place with one small write: the mark is set in the path of I/O, before the first write after a flush, where there is
 * no time for more. It lies in memory (/run) and has to outlive this process, not the machine, so nothing is synchronised. The checksum is against what is torn or foreign, not
 * against an enemy: who can write here is us.
 *
 * Layout: 0 magic[8], 8 flags u32 (bit 0: dirty), 12 reserved u32, 16 identity[48], 64 checksum u64 (FNV-1a of what stands before it). */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bytes.h"
#include "fault-point.h"
#include "mark.h"

#define MARK_FILE       "durability"
#define MARK_FILE_TMP   "durability.new"
#define MARK_DIRTY      (UINT32_C(1) << 0)
#define CHECKED_SIZE    (16U + IVBS_IDENTITY_SIZE)
#define MARK_SIZE       (CHECKED_SIZE + 8U)
#define FNV_OFFSET_BASE UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME       UINT64_C(0x100000001b3)

static const uint8_t magic[8] = { 'B', 'S', 'd', 'u', 'r', 'a', 'b', '1' };

struct mark {
        int directory_fd; /* negative: nothing is kept */
        int fd;           /* negative: there is no file yet */
};

static uint64_t checksum(const uint8_t *data) {
        uint64_t sum = FNV_OFFSET_BASE;

        for (size_t i = 0; i < CHECKED_SIZE; i++)
                sum = (sum ^ data[i]) * FNV_PRIME;
        return sum;
}

static void encode(const struct ivbs_identity *identity, bool dirty, uint8_t ret[static MARK_SIZE]) {
        memcpy(ret, magic, sizeof(magic));
        put_be32(ret + 8, dirty ? MARK_DIRTY : 0);
        put_be32(ret + 12, 0);
        ivbs_identity_encode(identity, ret + 16);
        put_be64(ret + CHECKED_SIZE, checksum(ret));
}

static int decode(const uint8_t *data, size_t n, struct ivbs_identity *ret_identity, bool *ret_dirty) {
        int r;

        if (n != MARK_SIZE || memcmp(data, magic, sizeof(magic)) != 0 ||
                get_be64(data + CHECKED_SIZE) != checksum(data) || (get_be32(data + 8) & ~MARK_DIRTY) != 0 ||
                get_be32(data + 12) != 0)
                return -EBADMSG;
        r = ivbs_identity_decode(data + 16, IVBS_IDENTITY_SIZE, ret_identity);
        if (r < 0)
                return r;

        *ret_dirty = (get_be32(data + 8) & MARK_DIRTY) != 0;
        return 0;
}

struct mark *mark_close(struct mark *mark) {
        if (!mark)
                return NULL;

        safe_close(mark->fd);
        safe_close(mark->directory_fd);
        free(mark);
        return NULL;
}

int mark_open(struct mark **ret, const char *directory, bool *ret_found, struct ivbs_identity *ret_identity,
        bool *ret_dirty) {
        _cleanup_(mark_closep) struct mark *mark = NULL;
        struct ivbs_identity identity = {};
        uint8_t data[MARK_SIZE + 1]; /* one more: a longer file is none of ours */
        bool dirty = false;
        struct stat st;
        ssize_t n;

        mark = malloc(sizeof(*mark));
        if (!mark)
                return -ENOMEM;
        mark->fd = mark->directory_fd = -EBADF;

        if (directory) {
                mark->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (mark->directory_fd < 0)
                        return -errno;
                mark->fd =
                        openat(mark->directory_fd, MARK_FILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
                if (mark->fd < 0 && errno != ENOENT)
                        return -errno;
        }

        if (mark->fd >= 0 && !rule_is_off("dirty-mark")) {
                if (fstat(mark->fd, &st) < 0)
                        return -errno;
                if (!S_ISREG(st.st_mode))
                        return -EINVAL;

                n = pread(mark->fd, data, sizeof(data), 0);
                if (n < 0 || decode(data, (size_t) n, &identity, &dirty) < 0) {
                        identity = (struct ivbs_identity){};
                        dirty = true;
                        mark->fd = safe_close(mark->fd); /* the next mark replaces it */
                }
                *ret_found = true;
        } else
                *ret_found = false;

        *ret_identity = identity;
        *ret_dirty = dirty;
        *ret = TAKE_PTR(mark);
        return 0;
}

static int write_at_once(int fd, const uint8_t data[static MARK_SIZE]) {
        ssize_t n;

        n = pwrite(fd, data, MARK_SIZE, 0);
        if (n < 0)
                return -errno;
        return n == MARK_SIZE ? 0 : -EIO;
}

static int create(struct mark *mark, const uint8_t data[static MARK_SIZE]) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        if (unlinkat(mark->directory_fd, MARK_FILE_TMP, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(mark->directory_fd, MARK_FILE_TMP, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_at_once(fd, data);
        if (r < 0) {
                (void) unlinkat(mark->directory_fd, MARK_FILE_TMP, 0);
                return r;
        }
        if (renameat(mark->directory_fd, MARK_FILE_TMP, mark->directory_fd, MARK_FILE) < 0)
                return -errno;

        mark->fd = TAKE_FD(fd);
        return 0;
}

int mark_set(struct mark *mark, const struct ivbs_identity *identity, bool dirty) {
        uint8_t data[MARK_SIZE];

        if (mark->directory_fd < 0)
                return 0;

        encode(identity, dirty, data);
        return mark->fd < 0 ? create(mark, data) : write_at_once(mark->fd, data);
}

int mark_remove(const char *directory) {
        _cleanup_close_ int fd = -EBADF;

        if (!directory)
                return 0;

        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        (void) unlinkat(fd, MARK_FILE_TMP, 0);
        return unlinkat(fd, MARK_FILE, 0) < 0 && errno != ENOENT ? -errno : 0;
}
