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
        uint64_t size;       /* bytes */
        uint32_t block_size; /* preferred, bytes: a power of two, 512 - 65536 */
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
                int error); /* 0, -ENOSPC, or another negative errno; on the ring's thread, never within submit() */
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

struct store_listed {
        char name[IVBS_IMAGE_NAME_SIZE];
        sd_id128_t uuid;
        uint64_t size, used; /* bytes */
        bool leased;
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
};

typedef bool (*store_filter_t)(const char *name, void *userdata);

/* Looks at a lease and may change it. Returns 0 (changed: to be stored), a positive outcome (left alone), or a
 * negative errno. */
typedef int (*store_lease_change_t)(struct lease *lease, void *userdata);

#define STORE_KEY_SIZE 32U

struct store_how {
        const char *path;
        struct ring *ring;
        struct jobs *jobs; /* the thread that the blocking operations are called on */
        /* Something in the store is not as it should be, told on whichever thread finds it. image: the name concerned,
         * or NULL. */
        void (*complain)(const char *image, const char *message);
        /* Somebody, perhaps we, has changed the image's record: look at its lease again. On the ring's thread; must not open or close images. */
        void (*record_changed)(struct store_image *image, void *userdata);
        void *userdata;
};

struct store_ops {
        const char *type; /* as the configuration calls it */

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
        /* A new image, all zero. -EEXIST; -ENOSPC; -EFBIG: larger than the store can have. */
        int (*create)(struct store *store, const char *name, uint64_t size, sd_id128_t *ret_uuid);
        /* uuid: null for whichever has the name. -ENOENT; -EBUSY: somebody holds its lease. */
        int (*remove)(struct store *store, const char *name, sd_id128_t uuid);
        int (*open_image)(struct store *store, const char *name,
                struct store_image **ret); /* -ENOENT; -EUCLEAN: its record is damaged */
        /* Reads the lease as it is stored now, lets change() (NULL: look only) do its work, and stores the result
         * durably, as one step even with other proxies on the same store. *ret_lease is set unless the return value is
         * negative. -ESTALE: the image was removed, or is another one of the same name. */
        int (*change_lease)(
                struct store_image *image, store_lease_change_t change, void *userdata, struct lease *ret_lease);

        /* Takes the image for this process: only its holder changes an image. From then on no write of an earlier holder can land any more, whatever became
         * of it. self: what others are told who find it taken. Returns 0; STORE_HELD_ELSEWHERE with *ret_other, all zero when nothing is known of it;
         * -ESTALE as above; -ENODEV: the store is not where it was opened (which has been complained about); or another negative errno. A store that needs
         * no such thing has NULL here. */
        int (*hold)(struct store_image *image, const struct store_holder *self, struct store_holder *ret_other);

        /* A random key for the tickets of the store's users, the same for every proxy of the store; it is made when it is first asked for. Returns 0 or a
         * negative errno. The caller wipes it. */
        int (*get_key)(struct store *store, uint8_t ret[static STORE_KEY_SIZE]);

        /* --- these do not --- */

        /* The end of hold(): no change may be under way. */
        void (*let_go)(struct store_image *image);
        /* The directory where the proxies of this store find each other's sockets, as a descriptor that is the store's; NULL together with hold(). */
        int (*meeting_place)(const struct store *store);

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

/* What a configuration may name, the default first; NULL ends it. Each program has a list of its own. */
extern const struct store_ops *const store_types[];
