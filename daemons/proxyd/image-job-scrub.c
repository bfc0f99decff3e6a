/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A scrub as a job: piece after piece on the thread of copies, with pauses that keep it at its rate, so that it is hardly noticed. What is damaged is told as soon as it is found; the job goes on, and is done when
 * everything has been looked at. */

#include <string.h>

#include "image-job-internal.h"
#include "log.h"
#include "message-ids.h"

#define PAUSE_MAX_USEC 1000000U /* so that it can be cancelled */

static void next_piece(struct image_job *job);

static void tell_damage(const struct image_job *job) {
        for (size_t i = 0; i < job->scrub->n_damaged; i++)
                log_event(LOG_CRIT, LOG_FIELDS({ "MESSAGE_ID", MESSAGE_DATA_DAMAGED }, { "IMAGE", job->name }),
                        "The block at byte %ju of %s does not agree with its checksum: found by a scrub",
                        (uintmax_t) job->scrub->damaged[i], job->name);
}

/* How long it has to wait to be no faster than its rate. */
static uint64_t pause_usec(const struct image_job *job) {
        uint64_t elapsed = ring_now_usec(job->jobs->ring) - job->began_usec;
        double due;

        if (job->jobs->scrub_rate == 0 || job->jobs->scrub_rate == UINT64_MAX)
                return 0;
        due = (double) job->read / (double) job->jobs->scrub_rate * 1e6;
        if (due <= (double) elapsed)
                return 0;
        due -= (double) elapsed;
        return due < PAUSE_MAX_USEC ? (uint64_t) due : PAUSE_MAX_USEC;
}

static void paused(struct ring_timer *timer) {
        next_piece(CONTAINER_OF(timer, struct image_job, pause));
}

static void run_piece(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->scrub_piece(job->scrub, job->offset, &job->next);
}

static void piece_done(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        tell_damage(job);
        if (!image_job_goes_on(job, job->result))
                return;
        /* At most so much of it was read; holes cost nothing. */
        job->read += job->next - job->offset < job->length ? job->next - job->offset : job->length;
        job->offset = job->next;
        next_piece(job);
}

static void next_piece(struct image_job *job) {
        uint64_t pause;

        if (!image_job_goes_on(job, 0))
                return;
        if (job->offset >= job->size) {
                image_job_end(job, 0);
                return;
        }
        pause = pause_usec(job);
        if (pause > 0) {
                ring_timer_set(&job->pause, pause);
                return;
        }
        image_job_run_on(job, job->jobs->copies, IMAGE_JOB_COPYING, run_piece, piece_done);
}

static void run_begin(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);
        struct store *store = job->jobs->store;

        job->result = store->ops->scrub_begin(store, job->name, job->how.uuid, &job->scrub);
}

static void begun(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (!image_job_goes_on(job, job->result))
                return;
        job->size = job->scrub->size;
        job->state = IMAGE_JOB_COPYING;
        next_piece(job);
}

void image_job_scrub_end(struct image_job *job) {
        job->scrub = job->jobs->store->ops->scrub_end(job->scrub, job->error);
}

void image_job_scrub_told(const struct image_job *job) {
        if (job->error == 0)
                log_event(job->damaged > 0 ? LOG_WARNING : LOG_NOTICE,
                        LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name }),
                        "%s has been scrubbed for %s: %ju damaged blocks", job->name, job->user,
                        (uintmax_t) job->damaged);
        else
                log_event(LOG_NOTICE, LOG_FIELDS({ "USER", job->user }, { "IMAGE", job->name }),
                        "The scrub of %s for %s has not been finished: %s", job->name, job->user,
                        job->cancelled ? "it was cancelled" : strerror(-job->error));
}

int image_job_start_scrub(struct image_jobs *jobs, const char *name, sd_id128_t uuid, const char *user,
        struct image_job_waiter *waiter) {
        const struct store_copy_how how = { .name = name, .uuid = uuid, .snapshot = "" };
        struct image_job *job;
        int r;

        r = image_job_new(jobs, &how, user, waiter, &job);
        if (r < 0)
                return r;
        job->scrubs = true;
        job->length = 1024U * 1024U;
        ring_timer_init(&job->pause, jobs->ring, paused);
        image_job_run_on(job, jobs->store_jobs, IMAGE_JOB_BEGINNING, run_begin, begun);
        return 0;
}
