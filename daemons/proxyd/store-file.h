/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the file store share; nobody else includes this. */

#include <pthread.h>
#include <stdatomic.h>

#include "store-file-record.h"
#include "store-file-sums.h"
#include "store.h"

TAILQ_HEAD(file_image_list, file_image);
STAILQ_HEAD(file_image_queue, file_image);

#define FILE_SUM_THREADS 8U

struct file_store {
        struct store store;
        struct store_how how;
        char *path;
        int fd, images_fd, proxies_fd;
        sd_id128_t uuid, boot_id;
        uint64_t mount_instance;
        _Atomic uint64_t error_epoch; /* only grows; raised on the ring's thread, read anew on the store's */

        /* See store-file-check.c; lost is the store thread's. */
        struct job check_job;
        struct ring_timer check_timer;
        bool lost;

        /* See store-file-watch.c. */
        pthread_mutex_t mutex;
        struct file_image_list images;
        int watch_fd;
        struct ring_op watch_op;
        uint8_t watch_buffer[4096];

        /* Raising the error epoch, see store-file-epoch.c. */
        struct job epoch_job;
        bool raising;                         /* the job is under way */
        bool epoch_unrecorded;                /* the last try could not be stored */
        int epoch_result;                     /* of the job */
        uint64_t epoch_raised;                /* to what */
        struct store_io_list failing, failed; /* answered by the job at work; by the next one */

        /* See store-file-at-once.c. */
        struct file_image_queue at_once; /* that have something to be done */
        struct ring_deferred at_once_work;
        struct ring_op at_once_op;
        bool at_once_goes_on;  /* at_once_op is in the ring */
        uint64_t at_once_usec; /* the step of the ring ... */
        size_t at_once_spent;  /* ... and the bytes done in it */

        /* See store-file-sums.c; NULL: not made yet. */
        struct jobs *sum_threads[FILE_SUM_THREADS];
        unsigned sum_load[FILE_SUM_THREADS];
};

/* Gathered syncs of an image, see store-file-sync.c. */
struct file_sync {
        struct file_store *store;
        struct ring_op op;
        struct file_sums *sums; /* NULL: there are none */
        int fd;
        bool running;
        uint64_t from, to;                     /* bytes that the one under way covers */
        struct store_io_list covered, waiting; /* by the one under way; for the next one */
};

struct file_image {
        struct store_image image;
        char *name; /* IMAGE@SNAPSHOT for a snapshot */
        char *path; /* in the directory of images */
        int directory_fd, data_fd;
        struct store_size size;     /* under the store's mutex */
        struct store_limits limits; /* ... too */
        int watch;
        bool listed;
        bool holder_damaged; /* which has been told */
        TAILQ_ENTRY(file_image) entry;
        struct file_sync flushes, durable_writes;
        struct file_sums *sums; /* NULL: it has no checksums */

        /* See store-file-at-once.c. */
        struct store_io_list at_once; /* in the store's queue when not empty */
        STAILQ_ENTRY(file_image) at_once_entry;
        bool in_memory; /* the file system has no disk */
        bool reads_at_once, writes_at_once;
};

static inline struct file_store *FILE_STORE(struct store *store) {
        return (struct file_store *) store;
}

static inline struct file_image *FILE_IMAGE(struct store_image *image) {
        return (struct file_image *) image;
}

/* store-file-io.c. hand_to_ring: what is left of io, or its first part, is the ring's. progress: a read or write of io has come to res, bytes or a negative errno; returns
 * whether that was the end of io, which is done() then, and its image perhaps closed. finish: io has come to its end, but for what makes it durable. */
void store_file_submit(struct store_io *io);
void store_file_hand_to_ring(struct store_io *io);
bool store_file_progress(struct store_io *io, int64_t res);
void store_file_finish(struct store_io *io, int error);

/* store-file-at-once.c. Open needs data_fd, and returns 0 or a negative errno. at_once: takes io, unless it is false. */
void store_file_at_once_init(struct file_store *store);
int store_file_at_once_open(struct file_image *image);
bool store_file_at_once(struct store_io *io);

/* store-file-sync.c. Open needs data_fd, and returns 0 or a negative errno: -ESTALE, the name leads to another file. */
void store_file_sync_init(struct file_image *image);
int store_file_sync_open(struct file_image *image);
void store_file_sync_close(struct file_image *image);
/* What io has written, or for a flush everything, becomes durable; then done(). */
void store_file_sync(struct store_io *io);

/* store-file-epoch.c */
void store_file_epoch_init(struct file_store *store);
/* The sync that was to cover io is over: notes a failure before it is answered. On the ring's thread. */
void store_file_sync_ended(struct store_io *io, int error);
/* What the store's record says: another proxy may have raised it. On any thread. */
void store_file_epoch_is(struct file_store *store, uint64_t epoch);

/* store-file-key.c */
int store_file_get_key(struct store *store, uint8_t ret[static STORE_KEY_SIZE]);

/* store-file-mount.c. 0: not known. */
uint64_t store_file_mount_instance(int fd);

/* store-file-create.c: what changes the directory of images. */
int store_file_create(struct store *store, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid);
int store_file_add_checksums(struct store *store, const char *name);
int store_file_remove(struct store *store, const char *name, sd_id128_t uuid, bool snapshots_too);
int store_file_rename(struct store *store, const char *name, sd_id128_t uuid, const char *new_name);
/* Writes the record of a new image or snapshot, and what else stands beside its data. */
int store_file_write_new_record(int directory_fd, const struct image_record *record);

/* store-file-hidden.c: what is being built, or deleted, under a name that nobody else looks at.
 * name: ".WHAT-RANDOM". */
#define HIDDEN_NAME_SIZE 32U
#define HIDDEN_ROLL_BACK "roll-back"
#define SNAPSHOTS_NAME   "snapshots"
int store_file_hidden_name(const char *what, char ret[static HIDDEN_NAME_SIZE]);
/* That of the checksums of hidden data. */
void store_file_sums_name(const char *data, char ret[static HIDDEN_NAME_SIZE]);
/* A descriptor of its own for a directory, locked for changes; the lock ends with it. image: as store_file_lock_image(), or NULL for the directory of images. */
int store_file_lock_images(struct file_store *store, int *ret_fd);
/* Files, and directories of files of directories. */
int store_file_delete_tree(int parent_fd, const char *name);
/* Removes what a crash left behind, and ends what it interrupted. */
int store_file_sweep(struct file_store *store);

/* store-file-intent.c: a change of an image that takes several steps. Write: it is going to be done, whatever happens, and is done. All under the lock of the image's directory. */
int store_file_roll_back_now(
        struct file_store *store, int directory_fd, const char *name, const char *data, uint64_t size);
/* Locks the directory of an image, and ends what a crash has interrupted there. Returns 0 or a negative errno. */
int store_file_lock_image(struct file_store *store, int fd, int operation, const char *name);
/* Opens it besides. */
int store_file_open_and_lock_image(struct file_store *store, const char *name, int operation, int *ret_fd);

/* store-file-snapshot.c */
int store_file_list_snapshots(struct store *store, const char *name, const char *after, size_t max,
        struct store_listed_snapshot **ret, size_t *ret_n, bool *ret_more);
int store_file_remove_snapshot(struct store *store, const char *name, const char *snapshot, sd_id128_t uuid);
/* The directory of a snapshot; directory_fd: the image's. */
int store_file_open_snapshot(int directory_fd, const char *snapshot);
/* -EBUSY: somebody has the image, or a snapshot of it, open. *ret_n: how many snapshots there are. */
int store_file_check_unused(int directory_fd, size_t *ret_n_snapshots);

/* store-file-copy.c */
int store_file_copy_begin(struct store *store, const struct store_copy_how *how, struct store_copy **ret);
int store_file_copy_prepare(struct store_copy *copy);
int store_file_copy_whole(struct store_copy *copy);
int store_file_copy_piece(struct store_copy *copy, uint64_t offset, uint64_t length, uint64_t *ret_next);
int store_file_copy_sync(struct store_copy *copy);
int store_file_copy_commit(struct store_copy *copy, sd_id128_t *ret_uuid);
struct store_copy *store_file_copy_free(struct store_copy *copy);

/* store-file-hold.c. check_current: whether the image's name still leads to what is open; 0, -ESTALE, or another negative errno. */
int store_file_hold(struct store_image *image, const struct store_holder *self, struct store_holder *ret_other);
void store_file_let_go(struct store_image *image);
int store_file_look_at_holder(struct store_image *image, struct store_holder *ret);
int store_file_check_current(struct file_image *image);
/* Whether any process has the data in that directory open, which the caller has locked, or holds it. Returns 0, 1 or a negative errno. */
int store_file_is_open(int directory_fd);
/* What makes that known: a shared lock on the description, for as long as it is open. */
int store_file_mark_open(int data_fd);

/* store-file-lock.c. As flock(), without end neither for a process that was stopped nor for one that hangs. image: whose record it is about, or NULL. Returns 0, -ETIMEDOUT or another negative
 * errno. */
int store_file_lock(struct file_store *store, int fd, int operation, const char *image);

/* store-file-check.c. check: whether the store is still what was opened, on the store's thread; takes over a higher error epoch. 0, -ENODEV (which has been
 * complained about) or another negative errno. start: does so at intervals. */
int store_file_check(struct file_store *store);
void store_file_check_start(struct file_store *store);
/* Inode number and birth (nanoseconds since the epoch, 0 where the file system knows none). Returns 0 or a negative errno. */
int store_file_look_at_directory(int fd, uint64_t *ret_inode, uint64_t *ret_born_nsec);

/* store-file-watch.c. Start returns 0 or a negative errno. */
int store_file_watch_start(struct file_store *store);
void store_file_watch(struct file_image *image);
void store_file_unwatch(struct file_image *image);

/* store-file-size.c. is: what the record says, on the store's thread. */
void store_file_size_is(struct file_image *image, const struct image_record *record);
void store_file_get_size(struct store_image *image, struct store_size *ret);
int store_file_resize(
        struct store_image *image, uint64_t size, store_size_check_t check, void *userdata, struct lease *ret_lease);

/* store-file-care.c */
int store_file_look_at_care(struct store *store, const char *name, struct store_care *ret);
int store_file_set_limits(struct store *store, const char *name, sd_id128_t uuid, const struct store_limits *limits);
void store_file_get_limits(struct store_image *image, struct store_limits *ret);

/* store-file-scrub.c. report: of the last one, in its image's directory; damage is taken for none. */
int store_file_scrub_begin(struct store *store, const char *name, sd_id128_t uuid, struct store_scrub **ret);
int store_file_scrub_piece(struct store_scrub *scrub, uint64_t offset, uint64_t *ret_next);
struct store_scrub *store_file_scrub_end(struct store_scrub *scrub, int error);
void store_file_scrub_report(int directory_fd, struct store_scrub_report *ret);

/* store-file-image.c */
/* Locks the image's record and loads it; the lock ends with *ret_fd. Errors as store_ops.change_lease(). */
int store_file_lock_record(struct file_image *image, int *ret_fd, struct image_record *ret);
int store_file_open_image(struct store *store, const char *name, struct store_image **ret);
struct store_image *store_file_close_image(struct store_image *image);
int store_file_change_lease(
        struct store_image *image, store_lease_change_t change, void *userdata, struct lease *ret_lease);
/* Loads a record that another proxy may be replacing, and complains when it is damaged (-EUCLEAN). */
int store_file_load_record(struct file_store *store, int directory_fd, const char *name, struct image_record *ret);

/* store-file-list.c */
int store_file_list(struct store *store, const char *after, store_filter_t filter, void *userdata, size_t max,
        struct store_listed **ret, size_t *ret_n, bool *ret_more);
