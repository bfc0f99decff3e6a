/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* When this process holds an image.
 *
 *     LOOSE ──somebody is to write──▶ TAKING ──▶ HELD ──asked, draining──▶ LETTING_GO ──the last change is over──▶ LOOSE
 *                                       │          └──nobody writes any more──────────────────────────────────────▶
 *                                       └──refused, failed──▶ LOOSE
 *
 * The rule: between store_ops.hold() and let_go() changes may be in hand here, outside of that never. Letting go begins by turning the sessions away (attachment.moved), so that what is in
 * hand can only become less. Whoever has been told that the image is held, and has not begun yet, pins it: an image is not handed on before it has served its purpose, else two
 * proxies with two clients could pass it back and forth for ever. How it is taken from another process stands in image-take.c. */

#include <assert.h>

#include "attachment-internal.h"
#include "log.h"

const char *image_hold_state_to_string(enum image_hold_state state) {
        static const char *const names[_IMAGE_HOLD_STATE_MAX] = {
                [IMAGE_LOOSE] = "loose",
                [IMAGE_TAKING] = "taking",
                [IMAGE_HELD] = "held",
                [IMAGE_LETTING_GO] = "letting-go",
        };

        return names[state];
}

static bool writes_here(const struct attachment *a) {
        return a->writes && !a->ended && !a->expired && !a->moved;
}

static bool has_in_hand(const struct attachment *a) {
        return a->n_changes > 0 || (a->held && a->n_ios > 0);
}

static bool anybody(const struct image *image, bool (*is)(const struct attachment *a)) {
        const struct attachment *a;

        TAILQ_FOREACH(a, &image->attachments, entry)
                if (is(a))
                        return true;
        return false;
}

void image_answer_hold(struct image *image, int error, enum hand_over_why up_to) {
        struct hold_waiter_list told = TAILQ_HEAD_INITIALIZER(told);
        struct hold_waiter *waiter, *next;

        for (waiter = TAILQ_FIRST(&image->hold_waiters); waiter; waiter = next) {
                next = TAILQ_NEXT(waiter, entry);
                if (waiter->why > up_to)
                        continue;
                TAILQ_REMOVE(&image->hold_waiters, waiter, entry);
                TAILQ_INSERT_TAIL(&told, waiter, entry);
                image->n_pins += error == 0;
        }
        while ((waiter = TAILQ_FIRST(&told))) {
                TAILQ_REMOVE(&told, waiter, entry);
                waiter->held(waiter, error);
        }
}

void image_hold(struct image *image, struct hold_waiter *waiter) {
        struct images *images = image->images;

        if (images->draining) {
                waiter->held(waiter, -ESHUTDOWN);
                return;
        }
        if (!images->shared)
                image->hold_state = IMAGE_HELD;
        if (image_pin(image)) {
                waiter->held(waiter, 0);
                return;
        }

        TAILQ_INSERT_TAIL(&image->hold_waiters, waiter, entry);
        if (image->hold_state == IMAGE_LOOSE)
                image_take(image);
}

bool image_pin(struct image *image) {
        if (image->hold_state != IMAGE_HELD)
                return false;

        image->n_pins++;
        return true;
}

void image_unpin(struct image *image) {
        assert(image->n_pins > 0);

        image->n_pins--;
        image_review_hold(image);
}

/* --- letting go --- */

static void let_go(struct image *image) {
        struct images *images = image->images;
        struct hand_over_request *request;
        char pid[PID_SIZE];

        if (images->shared)
                images->store->ops->let_go(image->handle);
        image->hold_state = IMAGE_LOOSE;

        image_ref(image);
        while ((request = TAILQ_FIRST(&image->requests))) {
                TAILQ_REMOVE(&image->requests, request, entry);
                log_event(LOG_INFO, PEER_FIELDS(image, request->pid, pid), "%s was handed over to process %ju",
                        image->name, (uintmax_t) request->pid);
                request->released(request);
        }
        if (!TAILQ_EMPTY(&image->hold_waiters)) {
                if (images->draining)
                        image_answer_hold(image, -ESHUTDOWN, _HAND_OVER_WHY_MAX);
                else
                        image_take(image);
        }
        image_release(image);
}

void image_review_hold(struct image *image) {
        if (image->n_pins > 0 || anybody(image, has_in_hand))
                return;
        /* A snapshot of what another process writes would be of nothing. */
        if (image->hold_state == IMAGE_LETTING_GO ||
                (image->hold_state == IMAGE_HELD && !anybody(image, writes_here) && !image->gate))
                let_go(image);
}

bool image_is_being_let_go(const struct image *image) {
        return image->hold_state == IMAGE_LETTING_GO;
}

bool image_is_held(const struct image *image) {
        return image->hold_state == IMAGE_HELD;
}

static void start_letting_go(struct image *image) {
        struct attachment *a;

        image->hold_state = IMAGE_LETTING_GO;
        TAILQ_FOREACH(a, &image->attachments, entry)
                if (a->held && !a->ended)
                        a->moved = true;
        if (image->gate)
                image->gate->abandoned(image->gate);
        image_review_hold(image);
}

/* Another proxy wants an image. */
int images_wanted(struct images *images, sd_id128_t uuid, enum hand_over_why why, struct hand_over_request *request) {
        struct image *image;

        TAILQ_FOREACH(image, &images->images, entry)
                if ((image->hold_state == IMAGE_HELD || image->hold_state == IMAGE_LETTING_GO) &&
                        sd_id128_equal(image->handle->uuid, uuid))
                        break;
        if (!image) {
                request->released(request);
                return 0;
        }

        if ((why == HAND_OVER_CLASSIC && (image->n_pins > 0 || anybody(image, writes_here))) ||
                (why == HAND_OVER_TAKE && image->n_unleased_writers > 0))
                return -EBUSY;

        TAILQ_INSERT_TAIL(&image->requests, request, entry);
        if (image->hold_state == IMAGE_HELD)
                start_letting_go(image);
        return 0;
}

void images_set_draining(struct images *images, bool on) {
        struct image *image, *next;

        images->draining = on;
        if (!on)
                return;

        for (image = TAILQ_FIRST(&images->images); image; image = next) {
                image_ref(image);
                if (image->taking)
                        image_stop_taking(image);
                else if (image->hold_state == IMAGE_HELD)
                        start_letting_go(image);
                next = TAILQ_NEXT(image, entry);
                image_release(image);
        }
}

static int wanted(sd_id128_t uuid, enum hand_over_why why, struct hand_over_request *request, void *userdata) {
        return images_wanted(userdata, uuid, why, request);
}

int images_share(struct images *images, struct ring *ring, sd_id128_t instance) {
        const struct store_ops *ops = images->store->ops;

        images->ring = ring;
        images->shared = ops->hold || ops->claim;
        if (!ops->hold)
                return 0;
        return hand_over_new(&images->hand_over, ring, ops->meeting_place(images->store), instance, wanted, images);
}
