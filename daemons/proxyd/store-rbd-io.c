/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads and writes. All of them are librbd's to do, none blocks here. What is finished librbd tells by an eventfd, one for all images, which is read by the ring; then the images that have something in
 * hand are asked what it was.
 *
 * There is no cache, so what is acknowledged is on as many disks as the pool wants: a write needs nothing to be durable, and a flush has nothing to do. librbd is not even asked: it wants the exclusive
 * lock for a flush, and takes it for one who only reads, or, where it was given back a moment ago, fails as if somebody had broken it. TRIM is a discard, which RBD leaves out where it covers no whole
 * unit of its own: what was trimmed may read as before.
 *
 * A write that fails because this client was shut out of the cluster, or has lost its lock, is not answered at all. Another proxy has the image then, and the client has to go there; an error would reach
 * its file system instead. */

#include "store-rbd.h"

#define REAP_AT_ONCE 64
#define PIECE        (UINT64_C(256) * 1024U * 1024U) /* of a trim or of zeroes: so many objects at a time */

static uint64_t piece_of(const struct store_io *io) {
        uint64_t left = io->length - io->progress;

        return (io->kind == STORE_TRIM || io->kind == STORE_WRITE_ZEROES) && left > PIECE ? PIECE : left;
}

static int start(struct store_io *io) {
        struct rbd_image *image = RBD_IMAGE(io->image);
        uint64_t offset = io->offset + io->progress, length = piece_of(io);
        rbd_completion_t completion;
        int r;

        r = rbd_aio_create_completion(io, NULL, &completion);
        if (r < 0)
                return r;

        switch (io->kind) {
        case STORE_READ:
                r = rbd_aio_read(image->handle, offset, length, io->buffer, completion);
                break;
        case STORE_WRITE:
                r = rbd_aio_write(image->handle, offset, length, io->buffer, completion);
                break;
        case STORE_TRIM:
                r = rbd_aio_discard(image->handle, offset, length, completion);
                break;
        case STORE_WRITE_ZEROES:
                r = rbd_aio_write_zeroes(image->handle, offset, length, completion,
                        io->no_hole ? (int) RBD_WRITE_ZEROES_FLAG_THICK_PROVISION : 0, 0);
                break;
        case STORE_FLUSH: /* is not for librbd */
        default:
                r = -EINVAL;
        }
        if (r < 0)
                rbd_aio_release(completion);
        return r;
}

static void begin(struct rbd_store *store, struct store_io *io) {
        struct rbd_image *image = RBD_IMAGE(io->image);
        int r;

        r = io->kind == STORE_FLUSH ? 0 : start(io);
        if (r < 0 || io->kind == STORE_FLUSH) {
                io->result = r;
                STAILQ_INSERT_TAIL(&store->over, io, entry);
                ring_defer(store->how.ring, &store->tell);
                return;
        }
        if (image->n_ios++ == 0)
                TAILQ_INSERT_TAIL(&store->active, image, active_entry);
}

void store_rbd_submit(struct store_io *io) {
        io->progress = 0;
        begin(RBD_STORE(io->image->store), io);
}

static void finish(struct rbd_store *store, struct store_io *io) {
        const struct rbd_image *image = RBD_IMAGE(io->image);
        int error = io->result;

        if (error == -ESHUTDOWN || (error == -EROFS && io->kind != STORE_READ && !io->image->read_only)) {
                store_rbd_is_shut_out(store, image->name, error);
                return;
        }

        io->progress += piece_of(io);
        if (error >= 0 && io->kind != STORE_FLUSH && io->progress < io->length)
                begin(store, io);
        else
                io->done(io, error < 0 ? error : 0);
}

void store_rbd_tell_over(struct ring_deferred *deferred) {
        struct rbd_store *store = CONTAINER_OF(deferred, struct rbd_store, tell);
        struct store_io_list over = STAILQ_HEAD_INITIALIZER(over);
        struct store_io *io;

        STAILQ_CONCAT(&over, &store->over);
        while ((io = STAILQ_FIRST(&over))) {
                STAILQ_REMOVE_HEAD(&over, entry);
                finish(store, io);
        }
}

/* All are collected before the first is answered: whoever is answered may close his image. */
void store_rbd_reap(struct rbd_store *store) {
        struct store_io_list finished = STAILQ_HEAD_INITIALIZER(finished);
        struct rbd_image *image, *next;
        struct store_io *io;

        for (image = TAILQ_FIRST(&store->active); image; image = next) {
                rbd_completion_t completions[REAP_AT_ONCE];
                int n;

                next = TAILQ_NEXT(image, active_entry);
                do {
                        n = rbd_poll_io_events(image->handle, completions, REAP_AT_ONCE);
                        for (int i = 0; i < n; i++) {
                                io = rbd_aio_get_arg(completions[i]);
                                io->result = (int) rbd_aio_get_return_value(completions[i]);
                                rbd_aio_release(completions[i]);
                                STAILQ_INSERT_TAIL(&finished, io, entry);
                                image->n_ios--;
                        }
                } while (n == REAP_AT_ONCE);
                if (image->n_ios == 0)
                        TAILQ_REMOVE(&store->active, image, active_entry);
        }

        while ((io = STAILQ_FIRST(&finished))) {
                STAILQ_REMOVE_HEAD(&finished, entry);
                finish(store, io);
        }
}
