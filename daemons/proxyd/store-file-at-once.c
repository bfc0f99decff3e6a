/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What need not wait is done at once, on the ring's thread: a read of what is in the page cache takes less time than handing it to somebody. Who must not wait is
 * every other client of the proxy, so nothing is done here that can wait for a disk:
 *
 * - on a file system of its own data (ext4, XFS, btrfs) each try carries RWF_NOWAIT, and what would have to wait (EAGAIN) goes to the ring. Whether a file system
 *   can promise that for reads and for buffered writes is learned from its first refusal (EOPNOTSUPP): ext4 does for reads only.
 * - tmpfs, which keeps its data in memory, makes no such promise, and plain system calls are used. The exception is a page that was swapped out: then all clients wait for the
 *   swap device, some 0.1 ms with an SSD. That is accepted: whoever keeps a store in memory and lets it be swapped has chosen that, and the other way cost every
 *   request more than half of its time.
 *
 * Nothing of this is done within submit(), but in a turn of its own behind the input of all clients, so that the answers of a turn leave together. A turn has a bound;
 * within it the images take turns in pieces, so that somebody who reads megabytes keeps somebody who reads a block waiting for a piece, not for his queue. What is
 * left when the bound is reached goes on behind whatever else has come to the ring meanwhile.
 *
 * A write in such pieces is one write for everybody who waits for writes to end: it counts until its last piece, and a process that is killed before writes no more. */

#include <assert.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "container-of.h"
#include "store-file.h"

#define TURN_BYTES  (512U * 1024U) /* about 0.1 ms of copying */
#define PIECE_BYTES (128U * 1024U) /* of one image, before the next */
#define LEAST_BYTES 4096U          /* what the smallest request counts for */

static void run(struct ring_deferred *deferred);

static void go_on(struct ring_op *op, int32_t res, uint32_t flags) {
        struct file_store *store = CONTAINER_OF(op, struct file_store, at_once_op);

        store->at_once_goes_on = false;
        ring_defer(store->how.ring, &store->at_once_work);
}

void store_file_at_once_init(struct file_store *store) {
        store->at_once_work.run = run;
        store->at_once_op.done = go_on;
        STAILQ_INIT(&store->at_once);
}

int store_file_at_once_open(struct file_image *image) {
        struct statfs fs;

        if (fstatfs(image->data_fd, &fs) < 0)
                return -errno;

        STAILQ_INIT(&image->at_once);
        image->in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
        image->reads_at_once = image->writes_at_once = true;
        return 0;
}

static bool *ability(struct file_image *image, enum store_io_kind kind) {
        return kind == STORE_READ ? &image->reads_at_once : &image->writes_at_once;
}

bool store_file_at_once(struct store_io *io) {
        struct file_image *image = FILE_IMAGE(io->image);
        struct file_store *store = FILE_STORE(image->image.store);

        if ((io->kind != STORE_READ && io->kind != STORE_WRITE) || !*ability(image, io->kind))
                return false;

        if (STAILQ_EMPTY(&image->at_once))
                STAILQ_INSERT_TAIL(&store->at_once, image, at_once_entry);
        STAILQ_INSERT_TAIL(&image->at_once, io, entry);
        if (!store->at_once_goes_on)
                ring_defer(store->how.ring, &store->at_once_work);
        return true;
}

/* Returns how many bytes, or a negative errno. */
static ssize_t try_some(const struct file_image *image, const struct store_io *io, size_t length) {
        const struct iovec iov = { .iov_base = (uint8_t *) io->buffer + io->progress, .iov_len = length };
        off_t offset = (off_t) (io->offset + io->progress);
        ssize_t n;

        if (image->in_memory)
                n = io->kind == STORE_READ ? pread(image->data_fd, iov.iov_base, length, offset)
                                           : pwrite(image->data_fd, iov.iov_base, length, offset);
        else
                n = io->kind == STORE_READ ? preadv2(image->data_fd, &iov, 1, offset, RWF_NOWAIT)
                                           : pwritev2(image->data_fd, &iov, 1, offset, RWF_NOWAIT);
        return n < 0 ? -errno : n;
}

/* The next piece of the image that is first. Returns what it counts for. */
static size_t take_turn(struct file_store *store) {
        struct file_image *image = STAILQ_FIRST(&store->at_once);
        size_t spent = 0;
        bool more;

        STAILQ_REMOVE_HEAD(&store->at_once, at_once_entry);
        do {
                struct store_io *io = STAILQ_FIRST(&image->at_once);
                uint64_t left = io->length - io->progress;
                size_t length = left < PIECE_BYTES - spent ? (size_t) left : PIECE_BYTES - spent;
                ssize_t n = try_some(image, io, length);

                spent += length < LEAST_BYTES ? LEAST_BYTES : length;
                if (n == (ssize_t) length && length < left) {
                        io->progress += length;
                        more = true;
                        break;
                }

                /* Before it is over: the image may go with the last. */
                STAILQ_REMOVE_HEAD(&image->at_once, entry);
                more = !STAILQ_EMPTY(&image->at_once);
                if (n == -EOPNOTSUPP)
                        *ability(image, io->kind) = false;
                if (n == -EAGAIN || n == -EOPNOTSUPP || n == -EINTR || !store_file_progress(io, n))
                        store_file_hand_to_ring(io);
        } while (more && spent < PIECE_BYTES);

        if (more)
                STAILQ_INSERT_TAIL(&store->at_once, image, at_once_entry);
        return spent;
}

static void run(struct ring_deferred *deferred) {
        struct file_store *store = CONTAINER_OF(deferred, struct file_store, at_once_work);
        struct io_uring_sqe *sqe;

        /* The clock is read once a step: this is the first run in it, or one more. */
        if (store->at_once_usec != ring_now_usec(store->how.ring)) {
                store->at_once_usec = ring_now_usec(store->how.ring);
                store->at_once_spent = 0;
        }

        while (!STAILQ_EMPTY(&store->at_once) && store->at_once_spent < TURN_BYTES)
                store->at_once_spent += take_turn(store);

        if (STAILQ_EMPTY(&store->at_once) || store->at_once_goes_on)
                return;
        sqe = ring_get_sqe(store->how.ring);
        io_uring_prep_nop(sqe);
        ring_sqe_set_op(sqe, &store->at_once_op);
        store->at_once_goes_on = true;
}
