/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Snapshots, clones and roll backs in the making. Each is a job with an id, which goes on when whoever has asked for it is gone, and can be asked after and cancelled. It ends with the process: then it has
 * never been. The store says what has to be done (store_ops.copy_*); here is when, on which thread, and what the image's clients notice of it (image-gate.h). */

#include "attachment.h"
#include "ivbs.h"

struct image_jobs;
struct image_job;

enum image_job_state {
        IMAGE_JOB_OPENING,   /* the image of which a snapshot is made */
        IMAGE_JOB_HOLDING,   /* until this process holds it */
        IMAGE_JOB_LOOKING,   /* who holds it instead */
        IMAGE_JOB_ELSEWHERE, /* that process makes the snapshot */
        IMAGE_JOB_BEGINNING, /* the store makes what is needed */
        IMAGE_JOB_PREPARING, /* writes out what is dirty */
        IMAGE_JOB_STILLING,  /* until no change is in hand */
        IMAGE_JOB_SHARING,   /* the whole at once, if the store can */
        IMAGE_JOB_COPYING,   /* piece by piece */
        IMAGE_JOB_SYNCING,
        IMAGE_JOB_COMMITTING,
        IMAGE_JOB_ENDING, /* what is left of it is removed */
        IMAGE_JOB_DONE,
        IMAGE_JOB_FAILED,
        IMAGE_JOB_CANCELLED,
        _IMAGE_JOB_STATE_MAX,
};
const char *image_job_state_to_string(enum image_job_state state);

struct image_job_status {
        enum image_job_state state;
        int error;             /* of FAILED: a negative errno */
        uint64_t done, total;  /* bytes */
        uint64_t elapsed_usec; /* since it began; of one that is over: until its end */
        sd_id128_t made;       /* of DONE: the UUID of what was made */
};

/* Is told once: that the job is over, or that it is going to take its time. */
struct image_job_waiter {
        void (*told)(struct image_job_waiter *waiter, struct image_job *job);
};

/* copies: a thread for what takes its time. Returns 0 or -ENOMEM. */
int image_jobs_new(struct image_jobs **ret, struct images *images, struct store *store, struct ring *ring,
        struct jobs *store_jobs, struct jobs *copies);
/* After the threads have ended, before the images are freed: what is under way is undone. */
struct image_jobs *image_jobs_free(struct image_jobs *jobs);
DEFINE_CLEANUP(struct image_jobs *, image_jobs_free);

/* user: on whose account, for people and for who may look at it. Returns 0, with told() to come, not before the return; -EBUSY: too many are under way; or -ENOMEM. */
int image_job_start(
        struct image_jobs *jobs, const struct store_copy_how *how, const char *user, struct image_job_waiter *waiter);
/* The same for a scrub. -EOPNOTSUPP, by the job's status: the image has no checksums. */
int image_job_start_scrub(
        struct image_jobs *jobs, const char *name, sd_id128_t uuid, const char *user, struct image_job_waiter *waiter);
/* Bytes a second of each; 0: as fast as it goes. */
void image_jobs_set_scrub_rate(struct image_jobs *jobs, uint64_t rate);
/* Borrowed; NULL: there is none of that id, or not any more. */
struct image_job *image_jobs_find(struct image_jobs *jobs, sd_id128_t id);
sd_id128_t image_job_id(const struct image_job *job);
const char *image_job_user(const struct image_job *job);
void image_job_get_status(const struct image_job *job, struct image_job_status *ret);
/* Soon; one that is about to be committed is done all the same. */
void image_job_cancel(struct image_job *job);
