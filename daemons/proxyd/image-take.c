/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How this process comes to hold an image: a loop around one truth, whether the lock can be had. Try; find it taken, and by whom; ask; try again.
 *
 *     TRYING ──▶ taken ──▶ ASKING ──released──▶ TRYING          TRYING ──▶ got it, or failed ──▶ OVER
 *        ▲                   │ └──silent──▶ TRYING ──still the same──▶ KILLING ──▶ PAUSING
 *        └─── PAUSING ◀──────┘ hung up
 *
 * Silence makes the holder one to be killed, but only when one more try shows that it still is the holder. A process that has died may keep its lock until its writes are over, and that
 * is waited for by trying. A store with claim() does all of it but the trying, and then the holder has no pid here. */

#include <string.h>

#include "message-ids.h"
#include "attachment-internal.h"
#include "container-of.h"
#include "log.h"

#define PAUSE_USEC 2000U     /* between two tries while nobody can be asked */
#define LIMIT_USEC 30000000U /* for everything */

enum taking_state {
        TAKING_TRYING,  /* on the store's thread */
        TAKING_PAUSING, /* until the next try */
        TAKING_ASKING,
        TAKING_KILLING,
        TAKING_OVER, /* waits only to be freed */
};

struct taking {
        struct image *image;
        enum taking_state state;
        struct job job;
        int result;                 /* of the job */
        struct store_holder holder; /* who has it, when it is taken */
        struct store_holder asked;  /* who was asked last */
        enum hand_over_why why;     /* ... on whose account */
        uint64_t began_usec, asked_usec;
        unsigned n_asked; /* how many different holders */
        bool silent;      /* asked is, or does not listen, for longer than it may */
        bool stopping;
        struct ring_timer timer;
        struct hand_over_ask ask;
        TAILQ_ENTRY(taking) entry;
};

static void over(struct taking *t) {
        if (t->state != TAKING_OVER || !ring_timer_is_idle(&t->timer))
                return;

        TAILQ_REMOVE(&t->image->images->takings, t, entry);
        image_release(t->image);
        free(t);
}

static void timer_stopped(struct ring_timer *timer) {
        over(CONTAINER_OF(timer, struct taking, timer));
}

static enum hand_over_why strongest(const struct image *image) {
        enum hand_over_why why = HAND_OVER_CLASSIC;
        const struct hold_waiter *waiter;

        TAILQ_FOREACH(waiter, &image->hold_waiters, entry)
                if (waiter->why > why)
                        why = waiter->why;
        return why;
}

static void finish(struct taking *t, int error) {
        struct image *image = image_ref(t->image);
        uint64_t now = ring_now_usec(image->images->ring);
        char pid[PID_SIZE];

        image->hold_state = error < 0 ? IMAGE_LOOSE : IMAGE_HELD;
        image->taking = NULL;
        if (error == 0 && t->n_asked > 0)
                log_event(LOG_INFO, PEER_FIELDS(image, t->asked.pid, pid),
                        "%s was taken over from process %ju in %ju.%03ju ms", image->name, (uintmax_t) t->asked.pid,
                        (uintmax_t) (now - t->began_usec) / 1000U, (uintmax_t) (now - t->began_usec) % 1000U);
        else if (error == -ETIMEDOUT)
                log_event(LOG_ERR, PEER_FIELDS(image, t->holder.pid, pid),
                        "%s cannot be taken over: process %ju has not let go of it within %u s%s", image->name,
                        (uintmax_t) t->holder.pid, LIMIT_USEC / 1000000U,
                        t->holder.pid == 0 ? " (which process it is cannot be told)" : "");

        t->state = TAKING_OVER;
        ring_timer_unset(&t->timer);
        over(t);

        image_answer_hold(image, error, _HAND_OVER_WHY_MAX);
        image_review_hold(image);
        image_release(image);
}

static void try(struct taking *t) {
        t->state = TAKING_TRYING;
        if (t->image->images->store->ops->claim)
                t->why = strongest(t->image);
        jobs_submit_reserved(t->image->images->jobs, &t->job);
}

static void pause_a_little(struct taking *t) {
        t->state = TAKING_PAUSING;
        ring_timer_set(&t->timer, PAUSE_USEC);
}

static void run(struct job *job) {
        struct taking *t = CONTAINER_OF(job, struct taking, job);
        struct images *images = t->image->images;
        const struct store_ops *ops = images->store->ops;

        if (ops->claim)
                t->result = ops->claim(t->image->handle, t->why);
        else
                t->result = ops->hold(t->image->handle, hand_over_self(images->hand_over), &t->holder);
}

static bool is_same_process(const struct store_holder *a, const struct store_holder *b) {
        return a->pid == b->pid && a->start_time == b->start_time && sd_id128_equal(a->boot_id, b->boot_id);
}

static void ask(struct taking *t, uint64_t now) {
        if (t->n_asked == 0 || !is_same_process(&t->asked, &t->holder)) {
                t->asked = t->holder;
                t->asked_usec = now;
                t->silent = false;
                t->n_asked++;
        }

        t->state = TAKING_ASKING;
        t->why = strongest(t->image);
        ring_timer_set(&t->timer, t->began_usec + LIMIT_USEC - now);
        hand_over_ask_start(&t->ask, &t->asked, t->image->handle->uuid, t->why);
}

static void kill_holder(struct taking *t, uint64_t now) {
        char pid[PID_SIZE];

        log_event(LOG_WARNING,
                LOG_FIELDS({ "MESSAGE_ID", MESSAGE_PEER_KILLED }, { "IMAGE", t->image->name },
                        { "PEER_PID", print_pid(t->asked.pid, pid) },
                        { "STATE", image_hold_state_to_string(t->image->hold_state) }),
                "Process %ju holds %s and does not answer for %ju ms: it is killed, so that nothing that it has in "
                "hand is written later",
                (uintmax_t) t->asked.pid, t->image->name, (uintmax_t) (now - t->asked_usec) / 1000U);
        t->state = TAKING_KILLING;
        t->silent = false;
        ring_timer_set(&t->timer, t->began_usec + LIMIT_USEC - now);
        hand_over_ask_kill(&t->ask, &t->asked);
}

static void tried(struct job *job) {
        struct taking *t = CONTAINER_OF(job, struct taking, job);
        struct images *images = t->image->images;
        uint64_t now = ring_now_usec(images->ring);

        if (t->result == 0 && images->draining) {
                images->store->ops->let_go(t->image->handle);
                t->result = -ESHUTDOWN;
        }
        if (t->result <= 0)
                finish(t, t->result);
        else if (t->stopping)
                finish(t, -ESHUTDOWN);
        else if (now - t->began_usec >= LIMIT_USEC)
                finish(t, -ETIMEDOUT);
        else if (t->holder.pid == 0)
                pause_a_little(t);
        else if (t->silent && is_same_process(&t->asked, &t->holder))
                kill_holder(t, now);
        else
                ask(t, now);
}

static void asked(struct hand_over_ask *ask, enum hand_over_outcome outcome) {
        struct taking *t = CONTAINER_OF(ask, struct taking, ask);
        struct image *image = t->image;
        uint64_t now = ring_now_usec(image->images->ring);
        char pid[PID_SIZE];

        ring_timer_unset(&t->timer);
        if (t->stopping) {
                finish(t, -ESHUTDOWN);
                return;
        }

        switch (outcome) {
        case HAND_OVER_RELEASED:
                try(t);
                break;

        case HAND_OVER_REFUSED:
                image_ref(image);
                image_answer_hold(image, -EBUSY, t->why);
                /* Somebody of more weight has come meanwhile. */
                if (TAILQ_EMPTY(&image->hold_waiters))
                        finish(t, -EBUSY);
                else
                        try(t);
                image_release(image);
                break;

        case HAND_OVER_HUNG_UP:
                /* Nobody listens: it has died, which the lock will show, or it has lost its socket, which does not make it harmless. */
                if (ask->acknowledged)
                        t->asked_usec = now;
                t->silent = now - t->asked_usec >= HAND_OVER_ACK_USEC;
                pause_a_little(t);
                break;

        case HAND_OVER_SILENT:
                t->silent = true;
                try(t);
                break;

        case HAND_OVER_GONE:
                t->asked_usec = now;
                pause_a_little(t);
                break;

        case HAND_OVER_FAILED:
                log_event(LOG_ERR, PEER_FIELDS(image, t->asked.pid, pid),
                        "Process %ju holds %s, does not answer and cannot be killed: %s. End it by hand",
                        (uintmax_t) t->asked.pid, image->name, strerror(-ask->error));
                finish(t, ask->error);
                break;

        case HAND_OVER_STOPPED:
        default:
                finish(t, -ETIMEDOUT);
        }
}

static void stop(struct taking *t) {
        if (!hand_over_ask_is_idle(&t->ask))
                hand_over_ask_stop(&t->ask);
        else if (t->state == TAKING_PAUSING) {
                ring_timer_unset(&t->timer);
                finish(t, -ESHUTDOWN);
        }
}

void image_stop_taking(struct image *image) {
        image->taking->stopping = true;
        stop(image->taking);
}

static void due(struct ring_timer *timer) {
        struct taking *t = CONTAINER_OF(timer, struct taking, timer);

        if (t->state == TAKING_PAUSING)
                try(t);
        else
                stop(t);
}

void image_take(struct image *image) {
        struct images *images = image->images;
        struct taking *t;

        t = malloc(sizeof(*t));
        if (!t) {
                image_answer_hold(image, -ENOMEM, _HAND_OVER_WHY_MAX);
                return;
        }

        *t = (struct taking){
                .image = image_ref(image),
                .job = { .run = run, .done = tried },
                .began_usec = ring_now_usec(images->ring),
        };
        ring_timer_init(&t->timer, images->ring, due);
        t->timer.stopped = timer_stopped;
        if (images->hand_over)
                hand_over_ask_init(&t->ask, images->hand_over, asked);
        TAILQ_INSERT_TAIL(&images->takings, t, entry);
        image->taking = t;
        image->hold_state = IMAGE_TAKING;
        try(t);
}

void images_abandon_takings(struct images *images) {
        struct taking *t;

        while ((t = TAILQ_FIRST(&images->takings))) {
                TAILQ_REMOVE(&images->takings, t, entry);
                hand_over_ask_abandon(&t->ask);
                t->image->taking = NULL;
                image_release(t->image);
                free(t);
        }
}
