/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ring's side of images with checksums. A request that changes blocks waits until no other one that touches them is at work, and the other way round, in the order in which they came: data and sum of a block are written
 * one after the other, and nobody must look in between. An image has a bounded number of requests at the threads, so that one that is asked for much keeps others waiting for little. */

#include <fcntl.h>
#include <stdio.h>

#include "container-of.h"
#include "store-file-sums.h"
#include "store-file.h"
#include "sum-leaf.h"
#include "sums.h"

#define AT_WORK_MAX (2U * FILE_SUM_THREADS) /* of an image */

struct sum_op {
        struct job job;
        struct store_io *io;
        struct file_sums *sums;
        uint64_t first, last; /* blocks */
        unsigned thread;
        int result;
        uint64_t bad;
        TAILQ_ENTRY(sum_op) entry;
};
TAILQ_HEAD(sum_op_list, sum_op);

struct file_sums {
        struct file_image *image;
        struct sums *sums;
        int fd;
        struct sum_op_list at_work, waiting;
        unsigned n_at_work;

        /* One seal at a time. */
        struct job seal_job;
        unsigned seal_thread;
        bool sealing;
        int seal_result;
        void (*sealed)(void *userdata, int error);
        void *sealed_userdata;
};

static void complain(void *userdata, const char *message) {
        const struct file_image *image = userdata;

        FILE_STORE(image->image.store)->how.complain(image->name, message);
}

/* --- threads --- */

/* All of them with the first request; fewer where there can be no more. Returns a negative errno only where there is none at all. */
static int make_threads(struct file_store *store) {
        int r = 0;

        for (unsigned i = 0; i < FILE_SUM_THREADS && r >= 0; i++)
                if (!store->sum_threads[i])
                        r = jobs_new(store->sum_threads + i, store->how.ring, "checksums", 0);
        return store->sum_threads[0] ? 0 : r;
}

/* The one with the least to do. */
static unsigned choose_thread(const struct file_store *store) {
        unsigned best = 0;

        for (unsigned i = 1; i < FILE_SUM_THREADS && store->sum_threads[i]; i++)
                if (store->sum_load[i] < store->sum_load[best])
                        best = i;
        return best;
}

static int run_on_thread(struct file_store *store, struct job *job, unsigned *ret_thread) {
        int r;

        r = store->sum_threads[0] ? 0 : make_threads(store);
        if (r < 0)
                return r;
        *ret_thread = choose_thread(store);
        store->sum_load[*ret_thread]++;
        jobs_submit_reserved(store->sum_threads[*ret_thread], job);
        return 0;
}

void store_file_sums_stop(struct file_store *store) {
        for (unsigned i = 0; i < FILE_SUM_THREADS; i++)
                store->sum_threads[i] = jobs_free(store->sum_threads[i]);
}

/* --- requests --- */

static bool conflicts(const struct sum_op *a, const struct sum_op *b) {
        return (a->io->kind != STORE_READ || b->io->kind != STORE_READ) && a->first <= b->last && b->first <= a->last;
}

/* Whether op has to wait for one of the list, up to itself. */
static bool is_blocked(const struct sum_op *op, const struct sum_op_list *list) {
        const struct sum_op *other;

        TAILQ_FOREACH(other, list, entry) {
                if (other == op)
                        return false;
                if (conflicts(op, other))
                        return true;
        }
        return false;
}

static void run(struct job *job) {
        struct sum_op *op = CONTAINER_OF(job, struct sum_op, job);
        struct sums *sums = op->sums->sums;
        const struct store_io *io = op->io;

        if (io->kind == STORE_READ)
                op->result = sums_read(sums, io->buffer, io->offset, io->length, &op->bad);
        else if (io->kind == STORE_WRITE)
                op->result = sums_write(sums, io->buffer, io->offset, io->length, &op->bad);
        else
                op->result = sums_zero(sums, io->offset, io->length, io->kind == STORE_TRIM, io->no_hole, &op->bad);
}

static void start_some(struct file_sums *sums);

static void ran(struct job *job) {
        struct sum_op *op = CONTAINER_OF(job, struct sum_op, job);
        struct file_sums *sums = op->sums;
        struct store_io *io = op->io;
        int result = op->result;

        FILE_STORE(sums->image->image.store)->sum_load[op->thread]--;
        TAILQ_REMOVE(&sums->at_work, op, entry);
        sums->n_at_work--;
        io->progress = op->bad;
        free(op);
        start_some(sums);
        /* Last: it may have been what keeps the image open. */
        store_file_finish(io, result);
}

static void start_some(struct file_sums *sums) {
        struct file_store *store = FILE_STORE(sums->image->image.store);
        struct sum_op *op, *next;

        for (op = TAILQ_FIRST(&sums->waiting); op && sums->n_at_work < AT_WORK_MAX; op = next) {
                next = TAILQ_NEXT(op, entry);
                if (is_blocked(op, &sums->at_work) || is_blocked(op, &sums->waiting))
                        continue;
                op->job = (struct job){ .run = run, .done = ran };
                if (run_on_thread(store, &op->job, &op->thread) < 0)
                        return; /* there was one when it was accepted */
                TAILQ_REMOVE(&sums->waiting, op, entry);
                TAILQ_INSERT_TAIL(&sums->at_work, op, entry);
                sums->n_at_work++;
        }
}

/* Never within submit(). */
static void refused(struct ring_op *op, int32_t res, uint32_t flags) {
        struct store_io *io = CONTAINER_OF(op, struct store_io, op);

        io->done(io, -EAGAIN);
}

void store_file_sums_submit(struct store_io *io) {
        struct file_image *image = FILE_IMAGE(io->image);
        struct file_store *store = FILE_STORE(image->image.store);
        struct io_uring_sqe *sqe;
        struct sum_op *op;

        op = malloc(sizeof(*op));
        if (!op || (!store->sum_threads[0] && make_threads(store) < 0)) {
                free(op);
                sqe = ring_get_sqe(store->how.ring);
                io_uring_prep_nop(sqe);
                io->op.done = refused;
                ring_sqe_set_op(sqe, &io->op);
                return;
        }

        *op = (struct sum_op){
                .io = io,
                .sums = image->sums,
                .first = io->offset / SUM_BLOCK_SIZE,
                .last = (io->offset + io->length - 1) / SUM_BLOCK_SIZE,
        };
        TAILQ_INSERT_TAIL(&image->sums->waiting, op, entry);
        start_some(image->sums);
}

/* --- flushes --- */

void store_file_sums_sync_begins(struct file_sums *sums) {
        sums_sync_begins(sums->sums);
}

static void run_seal(struct job *job) {
        struct file_sums *sums = CONTAINER_OF(job, struct file_sums, seal_job);

        sums->seal_result = sums_seal(sums->sums);
}

static void sealed(struct job *job) {
        struct file_sums *sums = CONTAINER_OF(job, struct file_sums, seal_job);

        FILE_STORE(sums->image->image.store)->sum_load[sums->seal_thread]--;
        sums->sealing = false;
        sums->sealed(sums->sealed_userdata, sums->seal_result);
}

void store_file_sums_seal(struct file_sums *sums, void (*done)(void *userdata, int error), void *userdata) {
        sums->sealed = done;
        sums->sealed_userdata = userdata;
        sums->sealing = true;
        sums->seal_job = (struct job){ .run = run_seal, .done = sealed };
        /* Without a thread nothing has been changed. */
        if (run_on_thread(FILE_STORE(sums->image->image.store), &sums->seal_job, &sums->seal_thread) < 0) {
                sums->sealing = false;
                done(userdata, 0);
        }
}

void store_file_sums_let_go(struct file_sums *sums) {
        sums_forget(sums->sums);
}

/* --- sizes --- */

int store_file_sums_expect_cut(struct file_sums *sums, uint64_t size) {
        return sums_expect_cut(sums->sums, size);
}

int store_file_sums_cut(struct file_sums *sums, uint64_t size) {
        return sums_cut(sums->sums, size);
}

int store_file_sums_was_cut(struct file_sums *sums, uint64_t size) {
        return sums_was_cut(sums->sums, size);
}

/* --- life --- */

int store_file_sums_open(struct file_image *image) {
        struct file_store *store = FILE_STORE(image->image.store);
        _cleanup_close_ int fd = -EBADF;
        struct file_sums *sums;
        int r;

        fd = openat(
                image->directory_fd, SUMS_NAME, (image->image.read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return -errno;

        sums = calloc(1, sizeof(*sums));
        if (!sums)
                return -ENOMEM;
        r = fd < 0 ? -EUCLEAN : sums_new(&sums->sums, image->data_fd, fd, complain, image);
        if (r < 0) {
                if (r == -EUCLEAN)
                        store->how.complain(image->name,
                                "Its record says that it has checksums, but the file \"" SUMS_NAME
                                "\" beside its data is missing or none. Restore that file; or, to go on without "
                                "checksums, take \"checksums\" out of the record");
                free(sums);
                return r;
        }
        TAILQ_INIT(&sums->at_work);
        TAILQ_INIT(&sums->waiting);
        sums->image = image;
        sums->fd = TAKE_FD(fd);
        image->sums = sums;
        return 0;
}

struct file_sums *store_file_sums_close(struct file_sums *sums) {
        struct sum_op *op;

        if (!sums)
                return NULL;

        /* Only when the process ends in a hurry; the ring is gone by then. */
        if (sums->n_at_work > 0 || sums->sealing)
                store_file_sums_stop(FILE_STORE(sums->image->image.store));
        while ((op = TAILQ_FIRST(&sums->at_work))) {
                TAILQ_REMOVE(&sums->at_work, op, entry);
                free(op);
        }
        while ((op = TAILQ_FIRST(&sums->waiting))) {
                TAILQ_REMOVE(&sums->waiting, op, entry);
                free(op);
        }
        sums_free(sums->sums);
        safe_close(sums->fd);
        free(sums);
        return NULL;
}

int store_file_sums_add(int directory_fd) {
        _cleanup_close_ int fd = -EBADF, data_fd = -EBADF;
        int r;

        data_fd = openat(directory_fd, "data", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (data_fd < 0)
                return -errno;
        /* What a try before this one has left. */
        fd = openat(directory_fd, SUMS_NAME, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = sums_file_make(fd);
        if (r >= 0)
                r = sums_file_settle(data_fd, fd, true);
        if (r >= 0 && fsync(directory_fd) < 0)
                r = -errno;
        return r;
}
