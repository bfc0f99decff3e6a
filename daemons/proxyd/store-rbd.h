/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the RBD store share; nobody else includes this. */

#include <pthread.h>
#include <stdatomic.h>

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "container-of.h"
#include "hand-over.h"
#include "store-rbd-record.h"
#include "store.h"

#define RBD_ID_SIZE      64U
#define RBD_HEADER_SIZE  (RBD_ID_SIZE + 16U)
#define RBD_ADDRESS_SIZE 128U
#define CHANNEL_OBJECT   "blockstore.proxies"
#define RBD_IMAGES_MAX   65536U /* in a pool, as far as lists go */

/* Something for the store's own thread. */
struct rbd_task {
        void (*run)(struct rbd_task *task); /* may free it */
        STAILQ_ENTRY(rbd_task) entry;
};
STAILQ_HEAD(rbd_task_list, rbd_task);
TAILQ_HEAD(rbd_image_list, rbd_image);
TAILQ_HEAD(rbd_opening_list, rbd_opening);
TAILQ_HEAD(rbd_request_list, rbd_request);
STAILQ_HEAD(rbd_news_list, rbd_news);

/* store-rbd-sweep.c */
struct rbd_sweeper {
        pthread_t thread;
        pthread_cond_t woken;
        bool runs, wanted, ends, ended;
};

struct rbd_store {
        struct store store;
        struct store_how how;
        char *shown; /* what messages call it */

        /* Two clients of the cluster. What control does has a limit in time, and may fail by it; what has been given to data is done in the end, or the client is shut out: a write that was
         * reported as failed and lands later must not be. */
        rados_t control, data;
        rados_ioctx_t control_io, data_io;
        char address[RBD_ADDRESS_SIZE]; /* of data, as locks and the list of those shut out show it */
        sd_id128_t uuid, boot_id;
        sd_id128_t instance; /* of this run */
        char fsid[64];
        int64_t pool;

        /* store-rbd-thread.c */
        pthread_t thread;
        bool thread_runs, thread_ends, thread_works;
        pthread_cond_t thread_wanted, thread_idle;
        struct rbd_task_list tasks;
        struct rbd_task look; /* at the capacity */
        bool look_queued;
        _Atomic uint64_t total, available; /* bytes */

        /* The one lock for what is below, and for the threads. */
        pthread_mutex_t mutex;
        struct rbd_sweeper sweeper;
        struct rbd_image_list images;     /* that are open */
        struct rbd_opening_list openings; /* that are on the way, see store-rbd-image.c */
        pthread_cond_t opened;
        unsigned n_openings;

        /* store-rbd-events.c */
        int event_fd;
        uint64_t events;
        struct ring_op event_op;
        struct ring_timer timer;
        struct rbd_image_list active; /* with reads and writes in hand; the ring's thread */
        struct store_io_list over;    /* that librbd has nothing to do with: flushes, and what it did not even begin */
        struct ring_deferred tell;
        struct rbd_news_list news; /* that have come and are for the ring's thread */
        unsigned n_news;
        bool missed; /* some news were lost */
        bool shut_out;

        /* store-rbd-probe.c; the ring's thread */
        atomic_bool probing;
        unsigned n_idle_ticks, n_ticks;

        /* store-rbd-channel.c */
        uint64_t watch;
        bool watches;
        atomic_uint n_sending;

        struct rbd_request_list requests; /* of other proxies, see store-rbd-ask.c; the ring's thread */
        unsigned n_requests;
};

enum rbd_asked {
        RBD_NOT_ASKED,
        RBD_ASKED,  /* and not heard anything */
        RBD_ECHOED, /* ... but the question itself: the channel works */
        RBD_ACKNOWLEDGED,
        RBD_RELEASED,
        RBD_REFUSED,
};

struct rbd_image {
        struct store_image image;
        char name[IVBS_IMAGE_NAME_SIZE]; /* NAME or NAME@SNAPSHOT */
        char base[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE];
        char id[RBD_ID_SIZE], header[RBD_HEADER_SIZE];
        rbd_image_t handle;
        struct store_size size; /* under the store's lock */
        struct store_limits limits;
        TAILQ_ENTRY(rbd_image) entry;

        /* Reads and writes in hand; the ring's thread. */
        unsigned n_ios;
        TAILQ_ENTRY(rbd_image) active_entry;

        /* Holding, see store-rbd-claim.c; under the store's lock. */
        bool held, releasing;
        enum rbd_asked asked;
        uint64_t question, asked_usec, echoed_usec;
        char asked_address[RBD_ADDRESS_SIZE]; /* of whoever had the lock then */
        bool foreign;                         /* it is held by no proxy, which has been told */
        struct rbd_task release_task, close_task;
};

static inline struct rbd_store *RBD_STORE(struct store *store) {
        return (struct rbd_store *) store;
}

static inline struct rbd_image *RBD_IMAGE(struct store_image *image) {
        return (struct rbd_image *) image;
}

uint64_t store_rbd_now_usec(void);

/* store-rbd-connect.c. Both return 0 or a negative errno, with *ret_message. */
int store_rbd_connect(struct rbd_store *store, char **ret_message);
void store_rbd_disconnect(struct rbd_store *store);

/* store-rbd-thread.c */
int store_rbd_thread_start(struct rbd_store *store);
void store_rbd_thread_do(struct rbd_store *store, struct rbd_task *task);
/* Until everything is done that it was given, for at most a second. */
void store_rbd_thread_wait(struct rbd_store *store);
bool store_rbd_thread_is_idle(struct rbd_store *store);
/* The same, and its end, but not for ever: returns false when it hangs. */
bool store_rbd_thread_end(struct rbd_store *store);

/* store-rbd-object.c: objects of RBD's and of ours, by the control client. */
/* The id that a name leads to. Returns 0 or a negative errno: -ENOENT. */
int store_rbd_find(struct rbd_store *store, const char *name, char ret[static RBD_ID_SIZE]);
void store_rbd_header_name(const char *id, char ret[static RBD_HEADER_SIZE]);
/* UUID of an image, or of the snapshot of it that has that number (0: the image). */
sd_id128_t store_rbd_uuid(const struct rbd_store *store, const char *id, uint64_t snapshot);
/* What lies in an image's header: its size as RBD knows it, and our record, raw (n 0: none). Returns 0 or a negative errno: -ENOENT, -EUCLEAN. */
struct rbd_header {
        uint64_t size;
        unsigned order; /* an object of it has 2^order bytes */
        uint8_t raw[RBD_RECORD_SIZE_MAX];
        size_t n;
        struct rbd_record record;
};
int store_rbd_load(struct rbd_store *store, const char *header, struct rbd_header *ret);
/* Puts record in the place of what was loaded. Returns 0; -EAGAIN: it is not what was loaded any more; -ENOENT; or another negative errno. */
int store_rbd_save(
        struct rbd_store *store, const char *header, struct rbd_header *loaded, const struct rbd_record *record);
/* An object of the store that is made when it is first asked for, out of random bytes, the same for all. Returns 0 or a negative errno. */
int store_rbd_get_random(struct rbd_store *store, const char *object, uint8_t *ret, size_t n);
/* Bytes of the objects that the image has of its own, by RBD's object map; 0 where it has none. */
uint64_t store_rbd_used(struct rbd_store *store, const char *id, const struct rbd_header *header);
/* The size that counts. */
static inline uint64_t store_rbd_size_of(const struct rbd_header *header) {
        return header->record.size > 0 ? header->record.size : header->size;
}

/* store-rbd-image.c */
int store_rbd_open_image(struct store *store, const char *name, struct store_image **ret);
struct store_image *store_rbd_close_image(struct store_image *image);
int store_rbd_change_lease(
        struct store_image *image, store_lease_change_t change, void *userdata, struct lease *ret_lease);
void store_rbd_get_size(struct store_image *image, struct store_size *ret);
/* Size and limits, as the record has them now. */
void store_rbd_header_is(struct rbd_image *image, const struct rbd_header *header);
/* What somebody waits for no more. */
void store_rbd_close_openings(struct rbd_store *store);

/* store-rbd-size.c */
int store_rbd_resize(
        struct store_image *image, uint64_t size, store_size_check_t check, void *userdata, struct lease *ret_lease);

/* store-rbd-care.c */
int store_rbd_look_at_care(struct store *store, const char *name, struct store_care *ret);
int store_rbd_set_limits(struct store *store, const char *name, sd_id128_t uuid, const struct store_limits *limits);
void store_rbd_get_limits(struct store_image *image, struct store_limits *ret);

/* store-rbd-list.c, store-rbd-create.c */
int store_rbd_list(struct store *store, const char *after, store_filter_t filter, void *userdata, size_t max,
        struct store_listed **ret, size_t *ret_n, bool *ret_more);
/* All of the pool, hidden ones too, by name. To be freed by rbd_image_spec_list_cleanup() and free(). Returns 0 or a negative errno. */
int store_rbd_list_names(struct rbd_store *store, rbd_image_spec_t **ret, size_t *ret_n);
int store_rbd_create(struct store *store, const char *name, uint64_t size, bool preallocate, sd_id128_t *ret_uuid);
int store_rbd_remove(struct store *store, const char *name, sd_id128_t uuid, bool snapshots_too);
int store_rbd_rename(struct store *store, const char *name, sd_id128_t uuid, const char *new_name);
/* An empty image of that name, in several steps. */
int store_rbd_make(struct rbd_store *store, const char *name, uint64_t size);
/* What has a hidden name gets this one: -EEXIST. */
int store_rbd_name(struct rbd_store *store, const char *hidden, const char *name, sd_id128_t *ret_uuid);
/* Whether anybody, of whatever kind, has the image open. Returns 0, 1 or a negative errno. */
int store_rbd_is_watched(struct rbd_store *store, rbd_image_t image);
/* ... or whether that client has. */
int store_rbd_is_watched_by(struct rbd_store *store, const struct rbd_image *image, const char *address);
/* Opens for a look, by the control client, without being seen. */
int store_rbd_peek(struct rbd_store *store, const char *id, rbd_image_t *ret);

/* Whether it may be removed, renamed, rolled back: it is that one, has no lease, and nobody has it open. Returns 0 or a negative errno. */
int store_rbd_check_unused(struct rbd_store *store, const char *id, sd_id128_t uuid);

/* store-rbd-snapshot.c */
int store_rbd_list_snapshots(struct store *store, const char *name, const char *after, size_t max,
        struct store_listed_snapshot **ret, size_t *ret_n, bool *ret_more);
int store_rbd_remove_snapshot(struct store *store, const char *name, const char *snapshot, sd_id128_t uuid);

/* store-rbd-copy.c; what is on the way has a hidden name. */
#define RBD_HIDDEN_SIZE               32U
#define RBD_HIDDEN_PREFIX             ".new-"
#define RBD_THICK_PREFIX              ".new-thick-"
#define RBD_GONE_PREFIX               ".gone-"
#define RBD_LEFT_BEHIND_SECONDS       3600 /* nothing is under way for so long, */
#define RBD_LEFT_BEHIND_THICK_SECONDS 120  /* or has not even been opened yet */
struct rbd_copy {
        struct store_copy copy;
        enum store_copy_kind kind;
        char name[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE], new_name[IVBS_IMAGE_NAME_SIZE];
        char hidden[RBD_HIDDEN_SIZE], id[RBD_ID_SIZE];
        uint64_t number; /* of the snapshot */
        rbd_image_t handle;
        bool opened, made, committed;
};
int store_rbd_hidden_name(const char *prefix, char ret[static RBD_HIDDEN_SIZE]);
int store_rbd_copy_begin(struct store *store, const struct store_copy_how *how, struct store_copy **ret);
int store_rbd_copy_prepare(struct store_copy *copy);
int store_rbd_copy_whole(struct store_copy *copy);
int store_rbd_copy_piece(struct store_copy *copy, uint64_t offset, uint64_t length, uint64_t *ret_next);
int store_rbd_copy_sync(struct store_copy *copy);
int store_rbd_copy_commit(struct store_copy *copy, sd_id128_t *ret_uuid);
struct store_copy *store_rbd_copy_free(struct store_copy *copy);

/* store-rbd-thick.c: the same for preallocated images. make: returns STORE_COPY_BY_PIECES. */
int store_rbd_thick_begin(struct rbd_store *store, struct rbd_copy *copy, uint64_t size);
int store_rbd_thick_make(struct rbd_store *store, struct rbd_copy *copy);
int store_rbd_thick_piece(struct rbd_copy *copy, uint64_t offset, uint64_t *ret_next);

/* store-rbd-sweep.c: what is to go, and what crashes have left. end: returns false when it hangs. */
int store_rbd_sweeper_start(struct rbd_store *store);
bool store_rbd_sweeper_end(struct rbd_store *store);
/* The image has lost its name when that returns, and is deleted soon. -EBUSY: somebody has it open, and it stays. */
int store_rbd_give_up(struct rbd_store *store, const char *name, const char *id);
/* ... one that never had a name. */
void store_rbd_give_up_hidden(struct rbd_store *store, const char *hidden);

/* store-rbd-roll-back.c: the image becomes what its snapshot is, also after a crash. finish: what was interrupted; -ETIMEDOUT while somebody else is about it. */
int store_rbd_roll_back(struct rbd_store *store, const char *id, uint64_t snapshot);
int store_rbd_finish_roll_back(struct rbd_store *store, const char *id);

/* store-rbd-io.c, the ring's thread. */
void store_rbd_submit(struct store_io *io);
/* Takes what is finished. */
void store_rbd_reap(struct rbd_store *store);
/* Those that were over at once. */
void store_rbd_tell_over(struct ring_deferred *deferred);

/* store-rbd-events.c: what other threads have for the ring's. */
int store_rbd_events_start(struct rbd_store *store);
/* On any thread. */
void store_rbd_wake(struct rbd_store *store);
/* message NULL: some may have been missed. */
void store_rbd_bring_news(struct rbd_store *store, const struct rbd_message *message);
void store_rbd_drop_news(struct rbd_store *store);
/* image: may be NULL with -ESHUTDOWN. This client has been shut out of the cluster, or its lock is another one's: tells so, and does not expect to go on. On any thread. */
void store_rbd_is_shut_out(struct rbd_store *store, const char *image, int error);

/* store-rbd-probe.c: every second, on the ring's thread. */
void store_rbd_probe(struct rbd_store *store);

/* store-rbd-channel.c: messages between proxies. Start needs the store's object. */
int store_rbd_channel_start(struct rbd_store *store);
void store_rbd_channel_stop(struct rbd_store *store);
/* Again, after it has broken. On the store's own thread. */
void store_rbd_channel_renew(struct rbd_store *store);
void store_rbd_tell(
        struct rbd_store *store, enum rbd_message_type type, unsigned why, sd_id128_t uuid, uint64_t question);
/* Whether any proxy has it open, this one included. Blocks, for at most some seconds. Returns 0, 1 or a negative errno. */
int store_rbd_ask_if_open(struct rbd_store *store, sd_id128_t uuid);

/* store-rbd-ask.c, the ring's thread: what becomes of messages, and those who ask us. */
void store_rbd_take_news(struct rbd_store *store, const struct rbd_message *message);
void store_rbd_forget_requests(struct rbd_store *store);

/* store-rbd-claim.c */
int store_rbd_claim(struct store_image *image, unsigned why);
void store_rbd_let_go(struct store_image *image);

/* store-rbd-evict.c: by the control client. find: *ret_address is empty when nobody has the lock. evict: shuts the owner out of the cluster, and takes the lock from it; -EPERM: it is none of ours. */
struct rbd_owner {
        char client[64], cookie[64], address[RBD_ADDRESS_SIZE];
};
int store_rbd_find_owner(struct rbd_store *store, const char *header, struct rbd_owner *ret);
int store_rbd_evict(struct rbd_store *store, const char *header, const struct rbd_owner *owner);
/* Of an image that nobody watches: the lock of a proxy that has died with it is taken away. */
int store_rbd_unlock(struct rbd_store *store, const char *header);
/* The same of one that is open here: of a proxy that does not watch it any more. */
int store_rbd_unlock_open(struct rbd_store *store, const struct rbd_image *image);
/* We are about to take its lock, or have let go of it. */
int store_rbd_sign(struct rbd_store *store, const char *header);
void store_rbd_unsign(struct rbd_store *store, const char *header);
