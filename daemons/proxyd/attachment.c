/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rule that this file keeps: nobody is told that he has an image before the last write of those who had it is
 * over. Expiring comes first, so that the number of those writes can only fall. */

#include <assert.h>
#include <string.h>

#include "attachment-internal.h"

int images_new(struct images **ret, struct store *store, struct jobs *jobs) {
        struct images *images;

        images = calloc(1, sizeof(*images));
        if (!images)
                return -ENOMEM;

        images->store = store;
        images->jobs = jobs;
        TAILQ_INIT(&images->images);
        TAILQ_INIT(&images->takings);
        *ret = images;
        return 0;
}

struct images *images_free(struct images *images) {
        struct image *image, *next;

        if (!images)
                return NULL;

        images_abandon_takings(images);
        hand_over_free(images->hand_over);
        /* A look that has not come back holds its image. */
        for (image = TAILQ_FIRST(&images->images); image; image = next) {
                next = TAILQ_NEXT(image, entry);
                if (image->looking)
                        image_release(image);
        }
        assert(images->n == 0);
        free(images);
        return NULL;
}

unsigned images_count(const struct images *images) {
        return images->n;
}

struct hand_over *images_hand_over(const struct images *images) {
        return images->hand_over;
}

struct image *images_find(struct images *images, const char *name) {
        struct image *image;

        TAILQ_FOREACH(image, &images->images, entry)
                if (!image->forgotten && strcmp(image->name, name) == 0)
                        return image;
        return NULL;
}

struct image *images_acquire(struct images *images, const char *name) {
        struct image *image;

        image = images_find(images, name);
        if (!image) {
                image = calloc(1, sizeof(*image));
                if (!image)
                        return NULL;
                image->images = images;
                strcpy(image->name, name);
                TAILQ_INIT(&image->attachments);
                TAILQ_INIT(&image->waiters);
                TAILQ_INIT(&image->hold_waiters);
                TAILQ_INIT(&image->requests);
                TAILQ_INSERT_TAIL(&images->images, image, entry);
                images->n++;
        }

        image->n_ref++;
        return image;
}

struct image *image_ref(struct image *image) {
        image->n_ref++;
        return image;
}

void image_forget(struct image *image) {
        image->forgotten = true;
}

struct image *image_release(struct image *image) {
        if (!image || --image->n_ref > 0)
                return NULL;

        assert(TAILQ_EMPTY(&image->attachments) && TAILQ_EMPTY(&image->waiters) && !image->taking);
        TAILQ_REMOVE(&image->images->images, image, entry);
        image->images->n--;
        image->images->store->ops->close_image(image->handle);
        image_limit_free(image->limit);
        free(image);
        return NULL;
}

bool image_is_attached(const struct image *image) {
        const struct attachment *a;

        TAILQ_FOREACH(a, &image->attachments, entry)
                if (!a->ended)
                        return true;
        return false;
}

static bool is_settled(const struct image *image) {
        const struct attachment *a;

        TAILQ_FOREACH(a, &image->attachments, entry)
                if ((a->expired || a->ended || image->n_quiescing > 0) && a->n_changes > 0)
                        return false;
        return true;
}

static void wake(struct image *image) {
        struct image_waiter *waiter;

        if (!is_settled(image))
                return;

        /* A waiter may release the image, but only one of several. */
        image->n_ref++;
        while ((waiter = TAILQ_FIRST(&image->waiters))) {
                TAILQ_REMOVE(&image->waiters, waiter, entry);
                waiter->settled(waiter);
        }
        image_release(image);
}

void image_quiesce(struct image *image, struct image_waiter *waiter) {
        image->n_quiescing++;
        image_settle(image, waiter);
}

void image_unquiesce(struct image *image) {
        image->n_quiescing--;
}

void image_settle(struct image *image, struct image_waiter *waiter) {
        TAILQ_INSERT_TAIL(&image->waiters, waiter, entry);
        wake(image);
}

void attachment_start(struct attachment *a, struct image *image) {
        assert(!a->image);

        a->image = image;
        a->ended = false;
        a->expired = false;
        a->held = a->writes;
        /* Asked for while it came. */
        a->moved = a->writes && image->hold_state == IMAGE_LETTING_GO;
        a->n_ios = a->n_changes = 0;
        a->limit = image->size.bytes;
        image->n_ref++;
        TAILQ_INSERT_TAIL(&image->attachments, a, entry);
}

static void forget(struct attachment *a) {
        struct image *image = a->image;

        TAILQ_REMOVE(&image->attachments, a, entry);
        a->image = NULL;
        wake(image);
        image_review_hold(image);
        image_release(image);
}

void attachment_end(struct attachment *a) {
        if (!a->image || a->ended)
                return;

        a->ended = true;
        if (a->writes && !a->leased)
                a->image->n_unleased_writers--;
        if (a->n_ios == 0)
                forget(a);
}

void attachment_renew(struct attachment *a, uint64_t generation) {
        assert(a->image && !a->ended && a->n_ios == 0);
        a->generation = generation;
        a->expired = false;
        a->moved = a->image->hold_state == IMAGE_LETTING_GO;
}

void attachment_take_size(struct attachment *a) {
        a->limit = a->image->size.bytes;
}

void attachment_make_read_only(struct attachment *a) {
        if (a->image && !a->ended && a->writes && !a->leased)
                a->image->n_unleased_writers--;
        a->writes = false;
        if (a->image)
                image_review_hold(a->image);
}

void attachment_io_started(struct attachment *a, bool change) {
        a->n_ios++;
        a->n_changes += change;
}

void attachment_io_done(struct attachment *a, bool change) {
        struct image *image = a->image;

        assert(a->n_ios > 0);
        a->n_ios--;
        a->n_changes -= change;

        if (change && image->gate)
                image_gate_review(image->gate);
        if (a->ended && a->n_ios == 0) {
                forget(a);
                return;
        }
        if (change && a->n_changes == 0 && (a->ended || a->expired || image->n_quiescing > 0))
                wake(image);
        if (image->hold_state == IMAGE_LETTING_GO || (a->held && a->n_ios == 0 && (a->expired || !a->writes)))
                image_review_hold(image);
}

static void image_size_is(struct image *image, const struct store_size *size) {
        bool resized = image->size.bytes > 0 && image->size.epoch != size->epoch;
        struct attachment *a;

        image->size = *size;
        TAILQ_FOREACH(a, &image->attachments, entry)
                if (a->limit > size->bytes)
                        a->limit = size->bytes;
        if (resized && image->images->resized)
                image->images->resized(image, image->images->resized_userdata);
}

/* Without memory it has no limits: rather that than no image. */
static void image_limits_are(struct image *image) {
        const struct store_ops *ops = image->images->store->ops;
        struct store_limits limits;

        if (!ops->get_limits)
                return;
        ops->get_limits(image->handle, &limits);
        if (!image->limit && (limits.iops > 0 || limits.bandwidth > 0))
                image->limit = image_limit_new();
        if (image->limit)
                image_limit_set(image->limit, &limits);
}

void image_lease_is(struct image *image, const struct lease *lease) {
        struct attachment *a;

        struct store_size size;

        image->generation = lease->generation;
        image->lease_live = lease->live;
        image->images->store->ops->get_size(image->handle, &size);

        TAILQ_FOREACH(a, &image->attachments, entry)
                if (a->writes && (a->generation != lease->generation || (a->leased && !lease->live)))
                        a->expired = true;
        image_size_is(image, &size);
        image_limits_are(image);
        image_review_hold(image);
}

void images_tell_sizes(struct images *images, void (*resized)(struct image *image, void *userdata), void *userdata) {
        images->resized = resized;
        images->resized_userdata = userdata;
}

/* --- changes from elsewhere --- */

static void look(struct job *job) {
        struct image *image = (struct image *) ((char *) job - offsetof(struct image, look_job));

        image->look_result = image->images->store->ops->change_lease(image->handle, NULL, NULL, &image->looked);
}

static void start_looking(struct image *image) {
        image->looking = true;
        image->look_again = false;
        jobs_submit_reserved(image->images->jobs, &image->look_job);
}

static void looked(struct job *job) {
        struct image *image = (struct image *) ((char *) job - offsetof(struct image, look_job));

        /* Of an image that is gone, or cannot be read, the sessions learn by their requests. */
        if (image->look_result >= 0) {
                image_lease_is(image, &image->looked);
                wake(image);
        }

        image->looking = false;
        if (image->look_again)
                start_looking(image);
        else
                image_release(image);
}

void images_record_changed(struct images *images, const struct store_image *handle) {
        struct image *image;

        /* The handle of an image that nobody is attached to is the store thread's; whoever attaches looks for himself. */
        TAILQ_FOREACH(image, &images->images, entry)
                if (!TAILQ_EMPTY(&image->attachments) && image->handle == handle)
                        break;
        if (!image)
                return;

        image->look_again = true;
        if (image->looking)
                return;
        image->look_job = (struct job){ .run = look, .done = looked };
        image_ref(image);
        start_looking(image);
}
