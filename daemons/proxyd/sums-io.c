/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The data of an image with checksums. A block is what has a sum, so what begins or ends within one reads the rest of it, and verifies that: a write must not give a new sum to what was damaged before. A
 * write of a whole block needs none of what was there, and so heals it.
 *
 * A read that does not agree is looked at again, as another process may have changed the block between a look at the one and the other: its leaf has another sequence then. */

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault-point.h"
#include "sums-internal.h"

#define READ_TRIES   64U
#define CHUNK_LEAVES 1024U /* 496 MiB that are marked with one sync */
#define ZEROES_SIZE  65536U

static const uint8_t zeroes[ZEROES_SIZE];

static uint64_t min(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* --- reading --- */

/* A part of a leaf's blocks: what was asked for, and where it goes. */
struct part {
        uint64_t number;
        unsigned first, last;
        uint64_t offset, length;
        uint8_t *buffer;
};

static struct part part_at(uint8_t *buffer, uint64_t offset, uint64_t end) {
        uint64_t block = offset / SUM_BLOCK_SIZE, number = block / SUM_LEAF_BLOCKS;
        uint64_t leaf_end = (number + 1) * SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE;
        uint64_t stop = min(end, leaf_end);

        return (struct part){
                .number = number,
                .first = (unsigned) (block % SUM_LEAF_BLOCKS),
                .last = (unsigned) ((stop - 1) / SUM_BLOCK_SIZE % SUM_LEAF_BLOCKS),
                .offset = offset,
                .length = stop - offset,
                .buffer = buffer,
        };
}

/* Of block i of the part: what is asked for of it. */
static void bounds(const struct part *part, unsigned i, uint64_t *ret_start, uint64_t *ret_from, uint64_t *ret_to) {
        uint64_t start = (part->number * SUM_LEAF_BLOCKS + i) * SUM_BLOCK_SIZE, end = part->offset + part->length;

        *ret_start = start;
        *ret_from = start < part->offset ? part->offset : start;
        *ret_to = min(start + SUM_BLOCK_SIZE, end);
}

/* Reads the part. *ret_bad: groups with blocks that do not agree; *ret_first: the first such block. */
static int read_once(struct sums *sums, const struct part *part, const struct sum_leaf *leaf, uint32_t *ret_bad,
        unsigned *ret_first) {
        uint8_t scratch[SUM_BLOCK_SIZE] __attribute__((aligned(4096)));
        uint32_t bad = 0;
        size_t n;
        int r;

        r = sums_pread_full(sums->data_fd, part->buffer, part->length, part->offset, &n);
        if (r < 0)
                return r;
        /* The file is shorter than the image. */
        if (n < part->length)
                return -EIO;

        for (unsigned i = part->first; i <= part->last; i++) {
                uint64_t start, from, to;
                const uint8_t *block;

                bounds(part, i, &start, &from, &to);
                block = part->buffer + (start - part->offset);
                if (to - from < SUM_BLOCK_SIZE) {
                        r = sums_pread_full(sums->data_fd, scratch, sizeof(scratch), start, NULL);
                        if (r < 0)
                                return r;
                        /* What is answered is what was verified. */
                        memcpy(part->buffer + (from - part->offset), scratch + (from - start), to - from);
                        block = scratch;
                }
                if (sum_of_block(block) == leaf->sums[i])
                        continue;
                if (bad == 0)
                        *ret_first = i;
                bad |= sum_groups(i, i);
        }
        *ret_bad = bad;
        return 0;
}

/* Returns 0; 1, when something that does not agree need not; or a negative errno. */
static int read_part(struct sums *sums, const struct part *part, uint64_t *ret_bad) {
        struct sum_leaf before, after;
        uint32_t bad = 0, doubtful;
        unsigned first = 0;
        int r;

        for (unsigned i = 0;; i++) {
                r = sums_look(sums, part->number, &before, &doubtful);
                if (r >= 0)
                        r = read_once(sums, part, &before, &bad, &first);
                if (r < 0 || bad == 0)
                        return r;

                r = sums_look(sums, part->number, &after, &doubtful);
                if (r < 0)
                        return r;
                if (after.sequence == before.sequence || i >= READ_TRIES)
                        break;
        }

        if ((bad & ~doubtful) == 0)
                return 1;
        while (!(sum_groups(first, first) & bad & ~doubtful))
                first += SUM_GROUP_BLOCKS - first % SUM_GROUP_BLOCKS;
        *ret_bad = (part->number * SUM_LEAF_BLOCKS + first) * SUM_BLOCK_SIZE;
        return -EBADMSG;
}

int sums_read(struct sums *sums, void *buffer, uint64_t offset, uint64_t length, uint64_t *ret_bad) {
        uint8_t *to = buffer;
        int r;

        for (uint64_t end = offset + length; offset < end;) {
                struct part part = part_at(to, offset, end);

                r = read_part(sums, &part, ret_bad);
                if (r < 0)
                        return r;
                offset += part.length;
                to += part.length;
        }
        return 0;
}

/* A whole block, also where the data end within it. */
static int read_block(struct sums *sums, uint64_t block, uint8_t ret[static SUM_BLOCK_SIZE], uint64_t *ret_bad) {
        uint64_t start = block * SUM_BLOCK_SIZE, length;
        struct stat st;

        if (fstat(sums->data_fd, &st) < 0)
                return -errno;
        memset(ret, 0, SUM_BLOCK_SIZE);
        if (start >= (uint64_t) st.st_size)
                return 0;
        length = min(SUM_BLOCK_SIZE, (uint64_t) st.st_size - start);
        return sums_read(sums, ret, start, length, ret_bad);
}

/* --- changing --- */

/* Changes of the leaves that the blocks lie in. Returns how many leaves, or a negative errno with nothing begun. */
static int begin_all(struct sums *sums, uint64_t first, uint64_t last, struct sums_change *changes) {
        bool sync = false;
        int n = 0, r = 0;

        for (uint64_t block = first; block <= last && r >= 0;) {
                uint64_t number = block / SUM_LEAF_BLOCKS, stop = min(last, (number + 1) * SUM_LEAF_BLOCKS - 1);

                changes[n] = (struct sums_change){
                        .number = number,
                        .first = (unsigned) (block % SUM_LEAF_BLOCKS),
                        .last = (unsigned) (stop % SUM_LEAF_BLOCKS),
                };
                r = sums_begin(sums, changes + n);
                if (r < 0)
                        break;
                sync = sync || changes[n].sync;
                block = stop + 1;
                n++;
        }
        if (r >= 0 && sync) {
                r = sums_sync_file(sums);
                if (r >= 0)
                        fault_point("sums-marked");
        }
        for (int i = 0; i < n; i++)
                if (r >= 0)
                        sums_marked(sums, changes + i);
                else
                        (void) sums_end(sums, changes + i, SUMS_END_KEEP, NULL);
        return r < 0 ? r : n;
}

static int end_all(
        struct sums *sums, const struct sums_change *changes, int n, enum sums_end how, const uint32_t *values) {
        int result = 0;

        for (int i = 0; i < n; i++) {
                int r = sums_end(sums, changes + i, how, values);

                if (r < 0 && result >= 0)
                        result = r;
                if (values)
                        values += changes[i].last - changes[i].first + 1;
        }
        return result;
}

static size_t count_leaves(uint64_t first, uint64_t last) {
        return (size_t) (last / SUM_LEAF_BLOCKS - first / SUM_LEAF_BLOCKS + 1);
}

/* The sums of the blocks, as they are going to be. */
static int compute(struct sums *sums, const uint8_t *data, uint64_t offset, uint64_t length, uint32_t *values,
        uint64_t *ret_bad) {
        uint64_t end = offset + length, last = (end - 1) / SUM_BLOCK_SIZE;
        uint8_t scratch[SUM_BLOCK_SIZE];
        int r;

        for (uint64_t block = offset / SUM_BLOCK_SIZE; block <= last; block++) {
                uint64_t start = block * SUM_BLOCK_SIZE, from = start < offset ? offset : start;
                uint64_t to = min(start + SUM_BLOCK_SIZE, end);

                if (to - from == SUM_BLOCK_SIZE) {
                        *values++ = sum_of_block(data + (start - offset));
                        continue;
                }
                r = read_block(sums, block, scratch, ret_bad);
                if (r < 0)
                        return r;
                memcpy(scratch + (from - start), data + (from - offset), to - from);
                *values++ = sum_of_block(scratch);
        }
        return 0;
}

int sums_write(struct sums *sums, const void *data, uint64_t offset, uint64_t length, uint64_t *ret_bad) {
        uint64_t first = offset / SUM_BLOCK_SIZE, last = (offset + length - 1) / SUM_BLOCK_SIZE;
        _cleanup_free_ uint32_t *values = malloc((size_t) (last - first + 1) * sizeof(uint32_t));
        _cleanup_free_ struct sums_change *changes = calloc(count_leaves(first, last), sizeof(*changes));
        int n, r, k;

        if (!values || !changes)
                return -ENOMEM;
        r = compute(sums, data, offset, length, values, ret_bad);
        if (r < 0)
                return r;
        n = begin_all(sums, first, last, changes);
        if (n < 0)
                return n;

        r = sums_pwrite_full(sums->data_fd, data, (size_t) length, offset);
        if (r >= 0)
                fault_point("sums-written");
        /* Cut short: who knows what is there now. */
        k = end_all(sums, changes, n, r < 0 ? SUMS_END_DISTRUST : SUMS_END_SET, values);
        return r < 0 ? r : k;
}

/* --- zeroes --- */

static int zero_file(struct sums *sums, int mode, uint64_t offset, uint64_t length) {
        int r;

        sums_about_to_write(sums->data_fd, offset, length);
        do
                r = fallocate(sums->data_fd, mode, (off_t) offset, (off_t) length) < 0 ? -errno : 0;
        while (r == -EINTR);
        return r;
}

/* Whole blocks, up to CHUNK_LEAVES leaves. */
static int zero_chunk(struct sums *sums, int mode, uint64_t first, uint64_t last) {
        _cleanup_free_ struct sums_change *changes = calloc(count_leaves(first, last), sizeof(*changes));
        int n, r, k;

        if (!changes)
                return -ENOMEM;
        n = begin_all(sums, first, last, changes);
        if (n < 0)
                return n;
        r = zero_file(sums, mode, first * SUM_BLOCK_SIZE, (last - first + 1) * SUM_BLOCK_SIZE);
        k = end_all(sums, changes, n,
                r >= 0             ? SUMS_END_SET
                : r == -EOPNOTSUPP ? SUMS_END_KEEP
                                   : SUMS_END_DISTRUST,
                NULL);
        return r < 0 ? r : k;
}

/* The first leaf from number on that may say something; UINT64_MAX: there is none. */
static uint64_t next_leaf(struct sums *sums, uint64_t number) {
        off_t found = lseek(sums->fd, (off_t) sum_leaf_offset(number), SEEK_DATA);

        if (found < 0)
                return errno == ENXIO ? UINT64_MAX : number;
        found -= SUM_HEADER_SIZE;
        return (uint64_t) found / SUM_LEAF_SIZE > number ? (uint64_t) found / SUM_LEAF_SIZE : number;
}

/* The last leaf from number on, without a gap, that has storage: to take data away must not need more of it. */
static uint64_t last_stored(struct sums *sums, uint64_t number) {
        off_t found = lseek(sums->fd, (off_t) sum_leaf_offset(number), SEEK_HOLE);
        uint64_t last;

        if (found < 0)
                return UINT64_MAX;
        last = ((uint64_t) found - SUM_HEADER_SIZE - 1) / SUM_LEAF_SIZE;
        return last > number ? last : number;
}

static int zero_blocks(struct sums *sums, int mode, uint64_t first, uint64_t last) {
        int r = 0;

        for (uint64_t block = first, stop; block <= last && r >= 0; block = stop + 1) {
                uint64_t number = block / SUM_LEAF_BLOCKS, next = next_leaf(sums, number);

                if (next > number) {
                        /* Zeroes become zeroes: only their storage changes. */
                        stop = next > last / SUM_LEAF_BLOCKS ? last : next * SUM_LEAF_BLOCKS - 1;
                        r = zero_file(sums, mode, block * SUM_BLOCK_SIZE, (stop - block + 1) * SUM_BLOCK_SIZE);
                } else {
                        next = min(number + CHUNK_LEAVES - 1, last_stored(sums, number));
                        stop = min(last, (next + 1) * SUM_LEAF_BLOCKS - 1);
                        r = zero_chunk(sums, mode, block, stop);
                }
        }
        return r;
}

static int write_zeroes(struct sums *sums, uint64_t offset, uint64_t end, uint64_t *ret_bad) {
        int r = 0;

        for (uint64_t n; offset < end && r >= 0; offset += n) {
                n = min(ZEROES_SIZE - offset % ZEROES_SIZE, end - offset);
                r = sums_write(sums, zeroes, offset, n, ret_bad);
        }
        return r;
}

int sums_zero(struct sums *sums, uint64_t offset, uint64_t length, bool trim, bool no_hole, uint64_t *ret_bad) {
        int mode = FALLOC_FL_KEEP_SIZE | (no_hole ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE), r = 0;
        uint64_t end = offset + length, first = (offset + SUM_BLOCK_SIZE - 1) / SUM_BLOCK_SIZE, stop;
        struct stat st;

        if (fstat(sums->data_fd, &st) < 0)
                return -errno;
        /* What the end of the data cuts short is a whole block. */
        stop = end >= (uint64_t) st.st_size ? (end + SUM_BLOCK_SIZE - 1) / SUM_BLOCK_SIZE : end / SUM_BLOCK_SIZE;
        if (first >= stop)
                return trim ? 0 : write_zeroes(sums, offset, end, ret_bad);

        if (!trim && offset < first * SUM_BLOCK_SIZE)
                r = write_zeroes(sums, offset, first * SUM_BLOCK_SIZE, ret_bad);
        if (r >= 0 && !trim && end > stop * SUM_BLOCK_SIZE)
                r = write_zeroes(sums, stop * SUM_BLOCK_SIZE, end, ret_bad);
        if (r < 0)
                return r;

        r = zero_blocks(sums, mode, first, stop - 1);
        if (r == -EOPNOTSUPP)
                r = trim ? 0 : write_zeroes(sums, first * SUM_BLOCK_SIZE, min(end, stop * SUM_BLOCK_SIZE), ret_bad);
        return r;
}

/* --- another end --- */

/* The group of the last block, if only a part of that is left. */
static struct sums_change last_block(uint64_t size) {
        uint64_t block = size / SUM_BLOCK_SIZE;
        unsigned i = (unsigned) (block % SUM_LEAF_BLOCKS);

        return (struct sums_change){ .number = block / SUM_LEAF_BLOCKS, .first = i, .last = i };
}

int sums_expect_cut(struct sums *sums, uint64_t size) {
        struct sums_change change = last_block(size);
        int r;

        if (size % SUM_BLOCK_SIZE == 0)
                return 0;
        r = sums_begin(sums, &change);
        if (r < 0)
                return r;
        r = change.sync ? sums_sync_file(sums) : 0;
        if (r >= 0)
                sums_marked(sums, &change);
        (void) sums_end(sums, &change, r < 0 ? SUMS_END_KEEP : SUMS_END_DISTRUST, NULL);
        return r;
}

int sums_cut(struct sums *sums, uint64_t size) {
        uint64_t blocks = (size + SUM_BLOCK_SIZE - 1) / SUM_BLOCK_SIZE, number = blocks / SUM_LEAF_BLOCKS;
        unsigned kept = (unsigned) (blocks % SUM_LEAF_BLOCKS);
        struct sums_change change = { .number = number, .first = kept, .last = SUM_LEAF_BLOCKS - 1 };
        int r = 0;

        if (kept > 0) {
                r = sums_begin(sums, &change);
                if (r >= 0)
                        r = sums_end(sums, &change, SUMS_END_SET, NULL);
                number++;
        }
        if (r < 0)
                return r;
        sums_about_to_write(sums->fd, sum_leaf_offset(number), SUM_LEAF_SIZE);
        if (ftruncate(sums->fd, (off_t) sum_leaf_offset(number)) < 0)
                return -errno;
        r = sums_sync_file(sums);
        /* What was begun above has made its sum anew, of what is still there. */
        return r < 0 ? r : sums_expect_cut(sums, size);
}

int sums_was_cut(struct sums *sums, uint64_t size) {
        struct sums_change change = last_block(size);
        int r;

        if (size % SUM_BLOCK_SIZE == 0)
                return 0;
        /* A beginning gives new sums to what is distrusted. */
        r = sums_begin(sums, &change);
        return r < 0 ? r : sums_end(sums, &change, SUMS_END_KEEP, NULL);
}

/* --- scrubbing --- */

static int check_part(struct sums *sums, const struct part *part, void (*bad)(uint64_t offset, void *userdata),
        void *userdata, uint64_t *n_checked, uint64_t *n_unknown) {
        uint64_t offset = 0;
        int r;

        r = read_part(sums, part, &offset);
        if (r == 0)
                *n_checked += part->last - part->first + 1;
        if (r <= 0 && r != -EBADMSG)
                return r;

        /* One by one, then. */
        for (unsigned i = part->first; i <= part->last; i++) {
                struct part one = *part;
                uint64_t start, from, to;

                bounds(part, i, &start, &from, &to);
                one.first = one.last = i;
                one.offset = from;
                one.length = to - from;
                one.buffer = part->buffer + (from - part->offset);
                r = read_part(sums, &one, &offset);
                if (r == -EBADMSG)
                        bad(offset, userdata);
                else if (r < 0)
                        return r;
                else if (r > 0)
                        ++*n_unknown;
                else
                        ++*n_checked;
        }
        return 0;
}

int sums_check(struct sums *sums, uint64_t offset, uint64_t length, uint8_t *buffer,
        void (*bad)(uint64_t offset, void *userdata), void *userdata, uint64_t *ret_checked, uint64_t *ret_unknown) {
        uint64_t checked = 0, unknown = 0;
        int r;

        for (uint64_t end = offset + length; offset < end;) {
                struct part part = part_at(buffer, offset, end);

                r = check_part(sums, &part, bad, userdata, &checked, &unknown);
                if (r < 0)
                        return r;
                offset += part.length;
                buffer += part.length;
        }
        *ret_checked = checked;
        *ret_unknown = unknown;
        return 0;
}
