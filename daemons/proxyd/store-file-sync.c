/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What makes an image's bytes durable. Syncs are gathered: one at a time, and all that come meanwhile are covered by the next one. That is cheaper, and it is what
 * makes an error reach everybody whom it concerns: the kernel reports a failed write-back once to an open file description, so of two syncs side by side on one of
 * them only one would learn of it, and the other would vouch for what is lost.
 *
 * There are two gatherings, for flushes, which cover the whole image, and for durable writes, which need not wait until all that others have written is on the disk.
 * They run side by side, and for that each has an open file description of its own, through which nothing else is done. Nor is RWF_DSYNC used: the sync in it
 * would be one more on the description that the writes share.
 *
 * An image with checksums has only the first: what is sealed behind a sync is sealed for the whole image (sums.h).
 *
 * The descriptions are made before anything is written through this store, so that every error of ours is one that both have yet to report. */

#include <fcntl.h>
#include <sys/stat.h>

#include "container-of.h"
#include "fault-point.h"
#include "store-file.h"

static void start(struct file_sync *sync) {
        struct io_uring_sqe *sqe = ring_get_sqe(sync->store->how.ring);

        if (sync->sums)
                store_file_sums_sync_begins(sync->sums);
        io_uring_prep_fsync(sqe, sync->fd, IORING_FSYNC_DATASYNC);
        /* Zero for both is the whole file; the kernel's length has 32 bits. */
        if (sync->to - sync->from <= UINT32_MAX) {
                sqe->off = sync->from;
                sqe->len = (uint32_t) (sync->to - sync->from);
        }
        ring_sqe_set_op(sqe, &sync->op);
}

static void start_next(struct file_sync *sync) {
        struct store_io *io;

        STAILQ_CONCAT(&sync->covered, &sync->waiting);
        sync->running = true;
        sync->from = UINT64_MAX;
        sync->to = 0;
        STAILQ_FOREACH(io, &sync->covered, entry)
                if (io->kind == STORE_FLUSH || sync->sums) {
                        sync->from = 0;
                        sync->to = UINT64_MAX;
                } else {
                        sync->from = io->offset < sync->from ? io->offset : sync->from;
                        sync->to = io->offset + io->length > sync->to ? io->offset + io->length : sync->to;
                }
        start(sync);
}

static void ended(void *userdata, int error) {
        struct file_sync *sync = userdata;
        struct store_io_list covered = STAILQ_HEAD_INITIALIZER(covered);
        struct store_io *io;

        STAILQ_CONCAT(&covered, &sync->covered);
        sync->running = false;
        /* Before the answers: they may be the last of those who hold the image. */
        if (!STAILQ_EMPTY(&sync->waiting))
                start_next(sync);

        while ((io = STAILQ_FIRST(&covered))) {
                STAILQ_REMOVE_HEAD(&covered, entry);
                store_file_sync_ended(io, error);
        }
}

static void synced(struct ring_op *op, int32_t res, uint32_t flags) {
        struct file_sync *sync = CONTAINER_OF(op, struct file_sync, op);

        if (res == -EINTR || res == -EAGAIN) {
                start(sync);
                return;
        }
        fault_point("flush-synced");
        if (res >= 0 && sync->sums)
                store_file_sums_seal(sync->sums, ended, sync);
        else
                ended(sync, res);
}

void store_file_sync(struct store_io *io) {
        struct file_image *image = FILE_IMAGE(io->image);
        struct file_sync *sync = io->kind == STORE_FLUSH || image->sums ? &image->flushes : &image->durable_writes;

        STAILQ_INSERT_TAIL(&sync->waiting, io, entry);
        if (!sync->running)
                start_next(sync);
}

static int open_one(struct file_image *image, struct file_sync *sync) {
        struct stat data, own;

        sync->fd = openat(image->directory_fd, "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (sync->fd < 0 || fstat(sync->fd, &own) < 0 || fstat(image->data_fd, &data) < 0)
                return -errno;
        return own.st_dev == data.st_dev && own.st_ino == data.st_ino ? 0 : -ESTALE;
}

int store_file_sync_open(struct file_image *image) {
        int r;

        image->flushes.sums = image->sums;
        r = open_one(image, &image->flushes);
        return r < 0 ? r : open_one(image, &image->durable_writes);
}

void store_file_sync_close(struct file_image *image) {
        image->flushes.fd = safe_close(image->flushes.fd);
        image->durable_writes.fd = safe_close(image->durable_writes.fd);
}

static void init(struct file_sync *sync, struct file_store *store) {
        *sync = (struct file_sync){ .store = store, .fd = -EBADF, .op.done = synced };
        STAILQ_INIT(&sync->covered);
        STAILQ_INIT(&sync->waiting);
}

void store_file_sync_init(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);

        init(&image->flushes, store);
        init(&image->durable_writes, store);
}
