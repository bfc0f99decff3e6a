/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing the data of an image that has checksums: each read is compared with them, each change keeps them. Everything here blocks and may be called on several threads at once, but
 * who calls sees to it that nothing overlaps a change, counted in blocks of 4 KiB. Only one process changes an image; any number may read it meanwhile.
 *
 * What holds after a power loss, see also sum-leaf.h:
 *
 * - A group is dirty on the disk (synced) before a byte of its data changes. Dirty data need not agree with their sums: what does not is taken as it is, and gets new sums with the next change beside it.
 *   So no torn or lost write becomes an error.
 * - When all data are synced, the groups that were not changed since that sync began are *sealed*: their leaves, with the new sums and no longer dirty, are written and synced, and only then is the flush answered.
 *   So what was flushed, and has not been written since, is verified, whatever happens. A group that somebody writes to just then is sealed by a later flush.
 * - A leaf is one sector and has a checksum of its own. One that is damaged all the same makes its 124 blocks unknown, is told, and made anew.
 *
 * Between these a process that changes an image remembers which groups it has made dirty itself: there the sums are exact, and verified, too. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"

struct sums;

/* message: about the bytes of the image, for people. On any thread. */
typedef void (*sums_complain_t)(void *userdata, const char *message);

/* Both descriptors are borrowed. Returns 0, -EUCLEAN when that is no file of checksums, or another negative errno. */
int sums_new(struct sums **ret, int data_fd, int fd, sums_complain_t complain, void *userdata);
struct sums *sums_free(struct sums *sums);
DEFINE_CLEANUP(struct sums *, sums_free);

/* Each returns 0, a negative errno, or -EBADMSG when data do not agree with their checksum, with *ret_bad the offset of the block. A write that covers only a part of a block verifies the rest of it first.
 * Nothing has been changed by what returns -EBADMSG. */
int sums_read(struct sums *sums, void *buffer, uint64_t offset, uint64_t length, uint64_t *ret_bad);
int sums_write(struct sums *sums, const void *data, uint64_t offset, uint64_t length, uint64_t *ret_bad);
/* trim: only whole blocks, and none where the file system cannot forget. no_hole: storage stays allocated. */
int sums_zero(struct sums *sums, uint64_t offset, uint64_t length, bool trim, bool no_hole, uint64_t *ret_bad);

/* Around a sync of all the data: begins, never blocks; seal, when the sync has succeeded. */
void sums_sync_begins(struct sums *sums);
int sums_seal(struct sums *sums);
/* The image is another process' from now on. Nothing is under way but reads. */
void sums_forget(struct sums *sums);

/* The data are about to get, and have got, another end: before it is written down anywhere, and before what is behind it is cut off. */
int sums_expect_cut(struct sums *sums, uint64_t size);
int sums_cut(struct sums *sums, uint64_t size);
/* The data are cut: their last block is another one. */
int sums_was_cut(struct sums *sums, uint64_t size);

/* Compares [offset, offset + length) with the checksums, and does not stop at what is wrong. bad: called for each block. *ret_checked, *ret_unknown: blocks that agreed, and those that did
 * not, and need not: they are being changed, or were when somebody ended. Within the data; buffer: length bytes. */
int sums_check(struct sums *sums, uint64_t offset, uint64_t length, uint8_t *buffer,
        void (*bad)(uint64_t offset, void *userdata), void *userdata, uint64_t *ret_checked, uint64_t *ret_unknown);

/* --- files of checksums, nobody else being at work on them --- */

/* An empty one, in an open file that is empty: for data that are all zero. Not synced. */
int sums_file_make(int fd);
/* The sums of the blocks that lie, if only with a part, in [offset, end). Dirty ones stay dirty. */
int sums_file_copy(int source_fd, int target_fd, uint64_t offset, uint64_t end);
/* What is dirty, or everything, gets the sums of the data as they are; then nothing is dirty. Synced. */
int sums_file_settle(int data_fd, int fd, bool everything);

/* For tests: sees what is about to be written to a file, and syncs in our stead. */
struct sums_observer {
        void (*write)(int fd, uint64_t offset, uint64_t length);
        int (*sync)(int fd);
};
extern const struct sums_observer *sums_observer;
