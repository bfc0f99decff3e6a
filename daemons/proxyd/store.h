/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where images are kept. A store has two faces: a few operations on images as things, which block and are called on
 * one thread of their own, never two at a time; and reads and writes of an image's bytes, which are called on the
 * ring's thread and never block. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <systemd/sd-id128.h>

#include "ivbs.h"
#include "jobs.h"
#include "lease.h"
#include "ring.h"

struct store;

/* One image that is open. Its implementation holds more. */
struct store_image {
        struct store *store;
        sd_id128_t uuid;
        uint32_t block_size; /* preferred, bytes: a power of two, 512 - 65536 */
        bool read_only;      /* a snapshot: never held, never leased */
};

enum store_io_kind {
        STORE_READ,
        STORE_WRITE,
        STORE_FLUSH, /* all that was written to the image before is durable; offset and length are not looked at */
        STORE_TRIM,
        STORE_WRITE_ZEROES,
};

/* One read, write ... of an image. The caller fills the first part and keeps it in place until done(). */
struct store_io {
        struct store_image *image;
        void (*done)(struct store_io *io,
                int error); /* 0, -ENOSPC, -EAGAIN (not executed), -EBADMSG (damaged: progress is the offset of the block in the image; nothing was changed), or another negative errno; on the ring's thread, never within submit() */
        void *buffer;       /* length bytes, of READ and WRITE */
        uint64_t offset, length; /* within the image, length > 0 */
        enum store_io_kind kind;
        bool durable; /* WRITE and WRITE_ZEROES: on stable storage when done */
        bool no_hole; /* WRITE_ZEROES: leave the space allocated */

        /* the implementation's */
        struct ring_op op;
        uint64_t progress;
        unsigned stage;
        int result;
        STAILQ_ENTRY(store_io) entry;
};
STAILQ_HEAD(store_io_list, store_io);

/* How large an image is, and which of its sizes that is. */
struct store_size {
        uint64_t bytes;
        uint64_t epoch; /* one higher with each change; 0: it has the size that it was made with */
};

/* What an image may be used for, by all who have it attached at one proxy. */
struct store_limits {
        uint64_t iops;       /* requests a second; 0: no limit */
        uint64_t bandwidth;  /* bytes a second, read and written; 0: no limit */
        uint64_t burst_usec; /* what was not used for so long may be used at once, besides */
};

enum store_scrub_state {
        STORE_SCRUB_NEVER,
        STORE_SCRUB_RUNNING,
        STORE_SCRUB_DONE,
        STORE_SCRUB_FAILED,
        STORE_SCRUB_CANCELLED,
        _STORE_SCRUB_STATE_MAX,
};

/* The scrub of an image that is running, or the last one. */
#define STORE_SCRUB_OFFSETS 8U
struct store_scrub_report {
        enum store_scrub_state state;
        uint64_t began_usec, updated_usec; /* CLOCK_REALTIME; one that runs is updated now and then */
        uint64_t done, size;               /* bytes of the image */
        uint64_t damaged, unknown; /* blocks of 4 KiB: do not agree with their checksum; need not, at present */
        uint64_t offsets[STORE_SCRUB_OFFSETS]; /* of the first that are damaged */
        size_t n_offsets;
};

struct store_care {
        bool checksums;
        struct store_limits limits;
        struct store_scrub_report scrub;
};

/* A scrub under way. */
#define STORE_SCRUB_TOLD 16U
struct store_scrub {
        struct store *store;
        uint64_t size;                      /* bytes */
        uint64_t damaged[STORE_SCRUB_TOLD]; /* offsets that the last piece has found, at most so many */
        size_t n_damaged;
        struct store_scrub_report report;
};

struct store_listed {
        char name[IVBS_IMAGE_NAME_SIZE];
        sd_id128_t uuid;
        uint64_t size, used; /* bytes */
        bool leased;
};

struct store_listed_snapshot {
        char name[IVBS_IMAGE_NAME_SIZE];
        sd_id128_t uuid;
        uint64_t size, used; /* bytes */
        uint64_t created_usec;
        bool open; /* by any proxy */
};

/* Another set of the bytes of an image or of a snapshot, in the making. Nothing of it is to be seen before its commit, and what is freed before that has never been. */
enum store_copy_kind {
        STORE_COPY_SNAPSHOT,  /* of the image */
        STORE_COPY_CLONE,     /* a new image of a snapshot */
        STORE_COPY_ROLL_BACK, /* the image becomes what the snapshot is */
        STORE_COPY_NEW,       /* a new image of zeroes, with all its storage; only where preallocates_slowly */
        _STORE_COPY_KIND_MAX,
};
struct store_copy_how {
        enum store_copy_kind kind;
        const char *name; /* of the image */
        sd_id128_t uuid;  /* of the image; null: whichever has the name */
        const char *snapshot, *new_name;
        uint64_t size; /* of a new one, bytes */
};
struct store_copy {
        struct store *store;
        uint64_t size; /* bytes to be copied, holes included */
};

/* What a flush's promise hangs on, see struct ivbs_identity. */
struct store_identity {
        sd_id128_t boot_id; /* of the machine in whose memory an acknowledged write is kept */
        sd_id128_t uuid;
        uint64_t mount_instance;
        uint64_t error_epoch;
};

/* A proxy process, as others of the same machine can find it. */
#define STORE_SOCKET_NAME_SIZE 64U
struct store_holder {
        uint64_t pid;        /* 0: not known */
        uint64_t start_time; /* of the process, in clock ticks since boot: /proc/PID/stat, field 22 */
        sd_id128_t boot_id;
        char socket[STORE_SOCKET_NAME_SIZE]; /* its name in the directory where proxies meet */
};

enum {
        STORE_HELD_ELSEWHERE = 1, /* an outcome of hold() */
        STORE_COPY_BY_PIECES = 1, /* ... of copy_whole() */
};

typedef bool (*store_filter_t)(const char *name, void *userdata);

/* Looks at a lease and may change it. Returns 0 (changed: to be stored), a positive outcome (left alone), or a
 * negative errno. */
typedef int (*store_lease_change_t)(struct lease *lease, void *userdata);

/* Whether the image may have another size, by its lease as it is stored now. Returns 0 or a positive outcome, with which it is left alone. */
typedef int (*store_size_check_t)(const struct lease *lease, uint64_t old_size, uint64_t new_size, void *userdata);

#define STORE_KEY_SIZE 32U

/* Where the store of type "rbd" is; see docs/store-rbd.md. */
struct store_ceph {
        const char *pool, *conf, *user;
        const char *name_space; /* NULL: none */
        uint64_t connect_usec;  /* for the connection to the cluster */
};

struct hand_over_request;

struct store_how {
        const char *path; /* what messages call it, if it is no directory */
        struct store_ceph ceph;
        struct ring *ring;
        struct jobs *jobs; /* the thread that the blocking operations are called on */
        /* Something in the store is not as it should be, told on whichever thread finds it. image: the name concerned,
         * or NULL. */
        void (*complain)(const char *image, const char *message);
        /* Somebody, perhaps we, has changed the image's record: look at its lease again. On the ring's thread; must not open or close images. */
        void (*record_changed)(struct store_image *image, void *userdata);
        /* Another proxy wants the image with that UUID; why: enum hand_over_why. Only called by a store with claim(), on the ring's thread. Returns as hand_over_asked_t. */
        int (*wanted)(sd_id128_t uuid, unsigned why, struct hand_over_request *request, void *userdata);
        /* This process has no part in the store any more, and nothing of what it has in hand is or will be written: it has to end, and to answer nobody before. On any thread; need not return. */
        void (*shut_out)(const char *message, void *userdata);
        void *userdata;
};

struct store_ops {
        const char *type;         /* as the configuration calls it */
        bool durable_acks;        /* what is acknowledged is durable */
        bool preallocates_slowly; /* create() does not preallocate: a copy of the kind STORE_COPY_NEW does */

        /* Opens the store, and makes it when there is none yet. Returns 0 or a negative errno with *ret_message a
         * sentence that names the place, the cause and what to do. */
        int (*open)(const struct store_how *how, struct store **ret, char **ret_message);
        /* All images must have been closed. */
        struct store *(*close)(struct store *store);

        /* --- these block --- */

        /* Up to max images that pass filter (NULL: all), by name in byte order, those after a name (NULL: from the
         * first). The caller frees *ret. */
        int (*list)(struct store *store, const char *after, store_filter_t filter, void *userdata, size_t max,
                struct store_listed **ret, size_t *ret_n, bool *ret_more);
        /* A new image, all zero. preallocate: all its storage is had at once. -EEXIST; -ENOSPC; -EFBIG: larger than the store can have; -EOPNOTSUPP: storage cannot be had ahead. */
        int (*create)(struct store *store, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid);
        /* Gives an image that nobody has open checksums of its blocks; NULL: the store cannot. -ENOENT, -EBUSY. Once it has them, an io that finds data that do not agree with theirs is over with -EBADMSG. */
        int (*add_checksums)(struct store *store, const char *name);
        /* What is known of it, and its limits: -ENOENT. A store without limits has NULL for both. */
        int (*look_at_care)(struct store *store, const char *name, struct store_care *ret);
        int (*set_limits)(struct store *store, const char *name, sd_id128_t uuid, const struct store_limits *limits);
        /* Compares all the data of an image with their checksums, also while it is used. Begin and end on the store's thread, pieces on any. Begin: -ENOENT; -EOPNOTSUPP: it has none. Piece: *ret_next, where the next one
         * begins; size: there is none. End: how it has ended (0, -ECANCELED or another negative errno) is kept in the store. NULL without add_checksums(). */
        int (*scrub_begin)(struct store *store, const char *name, sd_id128_t uuid, struct store_scrub **ret);
        int (*scrub_piece)(struct store_scrub *scrub, uint64_t offset, uint64_t *ret_next);
        struct store_scrub *(*scrub_end)(struct store_scrub *scrub, int error);
        /* uuid: null for whichever has the name. -ENOENT; -EBUSY: somebody holds its lease, or has it or a snapshot of it open, through any proxy; -ENOTEMPTY: it has snapshots, which are not
         * to go with it. */
        int (*remove)(struct store *store, const char *name, sd_id128_t uuid, bool snapshots_too);
        /* name: an image's, or IMAGE@SNAPSHOT. -ENOENT; -EUCLEAN: its record is damaged */
        int (*open_image)(struct store *store, const char *name, struct store_image **ret);
        /* Reads the lease as it is stored now, lets change() (NULL: look only) do its work, and stores the result
         * durably, as one step even with other proxies on the same store. *ret_lease is set unless the return value is
         * negative. -ESTALE: the image was removed, or is another one of the same name. */
        int (*change_lease)(
                struct store_image *image, store_lease_change_t change, void *userdata, struct lease *ret_lease);

        /* Gives it another size, durably, in an order that leaves the old size or the new one whenever it is cut short: the data first when it grows, the record first when it shrinks.
         * What it grows by reads as zeroes. To shrink it must be held, and no change may be in hand. An image that has that size already is left alone, and 0 is returned. Returns as
         * check() does, -ENOSPC, -EFBIG, -EROFS or -ESTALE; *ret_lease is set unless the return value is negative. */
        int (*resize)(struct store_image *image, uint64_t size, store_size_check_t check, void *userdata,
                struct lease *ret_lease);

        /* Takes the image for this process: only its holder changes an image. From then on no write of an earlier holder can land any more, whatever became
         * of it. self: what others are told who find it taken. Returns 0; STORE_HELD_ELSEWHERE with *ret_other, all zero when nothing is known of it;
         * -ESTALE as above; -ENODEV: the store is not where it was opened (which has been complained about); or another negative errno. A store that needs
         * no such thing has NULL here. */
        int (*hold)(struct store_image *image, const struct store_holder *self, struct store_holder *ret_other);

        /* The same for a store whose proxies are on several machines, and which asks the holder itself; why: enum hand_over_why. A step of it: returns 0; STORE_HELD_ELSEWHERE: not yet, to be called again
         * soon; -EBUSY: the holder has clients that stand in the way; or as hold(). A store has hold() or this or neither. */
        int (*claim)(struct store_image *image, unsigned why);

        /* A store that cannot do the following has NULL for all of it.
         * Rename: -ENOENT, -EEXIST, -EBUSY as remove(). Snapshots are listed as images are. Remove a snapshot: -ENOENT; -EBUSY: somebody has it open. */
        int (*rename)(struct store *store, const char *name, sd_id128_t uuid, const char *new_name);
        int (*list_snapshots)(struct store *store, const char *name, const char *after, size_t max,
                struct store_listed_snapshot **ret, size_t *ret_n, bool *ret_more);
        int (*remove_snapshot)(struct store *store, const char *name, const char *snapshot, sd_id128_t uuid);

        /* A copy, step by step: begin, prepare, whole, pieces unless that did it, sync, commit, free. Begin, commit and free are called on the store's thread and are short; the others on any thread, one
         * at a time, and take their time. Begin: -ENOENT (image or snapshot), -EEXIST (what is to be made), -EBUSY (to be rolled back, and open somewhere). For a snapshot, this process
         * holds the image from begin to commit (with claim(): or another one does), and between whole() and the last piece() nothing is changed where has not been copied yet. */
        int (*copy_begin)(struct store *store, const struct store_copy_how *how, struct store_copy **ret);
        /* Does what can be done while the image is still being written, so that whole() has less to do. */
        int (*copy_prepare)(struct store_copy *copy);
        /* 0: everything is copied, at one moment. STORE_COPY_BY_PIECES: nothing is. */
        int (*copy_whole)(struct store_copy *copy);
        /* *ret_next: the first byte behind it that is not known to be a hole; size: there is none. */
        int (*copy_piece)(struct store_copy *copy, uint64_t offset, uint64_t length, uint64_t *ret_next);
        int (*copy_sync)(struct store_copy *copy);
        /* It is there from now on, also after a crash. -EEXIST, -EBUSY as begin: something has come in between. */
        int (*copy_commit)(struct store_copy *copy, sd_id128_t *ret_uuid);
        struct store_copy *(*copy_free)(struct store_copy *copy);

        /* Who holds the image, or has held it last; all zero when nothing is known of it. Returns 0 or a negative errno. NULL together with hold(). */
        int (*look_at_holder)(struct store_image *image, struct store_holder *ret);

        /* A random key for the tickets of the store's users, the same for every proxy of the store; it is made when it is first asked for. Returns 0 or a
         * negative errno. The caller wipes it. */
        int (*get_key)(struct store *store, uint8_t ret[static STORE_KEY_SIZE]);

        /* --- these do not --- */

        /* The end of hold() and claim(): no change may be under way. */
        void (*let_go)(struct store_image *image);
        /* The directory where the proxies of this store find each other's sockets, as a descriptor that is the store's; NULL together with hold(). */
        int (*meeting_place)(const struct store *store);

        /* As the record said when it was last read. */
        void (*get_size)(struct store_image *image, struct store_size *ret);
        /* The same; NULL together with set_limits(). */
        void (*get_limits)(struct store_image *image, struct store_limits *ret);

        /* No io may be under way. NULL is fine. */
        struct store_image *(*close_image)(struct store_image *image);
        void (*submit)(struct store_io *io);
        void (*get_identity)(const struct store *store, struct store_identity *ret);
        /* Bytes in all and free. */
        int (*get_capacity)(const struct store *store, uint64_t *ret_total, uint64_t *ret_free);
};

/* What every implementation's struct begins with. */
struct store {
        const struct store_ops *ops;
};

extern const struct store_ops store_file_ops;
extern const struct store_ops store_module_rbd_ops; /* see store-module.c */

/* What a configuration may name, the default first; NULL ends it. Each program has a list of its own. */
extern const struct store_ops *const store_types[];
