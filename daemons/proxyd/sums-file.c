/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whole files of checksums: a new one, and those of snapshots, clones and what is rolled back. A copy takes the sums of its source as they are and does not compute them anew from what was copied, so a block that has been
 * damaged is found in the copy as well. Only what is dirty, where nobody knows, gets the sums of what is there; and so does everything, when the source has no checksums. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "sums-internal.h"

#define TORN_TRIES 16U /* somebody may be writing the leaf, for blocks that are not copied here */

int sums_file_make(int fd) {
        uint8_t header[SUM_HEADER_SIZE] = {};

        memcpy(header, SUM_MAGIC, sizeof(SUM_MAGIC) - 1);
        return sums_pwrite_full(fd, header, sizeof(header), 0);
}

/* The first byte from offset on that is no hole. Returns 0, or -ENXIO when there is none. */
static int find_data(int fd, uint64_t offset, uint64_t *ret) {
        off_t found = lseek(fd, (off_t) offset, SEEK_DATA);

        if (found < 0 && errno == ENXIO)
                return -ENXIO;
        /* Not every file system tells. */
        *ret = found < 0 ? offset : (uint64_t) found;
        return 0;
}

/* The same for leaves. */
static int find_leaf(int fd, uint64_t number, uint64_t *ret) {
        off_t end = lseek(fd, 0, SEEK_END);
        uint64_t offset = 0;
        int r;

        if (end < 0)
                return -errno;
        if (sum_leaf_offset(number) >= (uint64_t) end)
                return -ENXIO;
        r = find_data(fd, sum_leaf_offset(number), &offset);
        if (r >= 0)
                *ret = (offset - SUM_HEADER_SIZE) / SUM_LEAF_SIZE;
        return r;
}

static int copy_leaf(int source_fd, int target_fd, uint64_t number, unsigned first, unsigned last) {
        struct sum_leaf from = {}, to = {};
        int r = -EUCLEAN;

        for (unsigned i = 0; r == -EUCLEAN && i < TORN_TRIES; i++)
                r = sums_leaf_load(source_fd, number, &from);
        if (r == -EUCLEAN)
                from = (struct sum_leaf){ .dirty = SUM_ALL_GROUPS };
        else if (r < 0)
                return r;
        r = sums_leaf_load(target_fd, number, &to);
        if (r < 0)
                return r;

        memcpy(to.sums + first, from.sums + first, (last - first + 1) * sizeof(to.sums[0]));
        to.dirty |= from.dirty & sum_groups(first, last);
        return sums_leaf_store(target_fd, number, &to);
}

int sums_file_copy(int source_fd, int target_fd, uint64_t offset, uint64_t end) {
        uint64_t first = offset / SUM_BLOCK_SIZE, last, number;
        int r;

        if (end <= offset)
                return 0;
        last = (end - 1) / SUM_BLOCK_SIZE;
        for (number = first / SUM_LEAF_BLOCKS; number <= last / SUM_LEAF_BLOCKS; number++) {
                uint64_t start;

                r = find_leaf(source_fd, number, &number);
                if (r == -ENXIO || (r >= 0 && number > last / SUM_LEAF_BLOCKS))
                        return 0;
                if (r < 0)
                        return r;
                start = number * SUM_LEAF_BLOCKS;
                r = copy_leaf(source_fd, target_fd, number, first > start ? (unsigned) (first - start) : 0,
                        last - start < SUM_LEAF_BLOCKS ? (unsigned) (last - start) : SUM_LEAF_BLOCKS - 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int settle_dirty(int data_fd, int fd) {
        struct sum_leaf leaf;
        unsigned n;
        int r;

        for (uint64_t number = 0;; number++) {
                r = find_leaf(fd, number, &number);
                if (r < 0)
                        return r == -ENXIO ? 0 : r;
                r = sums_leaf_load(fd, number, &leaf);
                if (r == -EUCLEAN)
                        leaf = (struct sum_leaf){ .dirty = SUM_ALL_GROUPS };
                else if (r < 0)
                        return r;
                if (leaf.dirty == 0)
                        continue;
                r = sums_leaf_renew(data_fd, number, &leaf, leaf.dirty, &n);
                leaf.dirty = 0;
                if (r >= 0)
                        r = sums_leaf_store(fd, number, &leaf);
                if (r < 0)
                        return r;
        }
}

static int settle_everything(int data_fd, int fd) {
        const uint64_t covered = (uint64_t) SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE;
        uint64_t offset = 0;
        unsigned n;
        int r;

        for (uint64_t number = 0;; number++) {
                struct sum_leaf leaf = {};

                r = find_data(data_fd, number * covered, &offset);
                if (r < 0)
                        return r == -ENXIO ? 0 : r;
                if (offset >= (uint64_t) lseek(data_fd, 0, SEEK_END))
                        return 0;
                number = offset / covered;
                r = sums_leaf_renew(data_fd, number, &leaf, SUM_ALL_GROUPS, &n);
                if (r >= 0 && n > 0)
                        r = sums_leaf_store(fd, number, &leaf);
                if (r < 0)
                        return r;
        }
}

int sums_file_settle(int data_fd, int fd, bool everything) {
        int r;

        r = everything ? settle_everything(data_fd, fd) : settle_dirty(data_fd, fd);
        return r < 0 ? r : sums_fdatasync(fd);
}
