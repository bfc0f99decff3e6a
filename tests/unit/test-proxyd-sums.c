/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checksums of an image: the sums themselves, every operation beside a model in memory, flipped bits, and a loss of power at each step. For that the test sees each write before it is made, remembers what was there, and when
 * the power fails puts back whichever sectors it likes of those that no sync has covered. */

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc32c.h"
#include "scratch.h"
#include "sums-internal.h"

#define BLOCKS 300U /* two leaves and a part of a third */
#define SIZE   (BLOCKS * SUM_BLOCK_SIZE)
#define SECTOR 512U

struct rig {
        int data_fd, fd;
        struct sums *sums;
        unsigned n_complaints;
};

static void complain(void *userdata, const char *message) {
        ((struct rig *) userdata)->n_complaints++;
}

static void open_again(struct rig *rig) {
        rig->sums = sums_free(rig->sums);
        ASSERT_OK(sums_new(&rig->sums, rig->data_fd, rig->fd, complain, rig));
}

static int open_file(const char *name) {
        return (int) ASSERT_OK(open(scratch_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

static void rig_up(struct rig *rig, uint64_t size) {
        scratch_make();
        *rig = (struct rig){};
        rig->data_fd = open_file("data");
        ASSERT_EQ(ftruncate(rig->data_fd, (off_t) size), 0);
        rig->fd = open_file("sums");
        ASSERT_OK(sums_file_make(rig->fd));
        open_again(rig);
}

static void rig_down(struct rig *rig) {
        sums_free(rig->sums);
        close(rig->fd);
        close(rig->data_fd);
        scratch_remove();
}

static int flush(struct rig *rig) {
        int r;

        sums_sync_begins(rig->sums);
        r = sums_fdatasync(rig->data_fd);
        return r < 0 ? r : sums_seal(rig->sums);
}

static void flip(int fd, uint64_t offset) {
        uint8_t byte;

        ASSERT_EQ(pread(fd, &byte, 1, (off_t) offset), 1);
        byte ^= 0x10;
        ASSERT_EQ(pwrite(fd, &byte, 1, (off_t) offset), 1);
}

/* The same numbers each time. */
static uint32_t seed;
static uint32_t draw(uint32_t below) {
        seed = seed * 1664525U + 1013904223U;
        return (seed >> 8) % below;
}

static void vectors(void) {
        uint8_t data[300];

        /* RFC 3720, B.4, and the usual check value. */
        ASSERT_EQ(crc32c(0, "123456789", 9), 0xe3069283U);
        memset(data, 0, 32);
        ASSERT_EQ(crc32c(0, data, 32), 0x8a9136aaU);
        memset(data, 0xff, 32);
        ASSERT_EQ(crc32c(0, data, 32), 0x62a8ab43U);
        for (unsigned i = 0; i < 32; i++)
                data[i] = (uint8_t) i;
        ASSERT_EQ(crc32c(0, data, 32), 0x46dd794eU);
        ASSERT_EQ(crc32c_portable(0, data, 32), 0x46dd794eU);

        for (unsigned i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i * i + 3);
        for (unsigned from = 0; from < 9; from++)
                for (unsigned n = 0; from + n <= sizeof(data); n += 7) {
                        uint32_t whole = crc32c(0, data + from, n);

                        ASSERT_EQ(crc32c_portable(0, data + from, n), whole);
                        ASSERT_EQ(
                                crc32c(crc32c_portable(0, data + from, n / 3), data + from + n / 3, n - n / 3), whole);
                }
}

static void leaves(void) {
        struct sum_leaf leaf = { .dirty = 0x40000001, .sequence = 77 }, other;
        uint8_t data[SUM_LEAF_SIZE] = {}, block[SUM_BLOCK_SIZE] = {};

        ASSERT_EQ(sum_of_block(block), 0U);
        block[17] = 1;
        ASSERT_TRUE(sum_of_block(block) != 0);
        ASSERT_OK(sum_leaf_decode(5, data, &other));
        ASSERT_EQ(other.dirty, 0U);

        for (unsigned i = 0; i < SUM_LEAF_BLOCKS; i++)
                leaf.sums[i] = i * 2654435761U;
        sum_leaf_encode(5, &leaf, data);
        ASSERT_OK(sum_leaf_decode(5, data, &other));
        ASSERT_MEMEQ(&other, &leaf, sizeof(leaf));
        ASSERT_ERROR(sum_leaf_decode(6, data, &other), EUCLEAN);
        for (unsigned bit = 0; bit < SUM_LEAF_SIZE * 8; bit++) {
                data[bit / 8] ^= (uint8_t) (1U << bit % 8);
                ASSERT_ERROR(sum_leaf_decode(5, data, &other), EUCLEAN);
                data[bit / 8] ^= (uint8_t) (1U << bit % 8);
        }

        ASSERT_EQ(sum_groups(0, 0), 1U);
        ASSERT_EQ(sum_groups(3, 4), 3U);
        ASSERT_EQ(sum_groups(0, SUM_LEAF_BLOCKS - 1), SUM_ALL_GROUPS);
        ASSERT_EQ(sum_groups(120, 123), 1U << 30);
}

static uint8_t model[SIZE], found[SIZE], fresh[SIZE];

static void random_range(uint64_t *ret_offset, uint64_t *ret_length) {
        uint32_t unit = draw(2) ? SUM_BLOCK_SIZE : draw(2) ? SECTOR : 1;
        uint64_t offset = (uint64_t) draw(SIZE / unit) * unit,
                 length = (uint64_t) (1 + draw(draw(4) ? 8 : 600)) * unit;

        *ret_offset = offset;
        *ret_length = length < SIZE - offset ? length : SIZE - offset;
}

/* Everything that can be done, beside a model; and after each flush the disk is what the sums say, also for somebody who has only just come. */
static void operations(void) {
        uint64_t offset, length, bad;
        struct rig rig;

        rig_up(&rig, SIZE);
        memset(model, 0, SIZE);
        seed = 4711;
        for (unsigned round = 0; round < 400; round++) {
                random_range(&offset, &length);
                switch (draw(8)) {
                case 0:
                case 1:
                case 2:
                        memset(model + offset, (int) draw(256), length);
                        model[offset] = 1;
                        ASSERT_OK(sums_write(rig.sums, model + offset, offset, length, &bad));
                        break;
                case 3:
                        memset(model + offset, 0, length);
                        ASSERT_OK(sums_zero(rig.sums, offset, length, false, draw(2), &bad));
                        break;
                case 4:
                        ASSERT_OK(sums_zero(rig.sums, offset, length, true, false, &bad));
                        ASSERT_OK(sums_read(rig.sums, model, 0, SIZE, &bad));
                        break;
                case 5:
                        ASSERT_OK(flush(&rig));
                        break;
                case 6:
                        ASSERT_OK(flush(&rig));
                        open_again(&rig);
                        break;
                default:
                        ASSERT_OK(sums_read(rig.sums, found, offset, length, &bad));
                        ASSERT_MEMEQ(found, model + offset, length);
                        break;
                }
        }
        ASSERT_OK(sums_read(rig.sums, found, 0, SIZE, &bad));
        ASSERT_MEMEQ(found, model, SIZE);
        ASSERT_EQ(rig.n_complaints, 0U);
        rig_down(&rig);
}

static void flipped_bits(void) {
        uint64_t bad = 0, checked, unknown;
        struct rig rig;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 0, SIZE / 2, &bad));

        /* What this process has written itself is verified before any flush. */
        flip(rig.data_fd, 10 * SUM_BLOCK_SIZE + 5);
        ASSERT_ERROR(sums_read(rig.sums, found, 3 * SUM_BLOCK_SIZE, 20 * SUM_BLOCK_SIZE, &bad), EBADMSG);
        ASSERT_EQ(bad, 10U * SUM_BLOCK_SIZE);
        flip(rig.data_fd, 10 * SUM_BLOCK_SIZE + 5);

        ASSERT_OK(flush(&rig));
        for (unsigned block = 0; block < BLOCKS; block += 13) {
                uint64_t at = (uint64_t) block * SUM_BLOCK_SIZE;

                for (unsigned fresh_start = 0; fresh_start < 2; fresh_start++) {
                        flip(rig.data_fd, at + 100);
                        if (fresh_start)
                                open_again(&rig);
                        ASSERT_ERROR(sums_read(rig.sums, found, at + 2000, 7, &bad), EBADMSG);
                        ASSERT_EQ(bad, at);
                        /* A part of it cannot be changed, since the rest would be taken for good. */
                        ASSERT_ERROR(sums_write(rig.sums, model, at + 512, 512, &bad), EBADMSG);
                        ASSERT_ERROR(sums_zero(rig.sums, at + 512, 512, false, false, &bad), EBADMSG);
                        ASSERT_OK(sums_read(rig.sums, found, (at + SUM_BLOCK_SIZE) % SIZE, SUM_BLOCK_SIZE, &bad));
                        flip(rig.data_fd, at + 100);
                        ASSERT_OK(sums_read(rig.sums, found, at, SUM_BLOCK_SIZE, &bad));
                }
        }

        /* Whole, it is healed; so it is by zeroes. A trim of a part is left out. */
        flip(rig.data_fd, 0);
        flip(rig.data_fd, SUM_BLOCK_SIZE);
        ASSERT_OK(sums_zero(rig.sums, 512, 512, true, false, &bad));
        ASSERT_OK(sums_write(rig.sums, model, 0, SUM_BLOCK_SIZE, &bad));
        ASSERT_OK(sums_zero(rig.sums, SUM_BLOCK_SIZE, SUM_BLOCK_SIZE, false, true, &bad));
        ASSERT_OK(sums_read(rig.sums, found, 0, SIZE, &bad));
        ASSERT_OK(sums_check(rig.sums, 0, SIZE, found, NULL, NULL, &checked, &unknown));
        ASSERT_EQ(checked, BLOCKS);
        ASSERT_EQ(unknown, 0U);
        rig_down(&rig);
}

static uint64_t bad_offsets[8];
static size_t n_bad;
static void count_bad(uint64_t offset, void *userdata) {
        bad_offsets[n_bad++] = offset;
}

static void scrubbing(void) {
        uint64_t bad, checked, unknown;
        struct rig rig;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 0, SIZE, &bad));
        ASSERT_OK(flush(&rig));
        flip(rig.data_fd, 7 * SUM_BLOCK_SIZE);
        flip(rig.data_fd, 200 * SUM_BLOCK_SIZE + 4095);
        n_bad = 0;
        ASSERT_OK(sums_check(rig.sums, 0, SIZE, found, count_bad, NULL, &checked, &unknown));
        ASSERT_EQ(n_bad, 2U);
        ASSERT_EQ(bad_offsets[0], 7U * SUM_BLOCK_SIZE);
        ASSERT_EQ(bad_offsets[1], 200U * SUM_BLOCK_SIZE);
        ASSERT_EQ(checked, BLOCKS - 2);
        ASSERT_EQ(unknown, 0U);

        /* Somebody else writes at this moment, or has ended: nobody knows. */
        ASSERT_OK(sums_write(rig.sums, model, 0, SUM_BLOCK_SIZE, &bad));
        flip(rig.data_fd, SUM_BLOCK_SIZE);
        open_again(&rig);
        n_bad = 0;
        ASSERT_OK(sums_check(rig.sums, 0, SIZE, found, count_bad, NULL, &checked, &unknown));
        ASSERT_EQ(unknown, 1U);
        ASSERT_EQ(n_bad, 2U);
        rig_down(&rig);
}

/* A leaf that is damaged: what it is for cannot be verified, and is not refused for that. */
static void damaged_leaf(void) {
        uint64_t bad;
        struct rig rig;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 0, SIZE, &bad));
        ASSERT_OK(flush(&rig));
        flip(rig.fd, sum_leaf_offset(1) + 300);
        ASSERT_OK(sums_read(rig.sums, found, 0, SIZE, &bad));
        ASSERT_EQ(rig.n_complaints, 1U);
        /* The next change makes it anew. */
        ASSERT_OK(sums_write(rig.sums, model, SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE, SUM_BLOCK_SIZE, &bad));
        ASSERT_EQ(rig.n_complaints, 2U);
        ASSERT_OK(flush(&rig));
        flip(rig.data_fd, (SUM_LEAF_BLOCKS + 50) * SUM_BLOCK_SIZE);
        ASSERT_ERROR(sums_read(rig.sums, found, 0, SIZE, &bad), EBADMSG);
        ASSERT_EQ(bad, (SUM_LEAF_BLOCKS + 50) * SUM_BLOCK_SIZE);
        rig_down(&rig);

        scratch_make();
        rig.fd = open_file("none");
        ASSERT_ERROR(sums_new(&rig.sums, rig.fd, rig.fd, complain, &rig), EUCLEAN);
        close(rig.fd);
        scratch_remove();
}

/* A flush does not seal what is being written just then; the next one does. */
static void sealing_beside_writers(void) {
        struct sums_change change = { .number = 0, .first = 8, .last = 8 };
        struct sum_leaf leaf;
        struct rig rig;
        uint64_t bad;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 0, SUM_BLOCK_SIZE, &bad));
        ASSERT_OK(sums_begin(rig.sums, &change));
        ASSERT_TRUE(change.sync);
        ASSERT_OK(sums_sync_file(rig.sums));
        sums_marked(rig.sums, &change);
        ASSERT_OK(flush(&rig));
        ASSERT_OK(sums_leaf_load(rig.fd, 0, &leaf));
        ASSERT_EQ(leaf.dirty, sum_groups(8, 8));
        ASSERT_OK(sums_end(rig.sums, &change, SUMS_END_KEEP, NULL));

        /* It ended while the sync was under way, which need not have seen it. */
        ASSERT_OK(sums_begin(rig.sums, &change));
        ASSERT_FALSE(change.sync);
        sums_sync_begins(rig.sums);
        ASSERT_OK(sums_end(rig.sums, &change, SUMS_END_KEEP, NULL));
        ASSERT_OK(sums_seal(rig.sums));
        ASSERT_OK(sums_leaf_load(rig.fd, 0, &leaf));
        ASSERT_EQ(leaf.dirty, sum_groups(8, 8));

        ASSERT_OK(flush(&rig));
        ASSERT_OK(sums_leaf_load(rig.fd, 0, &leaf));
        ASSERT_EQ(leaf.dirty, 0U);

        /* That the file says dirty does not mean that the disk does: whoever wrote it may have ended before its sync. */
        ASSERT_OK(sums_begin(rig.sums, &change));
        ASSERT_OK(sums_end(rig.sums, &change, SUMS_END_KEEP, NULL));
        open_again(&rig);
        ASSERT_OK(sums_begin(rig.sums, &change));
        ASSERT_TRUE(change.sync);
        ASSERT_OK(sums_end(rig.sums, &change, SUMS_END_KEEP, NULL));
        rig_down(&rig);
}

/* Sizes that end within a block, and what was behind an end does not come back. */
static void sizes(void) {
        const uint64_t odd = 130 * SUM_BLOCK_SIZE + 1024;
        struct rig rig;
        uint64_t bad;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 0, SIZE, &bad));
        ASSERT_OK(flush(&rig));

        ASSERT_OK(sums_expect_cut(rig.sums, odd));
        ASSERT_OK(sums_cut(rig.sums, odd));
        ASSERT_EQ(ftruncate(rig.data_fd, (off_t) odd), 0);
        ASSERT_OK(sums_was_cut(rig.sums, odd));
        ASSERT_OK(sums_read(rig.sums, found, 0, odd, &bad));
        ASSERT_MEMEQ(found, model, odd);
        ASSERT_OK(flush(&rig));
        open_again(&rig);
        ASSERT_OK(sums_read(rig.sums, found, 0, odd, &bad));
        flip(rig.data_fd, odd - 1);
        ASSERT_ERROR(sums_read(rig.sums, found, 0, odd, &bad), EBADMSG);
        flip(rig.data_fd, odd - 1);
        ASSERT_OK(sums_write(rig.sums, model, odd - 1536, 1536, &bad));
        ASSERT_OK(sums_zero(rig.sums, odd - 512, 512, false, false, &bad));

        ASSERT_EQ(ftruncate(rig.data_fd, SIZE), 0);
        memset(model + odd - 512, 0, SIZE - odd + 512);
        ASSERT_OK(sums_read(rig.sums, found, 0, SIZE, &bad));
        ASSERT_MEMEQ(found, model, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, odd, 100, &bad));
        ASSERT_OK(sums_read(rig.sums, found, 0, SIZE, &bad));
        ASSERT_EQ(rig.n_complaints, 0U);
        rig_down(&rig);
}

/* A copy has the same damage, and not others' business. */
static void copies(void) {
        int data_fd, fd;
        struct sums *sums;
        struct rig rig;
        uint64_t bad;

        rig_up(&rig, SIZE);
        memset(model, 0x5a, SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 100 * SUM_BLOCK_SIZE, 100 * SUM_BLOCK_SIZE, &bad));
        ASSERT_OK(flush(&rig));
        flip(rig.data_fd, 111 * SUM_BLOCK_SIZE);
        ASSERT_OK(sums_write(rig.sums, model, 50 * SUM_BLOCK_SIZE, SUM_BLOCK_SIZE, &bad));

        data_fd = open_file("copy");
        fd = open_file("copied-sums");
        ASSERT_OK(sums_file_make(fd));
        ASSERT_EQ(pread(rig.data_fd, found, SIZE, 0), (ssize_t) SIZE);
        ASSERT_EQ(pwrite(data_fd, found, SIZE, 0), (ssize_t) SIZE);
        for (uint64_t at = 0; at < SIZE; at += 1000000)
                ASSERT_OK(sums_file_copy(rig.fd, fd, at, at + 1000000 < SIZE ? at + 1000000 : SIZE));
        ASSERT_OK(sums_file_settle(data_fd, fd, false));

        ASSERT_OK(sums_new(&sums, data_fd, fd, complain, &rig));
        ASSERT_ERROR(sums_read(sums, found, 0, SIZE, &bad), EBADMSG);
        ASSERT_EQ(bad, 111U * SUM_BLOCK_SIZE);
        flip(data_fd, 50 * SUM_BLOCK_SIZE); /* was dirty, and is not any more */
        ASSERT_ERROR(sums_read(sums, found, 0, SIZE, &bad), EBADMSG);
        ASSERT_EQ(bad, 50U * SUM_BLOCK_SIZE);
        sums_free(sums);

        /* From nothing but the data. */
        ASSERT_EQ(ftruncate(fd, 0), 0);
        ASSERT_OK(sums_file_make(fd));
        ASSERT_OK(sums_file_settle(data_fd, fd, true));
        ASSERT_OK(sums_new(&sums, data_fd, fd, complain, &rig));
        ASSERT_OK(sums_read(sums, found, 0, SIZE, &bad));
        flip(data_fd, SIZE - 1);
        ASSERT_ERROR(sums_read(sums, found, 0, SIZE, &bad), EBADMSG);
        sums_free(sums);
        close(fd);
        close(data_fd);
        rig_down(&rig);
}

/* --- loss of power --- */

/* What outlives the child. */
struct witness {
        uint8_t flushed[SIZE]; /* as the last flush that was answered found it */
        bool touched[BLOCKS];  /* since that began */
        bool done;             /* all of it, and the power was still there */
};

struct unsynced {
        int fd;
        uint64_t offset;
        uint8_t before[SECTOR];
};
static struct unsynced unsynced[4 * SIZE / SECTOR];
static size_t n_unsynced;
static int witnessed_data_fd;
static bool seen[2][2 * SIZE / SECTOR]; /* data, sums */
static unsigned steps_left;
static uint32_t fate;

static void power_fails(void) {
        seed = fate;
        for (size_t i = 0; i < n_unsynced; i++)
                if (fate % 4 == 0 || (fate % 4 != 1 && draw(2)))
                        ASSERT_EQ(pwrite(unsynced[i].fd, unsynced[i].before, SECTOR, (off_t) unsynced[i].offset),
                                SECTOR);
        _exit(0);
}

static void step(void) {
        if (steps_left-- == 0)
                power_fails();
}

static void remember(int fd, uint64_t offset) {
        bool *known = &seen[fd != witnessed_data_fd][offset / SECTOR];

        if (*known)
                return;
        *known = true;
        ASSERT_TRUE(n_unsynced < ELEMENTSOF(unsynced));
        unsynced[n_unsynced].fd = fd;
        unsynced[n_unsynced].offset = offset;
        memset(unsynced[n_unsynced].before, 0, SECTOR);
        ASSERT_OK(pread(fd, unsynced[n_unsynced].before, SECTOR, (off_t) offset));
        n_unsynced++;
}

static void see_write(int fd, uint64_t offset, uint64_t length) {
        uint64_t end = offset + length;

        step();
        for (uint64_t at = offset / SECTOR * SECTOR; at < end; at += SECTOR)
                remember(fd, at);
}

static int see_sync(int fd) {
        size_t n = 0;

        for (size_t i = 0; i < n_unsynced; i++)
                if (unsynced[i].fd != fd)
                        unsynced[n++] = unsynced[i];
        n_unsynced = n;
        memset(seen[fd != witnessed_data_fd], 0, sizeof(seen[0]));
        step();
        return 0;
}

static void live(struct rig *rig, struct witness *witness) {
        static const struct sums_observer observer = { .write = see_write, .sync = see_sync };
        uint32_t life = seed;
        uint64_t bad;

        witnessed_data_fd = rig->data_fd;
        sums_observer = &observer;
        for (unsigned round = 0; round < 24; round++) {
                uint64_t block, n, offset, length;
                unsigned what;

                seed = life += 12345;
                block = draw(BLOCKS);
                n = 1 + draw(draw(3) ? 6 : 100);
                n = n < BLOCKS - block ? n : BLOCKS - block;
                what = draw(6);
                offset = block * SUM_BLOCK_SIZE;
                length = n * SUM_BLOCK_SIZE;
                if (what == 5) {
                        ASSERT_OK(flush(rig));
                        memcpy(witness->flushed, model, SIZE);
                        memset(witness->touched, 0, sizeof(witness->touched));
                        continue;
                }
                for (uint64_t i = block; i < block + n; i++)
                        witness->touched[i] = true;
                if (what == 0) {
                        memset(model + offset, 0, length);
                        ASSERT_OK(sums_zero(rig->sums, offset, length, false, false, &bad));
                        continue;
                }
                if (what == 1) { /* within a block */
                        offset += 512;
                        length = 1024;
                }
                memset(model + offset, (int) (1 + draw(255)), length);
                ASSERT_OK(sums_write(rig->sums, model + offset, offset, length, &bad));
        }
        sums_observer = NULL;
        witness->done = true;
        _exit(0);
}

/* Whatever is found: good data are no error, and where nothing was written since a flush nothing passes. */
static void check_after(struct rig *rig, const struct witness *witness) {
        struct sum_leaf leaf;
        uint64_t bad;

        open_again(rig);
        ASSERT_OK(sums_read(rig->sums, found, 0, SIZE, &bad));
        for (unsigned block = 0; block < BLOCKS; block++) {
                uint64_t at = (uint64_t) block * SUM_BLOCK_SIZE;
                bool leaf_touched = false;

                if (witness->touched[block])
                        continue;
                ASSERT_MEMEQ(found + at, witness->flushed + at, SUM_BLOCK_SIZE);
                for (unsigned i = 0; i < BLOCKS; i++)
                        leaf_touched = leaf_touched ||
                                       (i / SUM_LEAF_BLOCKS == block / SUM_LEAF_BLOCKS && witness->touched[i]);
                ASSERT_OK(sums_leaf_load(rig->fd, block / SUM_LEAF_BLOCKS, &leaf));
                if (leaf.dirty & sum_groups(block % SUM_LEAF_BLOCKS, block % SUM_LEAF_BLOCKS)) {
                        ASSERT_TRUE(leaf_touched);
                        continue;
                }
                flip(rig->data_fd, at + draw(SUM_BLOCK_SIZE));
                ASSERT_ERROR(sums_read(rig->sums, fresh, at, SUM_BLOCK_SIZE, &bad), EBADMSG);
                ASSERT_EQ(pwrite(rig->data_fd, found + at, SUM_BLOCK_SIZE, (off_t) at), (ssize_t) SUM_BLOCK_SIZE);
        }

        /* Life goes on, and then everything is known again. */
        for (unsigned block = 0; block < BLOCKS; block += SUM_LEAF_BLOCKS)
                ASSERT_OK(sums_write(rig->sums, found + (size_t) block * SUM_BLOCK_SIZE,
                        (uint64_t) block * SUM_BLOCK_SIZE, SUM_BLOCK_SIZE, &bad));
        ASSERT_OK(flush(rig));
        open_again(rig);
        flip(rig->data_fd, 99 * SUM_BLOCK_SIZE);
        ASSERT_ERROR(sums_read(rig->sums, fresh, 0, SIZE, &bad), EBADMSG);
}

static void loss_of_power(void) {
        struct witness *witness =
                mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        unsigned n_cut = 0;

        ASSERT_TRUE(witness != MAP_FAILED);
        for (unsigned trial = 0; trial < 60; trial++) {
                struct rig rig;
                int status;
                pid_t pid;

                rig_up(&rig, SIZE);
                memset(witness, 0, sizeof(*witness));
                pid = fork();
                ASSERT_OK(pid);
                if (pid == 0) {
                        memset(model, 0, SIZE);
                        n_unsynced = 0;
                        seed = trial / 10 * 977;
                        fate = trial;
                        steps_left = trial * 13 % 150;
                        live(&rig, witness);
                }
                ASSERT_EQ(waitpid(pid, &status, 0), pid);
                ASSERT_EQ(status, 0);
                n_cut += !witness->done;
                check_after(&rig, witness);
                rig_down(&rig);
        }
        ASSERT_TRUE(n_cut > 30);
        ASSERT_EQ(munmap(witness, sizeof(*witness)), 0);
}

TEST_MAIN(TEST(vectors), TEST(leaves), TEST(operations), TEST(flipped_bits), TEST(scrubbing), TEST(damaged_leaf),
        TEST(sealing_beside_writers), TEST(sizes), TEST(copies), TEST(loss_of_power));
