/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image's bytes, on the ring. One open file description serves all sessions of an image, for reads, writes and
 * syncs alike.
 *
 * Flushes are gathered: one fdatasync() at a time for an image, and all flushes that come meanwhile are covered by the
 * next one. That is cheaper, and it is what makes an error reach everybody whom it concerns: the kernel reports a
 * failed write-back once to a file description, so of two fdatasync() side by side only one would learn of it.
 *
 * After a failed sync nobody knows what is on the disk. Before that is answered to anybody the store's error epoch is
 * raised and stored, so that a client that believes in an older epoch finds out, even when this proxy dies now. If the
 * epoch cannot be stored, each later flush fails, too, until it can. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "container-of.h"
#include "store-file.h"

#define ZEROES_SIZE (256U * 1024U)

enum {
        STAGE_DATA,   /* the operation itself */
        STAGE_PIECES, /* zeroes, where the file system cannot make them */
};

static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(4096)));

static struct store_io *IO(struct ring_op *op) {
        return CONTAINER_OF(op, struct store_io, op);
}

static int normalise(int error) {
        /* A quota or a limit on the file's size is what a full disk is to a client. */
        return error == -EDQUOT || error == -EFBIG ? -ENOSPC : error;
}

/* --- failed syncs --- */

static void raise_epoch(struct job *job) {
        struct file_store *store = CONTAINER_OF(job, struct file_store, epoch_job);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct store_record record;
        int r;

        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 || flock(fd, LOCK_EX) < 0 ? -errno : 0;
        if (r >= 0)
                r = store_record_load(fd, store->path, &record, &message);
        if (r >= 0) {
                record.error_epoch++;
                r = store_record_save(fd, &record);
        }

        store->epoch_result = r;
        store->epoch_raised = r < 0 ? store->error_epoch + 1 : record.error_epoch;
}

static void start_raising(struct file_store *store) {
        STAILQ_CONCAT(&store->failing, &store->failed);
        store->raising = true;
        jobs_submit_reserved(store->how.jobs, &store->epoch_job);
}

static void epoch_raised(struct job *job) {
        struct file_store *store = CONTAINER_OF(job, struct file_store, epoch_job);
        struct store_io_list answered = STAILQ_HEAD_INITIALIZER(answered);
        struct store_io *io;

        store->error_epoch = store->epoch_raised;
        if (store->epoch_result < 0 && !store->epoch_unrecorded)
                store->how.complain(NULL, "A failed sync could not be noted in the store's record: flushes fail until "
                                          "it can. Check the disk");
        store->epoch_unrecorded = store->epoch_result < 0;

        STAILQ_CONCAT(&answered, &store->failing);
        store->raising = false;
        if (!STAILQ_EMPTY(&store->failed))
                start_raising(store);

        while ((io = STAILQ_FIRST(&answered))) {
                STAILQ_REMOVE_HEAD(&answered, entry);
                io->done(io, -EIO);
        }
}

static void fail_sync(struct store_io *io) {
        struct file_store *store = FILE_STORE(io->image->store);

        STAILQ_INSERT_TAIL(&store->failed, io, entry);
        if (!store->raising)
                start_raising(store);
}

/* --- syncs --- */

static void start_sync(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);
        struct io_uring_sqe *sqe;

        if (!image->sync_running)
                STAILQ_CONCAT(&image->syncing, &image->to_sync);
        image->sync_running = true;

        sqe = ring_get_sqe(store->how.ring);
        io_uring_prep_fsync(sqe, image->data_fd, IORING_FSYNC_DATASYNC);
        ring_sqe_set_op(sqe, &image->sync_op);
}

static void synced(struct ring_op *op, int32_t res, uint32_t flags) {
        struct file_image *image = CONTAINER_OF(op, struct file_image, sync_op);
        struct file_store *store = FILE_STORE(image->image.store);
        struct store_io_list covered = STAILQ_HEAD_INITIALIZER(covered);
        struct store_io *io;
        bool failed;

        if (res == -EINTR || res == -EAGAIN) {
                start_sync(image);
                return;
        }

        failed = res < 0 || image->sync_doubtful || store->epoch_unrecorded;
        image->sync_doubtful = false;
        image->sync_running = false;
        STAILQ_CONCAT(&covered, &image->syncing);
        /* Before the answers: they may be the last of those who hold the image. */
        if (!STAILQ_EMPTY(&image->to_sync))
                start_sync(image);

        while ((io = STAILQ_FIRST(&covered))) {
                STAILQ_REMOVE_HEAD(&covered, entry);
                if (failed)
                        fail_sync(io);
                else
                        io->done(io, 0);
        }
}

static void sync_image(struct store_io *io) {
        struct file_image *image = FILE_IMAGE(io->image);

        STAILQ_INSERT_TAIL(&image->to_sync, io, entry);
        if (!image->sync_running)
                start_sync(image);
}

/* --- reads, writes and holes --- */

static void submit_step(struct store_io *io) {
        struct file_image *image = FILE_IMAGE(io->image);
        struct file_store *store = FILE_STORE(image->image.store);
        struct io_uring_sqe *sqe = ring_get_sqe(store->how.ring);
        uint64_t offset = io->offset + io->progress, left = io->length - io->progress;
        int mode = FALLOC_FL_KEEP_SIZE;

        switch (io->kind) {
        case STORE_READ:
                io_uring_prep_read(
                        sqe, image->data_fd, (uint8_t *) io->buffer + io->progress, (unsigned) left, offset);
                break;

        case STORE_WRITE:
                io_uring_prep_write(
                        sqe, image->data_fd, (const uint8_t *) io->buffer + io->progress, (unsigned) left, offset);
                if (io->durable)
                        sqe->rw_flags = RWF_DSYNC;
                break;

        case STORE_TRIM:
        case STORE_WRITE_ZEROES:
                if (io->stage == STAGE_PIECES) {
                        io_uring_prep_write(sqe, image->data_fd, zeroes,
                                left < ZEROES_SIZE ? (unsigned) left : ZEROES_SIZE, offset);
                        break;
                }
                mode |= io->no_hole ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
                io_uring_prep_fallocate(sqe, image->data_fd, mode, (off_t) offset, (off_t) left);
                break;

        case STORE_FLUSH:
        default:
                abort();
        }

        ring_sqe_set_op(sqe, &io->op);
}

static void finish(struct store_io *io, int error) {
        struct file_image *image = FILE_IMAGE(io->image);

        error = normalise(error);

        if (io->kind == STORE_WRITE && io->durable && error < 0) {
                /* Too early to know whether the write or its sync has failed. A full disk is known from the write. */
                if (error == -ENOSPC) {
                        io->done(io, error);
                        return;
                }
                image->sync_doubtful = image->sync_running;
                fail_sync(io);
                return;
        }
        if (io->kind == STORE_WRITE_ZEROES && io->durable && error >= 0) {
                sync_image(io);
                return;
        }

        io->done(io, error);
}

static void stepped(struct ring_op *op, int32_t res, uint32_t flags) {
        struct store_io *io = IO(op);

        if (res == -EINTR || res == -EAGAIN) {
                submit_step(io);
                return;
        }

        if (io->kind == STORE_TRIM || (io->kind == STORE_WRITE_ZEROES && io->stage == STAGE_DATA)) {
                /* To forget data is a favour, which not every file system can do; zeroes are a promise. */
                if (res == -EOPNOTSUPP && io->kind == STORE_TRIM)
                        res = 0;
                if (res == -EOPNOTSUPP && io->kind == STORE_WRITE_ZEROES) {
                        io->stage = STAGE_PIECES;
                        submit_step(io);
                        return;
                }
                finish(io, res);
                return;
        }

        /* A read of nothing: the file is shorter than the image. */
        if (res == 0)
                res = -EIO;
        if (res < 0) {
                finish(io, res);
                return;
        }

        io->progress += (uint32_t) res;
        if (io->progress < io->length)
                submit_step(io);
        else
                finish(io, 0);
}

void store_file_submit(struct store_io *io) {
        io->progress = 0;
        io->stage = STAGE_DATA;
        io->op.done = stepped;

        if (io->kind == STORE_FLUSH)
                sync_image(io);
        else
                submit_step(io);
}

void store_file_io_init(struct file_store *store) {
        store->epoch_job = (struct job){ .run = raise_epoch, .done = epoch_raised };
        STAILQ_INIT(&store->failing);
        STAILQ_INIT(&store->failed);
}

void store_file_image_io_init(struct file_image *image) {
        image->sync_op.done = synced;
        STAILQ_INIT(&image->syncing);
        STAILQ_INIT(&image->to_sync);
}
