/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The way of a job through its states. Those in brackets are a snapshot's only:
 *
 *     [OPENING ▶ HOLDING ▶] BEGINNING ▶ [PREPARING ▶ STILLING ▶] SHARING ┬──────────▶ SYNCING ▶ COMMITTING ▶ ENDING ▶ DONE
 *                                                                        └─▶ COPYING ─▲
 *     any ──error, cancelled──▶ ENDING ▶ FAILED, CANCELLED
 *
 * The image is pinned from HOLDING until it has been shared, or until its gate has begun to move: those are moments. From then on another proxy may take the image, which ends a snapshot that is still being
 * copied: the clients' I/O goes first. An image that another process holds, and does not give away, has its snapshot made there: HOLDING ▶ LOOKING ▶ ELSEWHERE ▶ ENDING. */

#include <assert.h>
#include <string.h>

#include "container-of.h"
#include "image-job.h"
#include "log.h"

#define RUNNING_MAX   16U
#define KEPT_MAX      64U /* of those that are over */

#define SILENCE_USEC  30000000U /* of a holder that makes a snapshot for us */
#define TRIES_MAX     5U        /* to find who holds an image */
#define PATIENCE_USEC 1000000U  /* then whoever asked for it is told that it takes its time */

TAILQ_HEAD(image_job_list, image_job);

struct image_jobs {
        struct images *images;
        struct store *store;
        struct ring *ring;
        struct jobs *store_jobs, *copies;
        struct image_job_list jobs; /* the oldest first */
        unsigned n_running, n_kept;
        struct ring_timer patience;
};

struct image_job {
        struct image_jobs *jobs;
        sd_id128_t id, made;
        enum image_job_state state;
        struct store_copy_how how; /* its strings are the following */
        char name[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE], new_name[IVBS_IMAGE_NAME_SIZE];
        char user[IVBS_USER_SIZE + 1];
        struct image_job_waiter *waiter;
        struct image *image; /* of a snapshot */
        struct hold_waiter hold;
        struct image_gate gate;
        bool pinned, cancelled;

        /* Made by another process for us; made by us for another process. */
        struct hand_over_errand errand;
        struct hand_over_order *order;
        struct store_holder holder;
        unsigned n_tries;
        int error; /* why it ends */

        struct store_copy *copy;
        struct job job;
        int result; /* of the job */
        uint64_t offset, length, next;
        uint64_t began_usec, ended_usec, size;
        TAILQ_ENTRY(image_job) entry;
};

const char *image_job_state_to_string(enum image_job_state state) {
        static const char *const names[_IMAGE_JOB_STATE_MAX] = {
                [IMAGE_JOB_OPENING] = "opening",
                [IMAGE_JOB_HOLDING] = "holding",
                [IMAGE_JOB_LOOKING] = "looking",
                [IMAGE_JOB_ELSEWHERE] = "elsewhere",
                [IMAGE_JOB_BEGINNING] = "beginning",
                [IMAGE_JOB_PREPARING] = "preparing",
                [IMAGE_JOB_STILLING] = "stilling",
                [IMAGE_JOB_SHARING] = "sharing",
                [IMAGE_JOB_COPYING] = "copying",
                [IMAGE_JOB_SYNCING] = "syncing",
                [IMAGE_JOB_COMMITTING] = "committing",
                [IMAGE_JOB_ENDING] = "ending",
                [IMAGE_JOB_DONE] = "done",
                [IMAGE_JOB_FAILED] = "failed",
                [IMAGE_JOB_CANCELLED] = "cancelled",
        };

        return names[state];
}

static const char *kind_to_string(enum store_copy_kind kind) {
        static const char *const names[_STORE_COPY_KIND_MAX] = {
                [STORE_COPY_SNAPSHOT] = "snapshot",
                [STORE_COPY_CLONE] = "clone",
                [STORE_COPY_ROLL_BACK] = "roll back",
        };

        return names[kind];
}

static bool is_over(const struct image_job *job) {
        return job->state >= IMAGE_JOB_DONE;
}

static void tell(struct image_job *job) {
        struct image_job_waiter *waiter = TAKE_PTR(job->waiter);

        if (waiter)
                waiter->told(waiter, job);
}

static void tell_order(struct image_job *job) {
        struct image_job_status status;

        image_job_get_status(job, &status);
        hand_over_order_goes(job->order, status.done, status.total);
}

static void patience_over(struct ring_timer *timer) {
        struct image_jobs *jobs = CONTAINER_OF(timer, struct image_jobs, patience);
        uint64_t now = ring_now_usec(jobs->ring);
        struct image_job *job, *next;
        bool more = false;

        for (job = TAILQ_FIRST(&jobs->jobs); job; job = next) {
                next = TAILQ_NEXT(job, entry);
                if (job->waiter && now - job->began_usec >= PATIENCE_USEC)
                        tell(job);
                if (job->order)
                        tell_order(job);
                if (job->state == IMAGE_JOB_ELSEWHERE && now - job->errand.heard_usec >= SILENCE_USEC) {
                        job->error = -ETIMEDOUT;
                        hand_over_errand_stop(&job->errand);
                }
                more = more || job->waiter || job->order || job->state == IMAGE_JOB_ELSEWHERE;
        }
        if (more)
                ring_timer_set(timer, PATIENCE_USEC / 2);
}

static void run_on(struct image_job *job, struct jobs *thread, enum image_job_state state, void (*run)(struct job *),
        void (*done)(struct job *)) {
        job->state = state;
        job->job = (struct job){ .run = run, .done = done };
        jobs_submit_reserved(thread, &job->job);
}

static struct image_job *JOB(struct job *job) {
        return CONTAINER_OF(job, struct image_job, job);
}

/* --- the end --- */

static void unpin(struct image_job *job) {
        if (job->pinned)
                image_unpin(job->image);
        job->pinned = false;
}

static void prune(struct image_jobs *jobs) {
        struct image_job *job, *next;

        for (job = TAILQ_FIRST(&jobs->jobs); job && jobs->n_kept > KEPT_MAX; job = next) {
                next = TAILQ_NEXT(job, entry);
                if (!is_over(job))
                        continue;
                TAILQ_REMOVE(&jobs->jobs, job, entry);
                jobs->n_kept--;
                free(job);
        }
}

static void ended(struct job *j) {
        struct image_job *job = JOB(j);
        struct image_jobs *jobs = job->jobs;
        const char *what = kind_to_string(job->how.kind);

        job->ended_usec = ring_now_usec(jobs->ring);
        job->image = image_release(job->image);
        jobs->n_running--;
        jobs->n_kept++;

        if (job->error == 0) {
                job->state = IMAGE_JOB_DONE;
                log_event(LOG_NOTICE, LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name }),
                        "%s has made a %s of %s: %s%s%s", job->user, what, job->name, job->snapshot,
                        job->new_name[0] ? " as " : "", job->new_name);
        } else {
                job->state = job->cancelled ? IMAGE_JOB_CANCELLED : IMAGE_JOB_FAILED;
                log_event(job->cancelled ? LOG_NOTICE : LOG_WARNING,
                        LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name }), "No %s of %s (%s) for %s: %s", what,
                        job->name, job->snapshot, job->user,
                        job->cancelled ? "it was cancelled" : strerror(-job->error));
        }
        if (job->order)
                hand_over_order_over(TAKE_PTR(job->order), job->error, job->made);
        tell(job);
        prune(jobs);
}

static void run_free(struct job *j) {
        struct image_job *job = JOB(j);

        if (job->copy)
                job->copy = job->jobs->store->ops->copy_free(job->copy);
}

static void end(struct image_job *job, int error) {
        job->error = error;
        image_gate_open(&job->gate);
        unpin(job);
        run_on(job, job->jobs->store_jobs, IMAGE_JOB_ENDING, run_free, ended);
}

/* After each step. Returns whether it goes on. */
static bool goes_on(struct image_job *job, int r) {
        if (job->cancelled)
                r = -ECANCELED;
        else if (job->error < 0)
                r = job->error;
        if (r < 0)
                end(job, r);
        return r >= 0;
}

/* --- commit --- */

static void run_commit(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->copy_commit(job->copy, &job->made);
}

static void committed(struct job *j) {
        struct image_job *job = JOB(j);

        /* Too late for second thoughts. */
        if (job->result >= 0)
                job->cancelled = false;
        end(job, job->result);
}

static void run_sync(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->copy_sync(job->copy);
}

static void synced(struct job *j) {
        struct image_job *job = JOB(j);

        if (goes_on(job, job->result))
                run_on(job, job->jobs->store_jobs, IMAGE_JOB_COMMITTING, run_commit, committed);
}

/* All bytes are there: what becomes of the image is of no interest any more. */
static void copied(struct image_job *job) {
        image_gate_open(&job->gate);
        unpin(job);
        run_on(job, job->jobs->copies, IMAGE_JOB_SYNCING, run_sync, synced);
}

/* --- bytes --- */

static void copy_next(struct image_job *job);

static void run_piece(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->copy_piece(job->copy, job->offset, job->length, &job->next);
}

static void piece_copied(struct job *j) {
        struct image_job *job = JOB(j);

        if (!goes_on(job, job->result))
                return;
        if (job->image)
                image_gate_copied(&job->gate, job->offset, job->next);
        /* Who goes on may have taken the image along. */
        if (goes_on(job, 0))
                copy_next(job);
}

/* A source that nobody changes is copied from the beginning to the end. */
static void copy_next(struct image_job *job) {
        bool more;

        if (job->image)
                more = image_gate_next(&job->gate, &job->offset, &job->length);
        else {
                job->offset = job->next;
                job->length = 1024U * 1024U;
                more = job->offset < job->size;
        }
        if (more)
                run_on(job, job->jobs->copies, IMAGE_JOB_COPYING, run_piece, piece_copied);
        else
                copied(job);
}

static void run_whole(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->copy_whole(job->copy);
}

static void shared(struct job *j) {
        struct image_job *job = JOB(j);
        int r;

        if (!goes_on(job, job->result))
                return;
        if (job->result == 0) {
                copied(job);
                return;
        }

        if (job->image) {
                r = image_is_being_let_go(job->image) ? -EREMOTE : image_gate_start_copying(&job->gate, job->size);
                if (r < 0) {
                        end(job, r);
                        return;
                }
                unpin(job);
                if (!goes_on(job, 0))
                        return;
        }
        copy_next(job);
        tell(job);
}

/* --- the moment of a snapshot --- */

static void share(struct image_job *job) {
        run_on(job, job->jobs->copies, IMAGE_JOB_SHARING, run_whole, shared);
}

static void quiet(struct image_gate *gate) {
        share(CONTAINER_OF(gate, struct image_job, gate));
}

static void abandoned(struct image_gate *gate) {
        struct image_job *job = CONTAINER_OF(gate, struct image_job, gate);

        /* While it is pinned it is not let go, and it is only a moment. */
        if (job->pinned)
                return;
        job->error = -EREMOTE;
        image_gate_open(gate);
}

static void run_prepare(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->copy_prepare(job->copy);
}

static void prepared(struct job *j) {
        struct image_job *job = JOB(j);

        if (!goes_on(job, job->result))
                return;
        if (job->image->gate || job->image->n_quiescing > 0) {
                end(job, -EAGAIN);
                return;
        }
        job->state = IMAGE_JOB_STILLING;
        image_gate_close(&job->gate, job->image);
}

/* --- the beginning --- */

static void run_begin(struct job *j) {
        struct image_job *job = JOB(j);
        struct store *store = job->jobs->store;

        job->result = store->ops->copy_begin(store, &job->how, &job->copy);
}

static void begun(struct job *j) {
        struct image_job *job = JOB(j);

        if (job->copy)
                job->size = job->copy->size;
        if (!goes_on(job, job->result))
                return;
        if (job->image)
                run_on(job, job->jobs->copies, IMAGE_JOB_PREPARING, run_prepare, prepared);
        else
                share(job);
}

static void begin(struct image_job *job) {
        run_on(job, job->jobs->store_jobs, IMAGE_JOB_BEGINNING, run_begin, begun);
}

static void hold(struct image_job *job);

/* --- made by another process --- */

static void errand_over(struct hand_over_errand *errand, int error, sd_id128_t made) {
        struct image_job *job = CONTAINER_OF(errand, struct image_job, errand);

        /* It does not hold the image either, any more: whoever does, perhaps nobody. */
        if (error == -ESTALE && !job->cancelled && job->error == 0 && job->n_tries < TRIES_MAX) {
                hold(job);
                return;
        }
        /* Made is made, cancelled or not. */
        if (error == 0) {
                job->cancelled = false;
                job->made = made;
                job->size = errand->total;
                end(job, 0);
                return;
        }
        (void) goes_on(job, error);
}

static void run_look(struct job *j) {
        struct image_job *job = JOB(j);

        job->result = job->jobs->store->ops->look_at_holder(job->image->handle, &job->holder);
}

static void looked(struct job *j) {
        struct image_job *job = JOB(j);
        int r = job->result;

        if (!goes_on(job, r))
                return;
        job->errand.over = errand_over;
        r = hand_over_errand_start(&job->errand, images_hand_over(job->jobs->images), &job->holder,
                job->image->handle->uuid, job->name, job->snapshot, job->user);
        if (!goes_on(job, r))
                return;
        job->state = IMAGE_JOB_ELSEWHERE;
}

/* Another one wants a snapshot of an image that we hold. */
static void order_cancelled(struct hand_over_order *order) {
        image_job_cancel(order->userdata);
}

static int take_order(struct hand_over_order *order, void *userdata) {
        struct image_jobs *jobs = userdata;
        struct image *image = images_find(jobs->images, order->name);
        const struct store_copy_how how = {
                .kind = STORE_COPY_SNAPSHOT, .name = order->name, .uuid = order->uuid, .snapshot = order->snapshot
        };
        struct image_job *job;
        int r;

        if (!image || !image_is_held(image) || !sd_id128_equal(image->handle->uuid, order->uuid))
                return -ESTALE;
        r = image_job_start(jobs, &how, order->user, NULL);
        if (r < 0)
                return -EAGAIN;
        job = TAILQ_LAST(&jobs->jobs, image_job_list);
        job->order = order;
        order->userdata = job;
        order->cancelled = order_cancelled;
        return 0;
}

static void held(struct hold_waiter *waiter, int error) {
        struct image_job *job = CONTAINER_OF(waiter, struct image_job, hold);

        job->pinned = error == 0;
        /* Somebody writes there: it is not taken away for a snapshot. What was asked of us we hold, or held a moment ago. */
        if (error == -EBUSY && !job->cancelled && images_hand_over(job->jobs->images)) {
                if (job->order)
                        end(job, -ESTALE);
                else
                        run_on(job, job->jobs->store_jobs, IMAGE_JOB_LOOKING, run_look, looked);
                return;
        }
        if (error == -ESTALE)
                image_forget(job->image);
        if (goes_on(job, error))
                begin(job);
}

static void hold(struct image_job *job) {
        job->n_tries++;
        job->state = IMAGE_JOB_HOLDING;
        job->hold = (struct hold_waiter){ .held = held, .why = HAND_OVER_CLASSIC };
        image_hold(job->image, &job->hold);
}

static void run_open(struct job *j) {
        struct image_job *job = JOB(j);
        struct store *store = job->jobs->store;
        struct lease lease;

        job->result = job->image->handle ? 0 : store->ops->open_image(store, job->name, &job->image->handle);
        if (job->result >= 0)
                job->result = store->ops->change_lease(job->image->handle, NULL, NULL, &lease);
}

static void opened(struct job *j) {
        struct image_job *job = JOB(j);

        if (job->result == -ESTALE)
                image_forget(job->image);
        if (goes_on(job, job->result))
                hold(job);
}

int image_job_start(
        struct image_jobs *jobs, const struct store_copy_how *how, const char *user, struct image_job_waiter *waiter) {
        struct image_job *job;
        int r;

        if (jobs->n_running >= RUNNING_MAX)
                return -EBUSY;
        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        r = sd_id128_randomize(&job->id);
        if (r >= 0 && how->kind == STORE_COPY_SNAPSHOT) {
                job->image = images_acquire(jobs->images, how->name);
                if (!job->image)
                        r = -ENOMEM;
        }
        if (r < 0) {
                free(job);
                return r;
        }

        job->jobs = jobs;
        job->waiter = waiter;
        job->began_usec = ring_now_usec(jobs->ring);
        job->gate = (struct image_gate){ .quiet = quiet, .abandoned = abandoned };
        (void) snprintf(job->name, sizeof(job->name), "%s", how->name);
        (void) snprintf(job->snapshot, sizeof(job->snapshot), "%s", how->snapshot);
        (void) snprintf(job->new_name, sizeof(job->new_name), "%s", how->new_name ? how->new_name : "");
        (void) snprintf(job->user, sizeof(job->user), "%s", user);
        job->how = (struct store_copy_how){ .kind = how->kind,
                .name = job->name,
                .uuid = how->uuid,
                .snapshot = job->snapshot,
                .new_name = job->new_name };
        TAILQ_INSERT_TAIL(&jobs->jobs, job, entry);
        jobs->n_running++;
        if (!jobs->patience.armed)
                ring_timer_set(&jobs->patience, PATIENCE_USEC);

        if (job->image)
                run_on(job, jobs->store_jobs, IMAGE_JOB_OPENING, run_open, opened);
        else
                begin(job);
        return 0;
}

/* --- from outside --- */

struct image_job *image_jobs_find(struct image_jobs *jobs, sd_id128_t id) {
        struct image_job *job;

        TAILQ_FOREACH(job, &jobs->jobs, entry)
                if (sd_id128_equal(job->id, id))
                        return job;
        return NULL;
}

sd_id128_t image_job_id(const struct image_job *job) {
        return job->id;
}

const char *image_job_user(const struct image_job *job) {
        return job->user;
}

void image_job_get_status(const struct image_job *job, struct image_job_status *ret) {
        *ret = (struct image_job_status){
                .state = job->state,
                .error = job->error,
                .total = job->size,
                .elapsed_usec = (is_over(job) ? job->ended_usec : ring_now_usec(job->jobs->ring)) - job->began_usec,
                .made = job->state == IMAGE_JOB_DONE ? job->made : SD_ID128_NULL,
        };
        if (job->state == IMAGE_JOB_ELSEWHERE) {
                ret->done = job->errand.done;
                ret->total = job->errand.total;
        } else if (job->state == IMAGE_JOB_COPYING)
                ret->done = job->image ? image_gate_progress(&job->gate) : job->offset;
        else if (job->state > IMAGE_JOB_COPYING && job->error == 0)
                ret->done = job->size;
}

void image_job_cancel(struct image_job *job) {
        if (is_over(job) || job->state == IMAGE_JOB_ENDING)
                return;
        job->cancelled = true;
        if (job->state == IMAGE_JOB_ELSEWHERE)
                hand_over_errand_stop(&job->errand);
}

int image_jobs_new(struct image_jobs **ret, struct images *images, struct store *store, struct ring *ring,
        struct jobs *store_jobs, struct jobs *copies) {
        struct image_jobs *jobs;

        jobs = malloc(sizeof(*jobs));
        if (!jobs)
                return -ENOMEM;
        *jobs = (struct image_jobs){
                .images = images, .store = store, .ring = ring, .store_jobs = store_jobs, .copies = copies
        };
        TAILQ_INIT(&jobs->jobs);
        ring_timer_init(&jobs->patience, ring, patience_over);
        if (images_hand_over(images))
                hand_over_take_orders(images_hand_over(images), take_order, jobs);
        *ret = jobs;
        return 0;
}

struct image_jobs *image_jobs_free(struct image_jobs *jobs) {
        struct image_job *job;

        if (!jobs)
                return NULL;

        while ((job = TAILQ_FIRST(&jobs->jobs))) {
                TAILQ_REMOVE(&jobs->jobs, job, entry);
                if (!is_over(job)) {
                        if (job->state == IMAGE_JOB_ELSEWHERE)
                                hand_over_errand_abandon(&job->errand);
                        if (job->copy)
                                jobs->store->ops->copy_free(job->copy);
                        image_gate_forget(&job->gate);
                        image_release(job->image);
                }
                free(job);
        }
        free(jobs);
        return NULL;
}
