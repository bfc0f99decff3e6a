/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store's error epoch. After a failed sync nobody knows what is on the disk. Before that is answered to anybody the epoch is raised and stored, so that a
 * client that believes in an older one finds out, even when this proxy dies now. If it cannot be stored, each later sync fails, too, until it can.
 *
 * A sync that succeeds while another's failure is being noted is answered behind it, under the new epoch: under the old one its answer would cover what the failed
 * one has lost. Proxies share the store and its epoch: whoever takes an image over reads it anew, and learns what the holder before it has met. */

#include <fcntl.h>
#include <sys/file.h>

#include "container-of.h"
#include "fault-point.h"
#include "store-file.h"

void store_file_epoch_is(struct file_store *store, uint64_t epoch) {
        uint64_t known = atomic_load(&store->error_epoch);

        while (known < epoch && !atomic_compare_exchange_weak(&store->error_epoch, &known, epoch))
                ;
}

/* A descriptor of its own, so that the lock ends with it. */
static int lock_record(struct file_store *store, int operation, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = store_file_lock(store, fd, operation, NULL);
        if (r < 0)
                return r;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

static void raise_epoch(struct job *job) {
        struct file_store *store = CONTAINER_OF(job, struct file_store, epoch_job);
        uint64_t known = atomic_load(&store->error_epoch);
        _cleanup_free_ char *message = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct store_record record = {};
        int r;

        store->epoch_raised = known;
        store->epoch_result = 0;
        if (rule_is_off("error-epoch"))
                return;

        r = lock_record(store, LOCK_EX, &fd);
        if (r >= 0)
                r = store_record_load(fd, store->path, &record, &message);
        if (r >= 0) {
                /* We may be ahead of the record, by what could not be stored. */
                record.error_epoch = (record.error_epoch > known ? record.error_epoch : known) + 1;
                r = store_record_save(fd, &record);
        }
        if (r >= 0)
                fault_point("epoch-raised");

        store->epoch_result = r;
        store->epoch_raised = r < 0 ? known + 1 : record.error_epoch;
}

static void start_raising(struct file_store *store) {
        STAILQ_CONCAT(&store->failing, &store->failed);
        store->raising = true;
        jobs_submit_reserved(store->how.jobs, &store->epoch_job);
}

static void epoch_raised(struct job *job) {
        struct file_store *store = CONTAINER_OF(job, struct file_store, epoch_job);
        struct store_io_list answered = STAILQ_HEAD_INITIALIZER(answered);
        int result = store->epoch_result;
        struct store_io *io;

        store_file_epoch_is(store, store->epoch_raised);
        if (result < 0 && !store->epoch_unrecorded)
                store->how.complain(NULL, "A failed sync could not be noted in the store's record: flushes fail until "
                                          "it can. Check the disk");
        store->epoch_unrecorded = result < 0;

        STAILQ_CONCAT(&answered, &store->failing);
        store->raising = false;
        if (!STAILQ_EMPTY(&store->failed))
                start_raising(store);

        while ((io = STAILQ_FIRST(&answered))) {
                STAILQ_REMOVE_HEAD(&answered, entry);
                io->done(io, result < 0 ? -EIO : io->result);
        }
}

void store_file_sync_ended(struct store_io *io, int error) {
        struct file_store *store = FILE_STORE(io->image->store);

        io->result = error < 0 || store->epoch_unrecorded ? -EIO : 0;
        if (io->result >= 0 && !store->raising) {
                io->done(io, 0);
                return;
        }

        /* Behind the failure that is being noted, or behind the one that waits for that. */
        if (io->result >= 0 && STAILQ_EMPTY(&store->failed)) {
                STAILQ_INSERT_TAIL(&store->failing, io, entry);
                return;
        }
        STAILQ_INSERT_TAIL(&store->failed, io, entry);
        if (!store->raising)
                start_raising(store);
}

void store_file_epoch_init(struct file_store *store) {
        store->epoch_job = (struct job){ .run = raise_epoch, .done = epoch_raised };
        STAILQ_INIT(&store->failing);
        STAILQ_INIT(&store->failed);
}
