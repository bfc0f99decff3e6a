/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the jobs share: image-job.c (the life of a job), image-job-copy.c (its work), image-job-elsewhere.c (work that another process does, or wants done). */

#include "container-of.h"
#include "image-job.h"

TAILQ_HEAD(image_job_list, image_job);

struct image_jobs {
        struct images *images;
        struct store *store;
        struct ring *ring;
        struct jobs *store_jobs, *copies;
        struct image_job_list jobs; /* the oldest first */
        unsigned n_running, n_kept;
        struct ring_timer patience;
        uint64_t scrub_rate; /* bytes a second; 0: as fast as it goes */
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

        /* See image-job-scrub.c. */
        bool scrubs;
        struct store_scrub *scrub;
        struct ring_timer pause;
        uint64_t read, damaged; /* bytes; blocks, when it is over */

        struct job job;
        int result; /* of the job */
        uint64_t offset, length, next;
        uint64_t began_usec, ended_usec, size;
        TAILQ_ENTRY(image_job) entry;
};

static inline struct image_job *IMAGE_JOB(struct job *job) {
        return CONTAINER_OF(job, struct image_job, job);
}

/* It is on the list, and its first step is to be begun. Returns as image_job_start(). */
int image_job_new(struct image_jobs *jobs, const struct store_copy_how *how, const char *user,
        struct image_job_waiter *waiter, struct image_job **ret);
/* image-job-scrub.c: its end on the store's thread; what is said of it. */
void image_job_scrub_end(struct image_job *job);
void image_job_scrub_told(const struct image_job *job);

/* The next step, on a thread. */
void image_job_run_on(struct image_job *job, struct jobs *thread, enum image_job_state state,
        void (*run)(struct job *), void (*done)(struct job *));
/* After each step, which came to r. Returns whether it goes on; else it ends. */
bool image_job_goes_on(struct image_job *job, int r);
/* error: 0 when it is done. */
void image_job_end(struct image_job *job, int error);
/* Tells whoever has asked for it, if he has not been told yet. */
void image_job_tell(struct image_job *job);
void image_job_unpin(struct image_job *job);
/* Tries to hold the image, again perhaps. */
void image_job_hold(struct image_job *job);

/* image-job-copy.c: from here on it is done here. */
void image_job_begin(struct image_job *job);

/* image-job-elsewhere.c: another process holds the image, and makes the snapshot. */
void image_job_have_made(struct image_job *job);
void image_jobs_take_orders(struct image_jobs *jobs);
void image_job_tell_order(struct image_job *job);
