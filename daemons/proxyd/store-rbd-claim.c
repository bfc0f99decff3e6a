/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a proxy comes to hold an image, and lets go of it. What is held is RBD's own exclusive lock, taken explicitly: then librbd never gives it away by itself, and refuses to write without it.
 *
 *     nobody has it ──▶ taken
 *     somebody has it ──▶ asked ──released──▶ tried again
 *                           │ └──refused──▶ refused
 *                           └──not acknowledged in time──▶ shut out of the cluster, lock broken ──▶ taken
 *
 * A claim is a step, called again and again by image-take.c, so that nobody waits here for another proxy. A question is not counted as unanswered before its echo has come back: else an OSD that
 * stands still would make every proxy shut out every other. A holder that has acknowledged is waited for, and asked again from time to time. */

#include <stdarg.h>
#include <string.h>
#include <sys/random.h>

#include "fault-point.h"
#include "store-rbd.h"

/* From the echo to the acknowledgement of a holder that, being elsewhere, cannot be seen to wait for a processor. */
#define ACK_USEC    1000000U
#define ECHO_USEC   5000000U /* then the question is sent once more */
#define REPEAT_USEC 1000000U /* a holder that has acknowledged has to do so again */

enum step {
        STEP_WAIT,
        STEP_TRY,
        STEP_REFUSED,
        STEP_REPEAT,
        STEP_EVICT,
};

static enum step next_step(struct rbd_image *image, uint64_t now) {
        if (image->releasing)
                return STEP_WAIT;

        switch (image->asked) {
        case RBD_ASKED:
                return now - image->asked_usec < ECHO_USEC ? STEP_WAIT : STEP_REPEAT;
        case RBD_ECHOED:
                return now - image->echoed_usec < ACK_USEC ? STEP_WAIT : STEP_EVICT;
        case RBD_ACKNOWLEDGED:
                return now - image->asked_usec < REPEAT_USEC ? STEP_WAIT : STEP_REPEAT;
        case RBD_REFUSED:
                image->asked = RBD_NOT_ASKED;
                return STEP_REFUSED;
        case RBD_RELEASED:
        case RBD_NOT_ASKED:
        default:
                image->asked = RBD_NOT_ASKED;
                return STEP_TRY;
        }
}

/* again: the same question. */
static void ask(struct rbd_store *store, struct rbd_image *image, const char *address, unsigned why, bool again) {
        uint64_t question;

        if (getrandom(&question, sizeof(question), 0) != (ssize_t) sizeof(question))
                return;
        pthread_mutex_lock(&store->mutex);
        if (again)
                question = image->question;
        image->question = question;
        image->asked = RBD_ASKED;
        image->asked_usec = store_rbd_now_usec();
        (void) snprintf(image->asked_address, sizeof(image->asked_address), "%s", address);
        pthread_mutex_unlock(&store->mutex);
        store_rbd_tell(store, RBD_MESSAGE_ASK, why, image->image.uuid, question);
}

static _printf_(3, 4) void complain(struct rbd_store *store, const struct rbd_image *image, const char *format, ...) {
        _cleanup_free_ char *message = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);
        if (message)
                store->how.complain(image->name, message);
}

static int evict(struct rbd_store *store, struct rbd_image *image, const struct rbd_owner *owner) {
        int r;

        r = store_rbd_evict(store, image->header, owner);
        /* Of one that has died librbd itself takes the lock, when it has ceased to watch the image. */
        if (r == -EPERM && store_rbd_is_watched_by(store, image, owner->address) == 0)
                return 0;
        if (r == -EPERM) {
                if (!image->foreign)
                        complain(store, image,
                                "The Ceph client %s has the lock of %s, and it is no proxy: end what it belongs to (a "
                                "virtual machine, a mapping), or break its lock with \"rbd lock remove\"",
                                owner->address, image->name);
                image->foreign = true;
        } else if (r >= 0)
                complain(store, image,
                        "The proxy %s had %s and does not answer: it is shut out of the Ceph cluster (blocklisted), "
                        "so "
                        "that nothing that it has in hand is written later",
                        owner->address, image->name);
        return r;
}

static int acquire(struct rbd_store *store, struct rbd_image *image) {
        int r;

        r = store_rbd_sign(store, image->header);
        if (r == -ENOENT)
                return -ESTALE;
        if (r < 0)
                return r;
        r = rbd_lock_acquire(image->handle, RBD_LOCK_MODE_EXCLUSIVE);
        if (r == -EBUSY || r == -EROFS || r == -EAGAIN)
                return STORE_HELD_ELSEWHERE;
        if (r == -EINVAL)
                store->how.complain(image->name, "The RBD image lacks the feature exclusive-lock, without which it "
                                                 "cannot be written safely: rbd feature enable "
                                                 "POOL/IMAGE exclusive-lock");
        if (r == -ESHUTDOWN)
                store_rbd_is_shut_out(store, image->name, r);
        if (r < 0)
                return r;

        fault_point("rbd-locked");
        pthread_mutex_lock(&store->mutex);
        image->held = true;
        image->foreign = false;
        image->asked = RBD_NOT_ASKED;
        pthread_mutex_unlock(&store->mutex);
        return 0;
}

int store_rbd_claim(struct store_image *i, unsigned why) {
        struct rbd_image *image = RBD_IMAGE(i);
        struct rbd_store *store = RBD_STORE(i->store);
        struct rbd_owner owner;
        enum step step;
        int r;

        if (i->read_only)
                return -EROFS;
        pthread_mutex_lock(&store->mutex);
        step = next_step(image, store_rbd_now_usec());
        pthread_mutex_unlock(&store->mutex);
        if (step == STEP_WAIT)
                return STORE_HELD_ELSEWHERE;
        if (step == STEP_REFUSED)
                return -EBUSY;

        r = store_rbd_find_owner(store, image->header, &owner);
        if (r < 0)
                return r == -ENOENT ? -ESTALE : r;
        if (!*owner.address)
                return acquire(store, image);
        /* An earlier opening of it, which is being closed; or librbd has taken it for this one. */
        if (strcmp(owner.address, store->address) == 0)
                return store_rbd_thread_is_idle(store) ? acquire(store, image) : STORE_HELD_ELSEWHERE;

        if (step == STEP_EVICT && strcmp(owner.address, image->asked_address) == 0) {
                r = evict(store, image, &owner);
                return r < 0 ? r : acquire(store, image);
        }
        ask(store, image, owner.address, why, step == STEP_REPEAT && strcmp(owner.address, image->asked_address) == 0);
        return STORE_HELD_ELSEWHERE;
}

static void run_release(struct rbd_task *task) {
        struct rbd_image *image = CONTAINER_OF(task, struct rbd_image, release_task);
        struct rbd_store *store = RBD_STORE(image->image.store);
        int r;

        r = rbd_lock_release(image->handle);
        if (r == -ESHUTDOWN)
                store_rbd_is_shut_out(store, image->name, r);
        store_rbd_unsign(store, image->header);
        pthread_mutex_lock(&store->mutex);
        image->releasing = false;
        pthread_mutex_unlock(&store->mutex);
}

void store_rbd_let_go(struct store_image *i) {
        struct rbd_image *image = RBD_IMAGE(i);
        struct rbd_store *store = RBD_STORE(i->store);

        pthread_mutex_lock(&store->mutex);
        image->held = false;
        image->releasing = true;
        pthread_mutex_unlock(&store->mutex);
        image->release_task.run = run_release;
        store_rbd_thread_do(store, &image->release_task);
}
