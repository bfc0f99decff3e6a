/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The way of a job through its states. Those in brackets are a snapshot's only:
 *
 *     [OPENING ▶ HOLDING ▶] BEGINNING ▶ [PREPARING ▶ STILLING ▶] SHARING ┬──────────▶ SYNCING ▶ COMMITTING ▶ ENDING ▶ DONE
 *                                                                        └─▶ COPYING ─▲
 *     any ──error, cancelled──▶ ENDING ▶ FAILED, CANCELLED
 *
 * A preallocated image is copied of nothing, and goes the same way. The image of a snapshot is pinned from HOLDING until it has been shared, or until its gate has begun to move: those are moments. From then on
 * another proxy may take the image, which ends a snapshot that is still being copied: the clients' I/O goes first. An image that another process holds, and does not give away, has its snapshot made there:
 * HOLDING ▶ LOOKING ▶ ELSEWHERE ▶ ENDING. */

#include <string.h>

#include "image-job-internal.h"
#include "log.h"
#include "message-ids.h"

#define RUNNING_MAX   16U
#define KEPT_MAX      64U /* of those that are over */

#define SILENCE_USEC  30000000U /* of a holder that makes a snapshot for us */
#define PATIENCE_USEC 1000000U  /* then whoever asked for it is told that it takes its time */

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
                [STORE_COPY_NEW] = "preallocated image",
        };

        return names[kind];
}

static bool is_over(const struct image_job *job) {
        return job->state >= IMAGE_JOB_DONE;
}

void image_job_tell(struct image_job *job) {
        struct image_job_waiter *waiter = TAKE_PTR(job->waiter);

        if (waiter)
                waiter->told(waiter, job);
}

static void patience_over(struct ring_timer *timer) {
        struct image_jobs *jobs = CONTAINER_OF(timer, struct image_jobs, patience);
        uint64_t now = ring_now_usec(jobs->ring);
        struct image_job *job, *next;
        bool more = false;

        for (job = TAILQ_FIRST(&jobs->jobs); job; job = next) {
                next = TAILQ_NEXT(job, entry);
                if (job->waiter && now - job->began_usec >= PATIENCE_USEC)
                        image_job_tell(job);
                if (job->order)
                        image_job_tell_order(job);
                if (job->state == IMAGE_JOB_ELSEWHERE && now - job->errand.heard_usec >= SILENCE_USEC) {
                        job->error = -ETIMEDOUT;
                        hand_over_errand_stop(&job->errand);
                }
                more = more || job->waiter || job->order || job->state == IMAGE_JOB_ELSEWHERE;
        }
        if (more)
                ring_timer_set(timer, PATIENCE_USEC / 2);
}

void image_job_run_on(struct image_job *job, struct jobs *thread, enum image_job_state state,
        void (*run)(struct job *), void (*done)(struct job *)) {
        job->state = state;
        job->job = (struct job){ .run = run, .done = done };
        jobs_submit_reserved(thread, &job->job);
}

/* --- the end --- */

void image_job_unpin(struct image_job *job) {
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
        struct image_job *job = IMAGE_JOB(j);
        struct image_jobs *jobs = job->jobs;
        const char *what = kind_to_string(job->how.kind);

        job->ended_usec = ring_now_usec(jobs->ring);
        job->image = image_release(job->image);
        jobs->n_running--;
        jobs->n_kept++;

        if (job->scrubs) {
                job->state = job->error == 0  ? IMAGE_JOB_DONE
                             : job->cancelled ? IMAGE_JOB_CANCELLED
                                              : IMAGE_JOB_FAILED;
                image_job_scrub_told(job);
        } else if (job->error == 0 && job->how.kind == STORE_COPY_NEW) {
                job->state = IMAGE_JOB_DONE;
                log_event(LOG_NOTICE,
                        LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name },
                                { "MESSAGE_ID", MESSAGE_ADMIN_OPERATION }),
                        "%s has created %s of %ju bytes, preallocated", job->user, job->name,
                        (uintmax_t) job->how.size);
        } else if (job->error == 0) {
                job->state = IMAGE_JOB_DONE;
                log_event(LOG_NOTICE,
                        LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name },
                                { "MESSAGE_ID", MESSAGE_ADMIN_OPERATION }),
                        "%s has made a %s of %s: %s%s%s", job->user, what, job->name, job->snapshot,
                        job->new_name[0] ? " as " : "", job->new_name);
        } else {
                job->state = job->cancelled ? IMAGE_JOB_CANCELLED : IMAGE_JOB_FAILED;
                log_event(job->cancelled ? LOG_NOTICE : LOG_WARNING,
                        LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name }), "No %s of %s%s%s for %s: %s", what,
                        job->name, job->snapshot[0] ? "@" : "", job->snapshot, job->user,
                        job->cancelled ? "it was cancelled" : strerror(-job->error));
        }
        if (job->order)
                hand_over_order_over(TAKE_PTR(job->order), job->error, job->made);
        image_job_tell(job);
        prune(jobs);
}

static void run_free(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (job->copy)
                job->copy = job->jobs->store->ops->copy_free(job->copy);
        if (job->scrub) {
                job->damaged = job->scrub->report.damaged;
                image_job_scrub_end(job);
        }
}

void image_job_end(struct image_job *job, int error) {
        job->error = error;
        image_gate_open(&job->gate);
        image_job_unpin(job);
        image_job_run_on(job, job->jobs->store_jobs, IMAGE_JOB_ENDING, run_free, ended);
}

/* After each step. Returns whether it goes on. */
bool image_job_goes_on(struct image_job *job, int r) {
        if (job->cancelled)
                r = -ECANCELED;
        else if (job->error < 0)
                r = job->error;
        if (r < 0)
                image_job_end(job, r);
        return r >= 0;
}

static void held(struct hold_waiter *waiter, int error) {
        struct image_job *job = CONTAINER_OF(waiter, struct image_job, hold);

        job->pinned = error == 0;
        /* Then the store has it made where it is held. */
        if (error == -EBUSY && job->jobs->store->ops->claim)
                error = 0;
        /* Somebody writes there: it is not taken away for a snapshot. What was asked of us we hold, or held a moment ago. */
        if (error == -EBUSY && !job->cancelled && images_hand_over(job->jobs->images)) {
                if (job->order)
                        image_job_end(job, -ESTALE);
                else
                        image_job_have_made(job);
                return;
        }
        if (error == -ESTALE)
                image_forget(job->image);
        if (image_job_goes_on(job, error))
                image_job_begin(job);
}

void image_job_hold(struct image_job *job) {
        job->n_tries++;
        job->state = IMAGE_JOB_HOLDING;
        job->hold = (struct hold_waiter){ .held = held, .why = HAND_OVER_CLASSIC };
        image_hold(job->image, &job->hold);
}

static void run_open(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);
        struct store *store = job->jobs->store;
        struct lease lease;

        job->result = job->image->handle ? 0 : store->ops->open_image(store, job->name, &job->image->handle);
        if (job->result >= 0)
                job->result = store->ops->change_lease(job->image->handle, NULL, NULL, &lease);
}

static void opened(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (job->result == -ESTALE)
                image_forget(job->image);
        if (image_job_goes_on(job, job->result))
                image_job_hold(job);
}

int image_job_new(struct image_jobs *jobs, const struct store_copy_how *how, const char *user,
        struct image_job_waiter *waiter, struct image_job **ret) {
        struct image_job *job;
        int r;

        if (jobs->n_running >= RUNNING_MAX)
                return -EBUSY;
        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        r = sd_id128_randomize(&job->id);
        if (r < 0) {
                free(job);
                return r;
        }

        job->jobs = jobs;
        job->waiter = waiter;
        job->began_usec = ring_now_usec(jobs->ring);
        (void) snprintf(job->name, sizeof(job->name), "%s", how->name);
        (void) snprintf(job->snapshot, sizeof(job->snapshot), "%s", how->snapshot);
        (void) snprintf(job->new_name, sizeof(job->new_name), "%s", how->new_name ? how->new_name : "");
        (void) snprintf(job->user, sizeof(job->user), "%s", user);
        job->how = (struct store_copy_how){ .kind = how->kind,
                .name = job->name,
                .uuid = how->uuid,
                .snapshot = job->snapshot,
                .new_name = job->new_name,
                .size = how->size };
        TAILQ_INSERT_TAIL(&jobs->jobs, job, entry);
        jobs->n_running++;
        if (!jobs->patience.armed)
                ring_timer_set(&jobs->patience, PATIENCE_USEC);
        *ret = job;
        return 0;
}

int image_job_start(
        struct image_jobs *jobs, const struct store_copy_how *how, const char *user, struct image_job_waiter *waiter) {
        struct image *image = NULL;
        struct image_job *job;
        int r;

        if (how->kind == STORE_COPY_SNAPSHOT) {
                image = images_acquire(jobs->images, how->name);
                if (!image)
                        return -ENOMEM;
        }
        r = image_job_new(jobs, how, user, waiter, &job);
        if (r < 0) {
                image_release(image);
                return r;
        }

        job->image = image;
        if (image)
                image_job_run_on(job, jobs->store_jobs, IMAGE_JOB_OPENING, run_open, opened);
        else
                image_job_begin(job);
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

void image_jobs_set_scrub_rate(struct image_jobs *jobs, uint64_t rate) {
        jobs->scrub_rate = rate;
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
        image_jobs_take_orders(jobs);
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
                        if (job->scrub)
                                jobs->store->ops->scrub_end(job->scrub, -ECANCELED);
                        image_gate_forget(&job->gate);
                        image_release(job->image);
                }
                free(job);
        }
        free(jobs);
        return NULL;
}
