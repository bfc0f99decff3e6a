/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image's bytes. One open file description serves all sessions of an image, for reads and writes; what makes them durable is store-file-sync.c's, and what can be
 * read or written without waiting store-file-at-once.c's, and what has checksums store-file-sums.c's. All else is the ring's. */

#include <fcntl.h>
#include <string.h>

#include "container-of.h"
#include "fault-point.h"
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

void store_file_hand_to_ring(struct store_io *io) {
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

void store_file_finish(struct store_io *io, int error) {
        if (io->kind == STORE_WRITE)
                fault_point("write-done");

        if (io->durable && error >= 0)
                store_file_sync(io);
        else
                io->done(io, normalise(error));
}

bool store_file_progress(struct store_io *io, int64_t res) {
        /* A read of nothing: the file is shorter than the image. */
        if (res == 0)
                res = -EIO;
        if (res < 0) {
                store_file_finish(io, (int) res);
                return true;
        }

        io->progress += (uint64_t) res;
        if (io->progress < io->length)
                return false;
        store_file_finish(io, 0);
        return true;
}

static void stepped(struct ring_op *op, int32_t res, uint32_t flags) {
        struct store_io *io = IO(op);

        if (res == -EINTR || res == -EAGAIN) {
                store_file_hand_to_ring(io);
                return;
        }

        if (io->kind == STORE_TRIM || (io->kind == STORE_WRITE_ZEROES && io->stage == STAGE_DATA)) {
                /* To forget data is a favour, which not every file system can do; zeroes are a promise. */
                if (res == -EOPNOTSUPP && io->kind == STORE_TRIM)
                        res = 0;
                if (res == -EOPNOTSUPP && io->kind == STORE_WRITE_ZEROES) {
                        io->stage = STAGE_PIECES;
                        store_file_hand_to_ring(io);
                        return;
                }
                store_file_finish(io, res);
                return;
        }

        if (!store_file_progress(io, res))
                store_file_hand_to_ring(io);
}

void store_file_submit(struct store_io *io) {
        io->progress = 0;
        io->stage = STAGE_DATA;
        io->op.done = stepped;

        if (io->kind == STORE_FLUSH)
                store_file_sync(io);
        else if (FILE_IMAGE(io->image)->sums)
                store_file_sums_submit(io);
        else if (!store_file_at_once(io))
                store_file_hand_to_ring(io);
}
