/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which session has which image, as this proxy knows it. An image is here while somebody is attached to it or about
 * to be; sessions share its open file. An attachment is one session's hold: its rights, its generation, and how many
 * changes it has in hand.
 *
 * Of all proxy processes of a store one *holds* an image: only it changes the image. It is held while somebody here writes and nobody else wants it; see
 * image-hold.c. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "hand-over.h"
#include "image-gate.h"
#include "image-limit.h"
#include "store.h"

struct image;
struct images;
TAILQ_HEAD(attachment_list, attachment);
TAILQ_HEAD(image_waiter_list, image_waiter);

struct attachment {
        struct image *image; /* NULL: none */
        bool writes;         /* the right and the wish */
        bool leased;         /* writes under a lease, of generation and token */
        bool expired; /* somebody else writes now, or the lease was given back: nothing more is done for this one */
        bool ended;   /* its session is gone; what it still has in hand will finish */
        bool moved; /* the image was let go to another proxy: nothing more is done for this one here, until it resumes */
        bool held; /* it began as one that writes, under the hold */
        uint64_t generation;
        uint64_t
                limit; /* bytes that it may reach: the smallest size that the image has had since the session was told one */
        uint8_t token[LEASE_TOKEN_SIZE];
        unsigned n_ios;     /* in hand at the store */
        unsigned n_changes; /* ... of which change the image, or sync it */
        TAILQ_ENTRY(attachment) entry;
};

/* Waits until what came before is over. */
struct image_waiter {
        void (*settled)(struct image_waiter *waiter);
        TAILQ_ENTRY(image_waiter) entry;
};

/* Waits until this proxy holds the image. */
struct hold_waiter {
        /* 0: it does, and will until image_unpin(). -EBUSY: the holder has clients that stand in the way of why. -ESHUTDOWN: this proxy drains. -ETIMEDOUT: the
         * holder has not let go in time. Or what store_ops.hold() returns. */
        void (*held)(struct hold_waiter *waiter, int error);
        enum hand_over_why why;
        TAILQ_ENTRY(hold_waiter) entry;
};
TAILQ_HEAD(hold_waiter_list, hold_waiter);

enum image_hold_state {
        IMAGE_LOOSE,
        IMAGE_TAKING,
        IMAGE_HELD,
        IMAGE_LETTING_GO, /* nothing new begins; what is in hand is finished first */
        _IMAGE_HOLD_STATE_MAX,
};
const char *image_hold_state_to_string(enum image_hold_state state);

struct image {
        struct images *images;
        char name[IVBS_IMAGE_NAME_SIZE];
        struct store_image *handle; /* set by the first who gets it open, on the store's thread */
        /* Sessions that write without a lease. Counted up on the store's thread, where the decision falls, and down on
         * the ring's. */
        atomic_uint n_unleased_writers;
        uint64_t generation; /* the last that this proxy knows of */
        bool lease_live;
        struct store_size size; /* as this proxy knows it; set before anybody is attached */
        unsigned n_quiescing;   /* by so many no change is to begin: it is about to become smaller */

        /* A look at the record that is under way, and whether another one is due. */
        struct job look_job;
        bool looking, look_again;
        struct lease looked;
        int look_result;

        /* private */
        unsigned n_ref;
        bool forgotten;
        struct attachment_list attachments;
        struct image_waiter_list waiters;
        enum image_hold_state hold_state;
        unsigned n_pins;
        struct taking *taking;
        struct hold_waiter_list hold_waiters;
        struct hand_over_request_list requests; /* of other proxies that want it */
        struct image_gate *gate;                /* NULL: nobody has to wait */
        struct image_limit *limit;              /* NULL: it has none, and had none */
        TAILQ_ENTRY(image) entry;
};

/* jobs: the store's thread. Returns 0 or -ENOMEM. */
int images_new(struct images **ret, struct store *store, struct jobs *jobs);
/* The other proxies of the store are asked for images, and may ask. Before the first image; not needed for a store without hold() and claim(). instance: a random id. Returns 0 or a
 * negative errno. */
int images_share(struct images *images, struct ring *ring, sd_id128_t instance);
/* Nobody is attached any more, ring and store's thread have ended. */
struct images *images_free(struct images *images);
DEFINE_CLEANUP(struct images *, images_free);
/* resized: an image to which sessions are attached has another size. */
void images_tell_sizes(struct images *images, void (*resized)(struct image *image, void *userdata), void *userdata);
unsigned images_count(const struct images *images);
/* Another proxy wants an image that may be held here. As hand_over_asked_t. */
int images_wanted(struct images *images, sd_id128_t uuid, enum hand_over_why why, struct hand_over_request *request);
/* NULL: proxies do not meet here. Borrowed. */
struct hand_over *images_hand_over(const struct images *images);

/* NULL when nobody is attached or about to be. Borrowed. */
struct image *images_find(struct images *images, const char *name);
/* Finds or makes it; NULL when out of memory. */
struct image *images_acquire(struct images *images, const char *name);
struct image *image_ref(struct image *image);
/* The last one closes it. NULL is fine. */
struct image *image_release(struct image *image);
/* The name belongs to another image now: whoever is attached stays, whoever comes gets a new one. */
void image_forget(struct image *image);

/* Whether a session is attached to it. */
bool image_is_attached(const struct image *image);

/* attachment->image takes a reference. */
void attachment_start(struct attachment *attachment, struct image *image);
/* The session is gone, or detaches: what is in hand goes on, the reference is dropped when it is over. */
void attachment_end(struct attachment *attachment);
/* It has proved that the lease is its own, under that generation: it may go on. Nothing of it may be in hand. */
void attachment_renew(struct attachment *attachment, uint64_t generation);
/* Its session is told the size that the image has now, and may reach as far. */
void attachment_take_size(struct attachment *attachment);
/* The right to write is gone; what is in hand goes on. */
void attachment_make_read_only(struct attachment *attachment);
/* Whether it may be forgotten. */
static inline bool attachment_is_over(const struct attachment *attachment) {
        return !attachment->image;
}

/* change: whether it changes the image. */
void attachment_io_started(struct attachment *attachment, bool change);
void attachment_io_done(struct attachment *attachment, bool change);

/* What the record says now, of the lease and (by the store's get_size()) of the size. Attachments of another generation are expired from here on; none reaches beyond a smaller end. */
void image_lease_is(struct image *image, const struct lease *lease);

/* The record of an open image may have changed: looks at it, and then does image_lease_is(). */
void images_record_changed(struct images *images, const struct store_image *handle);

/* No change of anybody is in hand when settled() is called, perhaps at once, and none begins before image_unquiesce(). */
void image_quiesce(struct image *image, struct image_waiter *waiter);
void image_unquiesce(struct image *image);

/* Calls settled(), perhaps at once, when no change of an attachment that has ended or expired is in hand any more. */
void image_settle(struct image *image, struct image_waiter *waiter);

/* --- holding, see image-hold.c --- */

/* Calls held(), perhaps at once. The image must have been opened. */
void image_hold(struct image *image, struct hold_waiter *waiter);
/* The same for what only wants to know: true when it is held; to be undone. */
bool image_pin(struct image *image);
void image_unpin(struct image *image);
bool image_is_being_let_go(const struct image *image);
bool image_is_held(const struct image *image);
/* on: lets go of every image as soon as its last change is over, and takes none. off: takes them again when somebody attaches or resumes. */
void images_set_draining(struct images *images, bool on);
