/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The work of a job: every step of it but the first and the last, see image-job.c for their order. */

#include "image-job-internal.h"

static void run_commit(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->copy_commit(job->copy, &job->made);
}

static void committed(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        /* Too late for second thoughts. */
        if (job->result >= 0)
                job->cancelled = false;
        image_job_end(job, job->result);
}

static void run_sync(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->copy_sync(job->copy);
}

static void synced(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (image_job_goes_on(job, job->result))
                image_job_run_on(job, job->jobs->store_jobs, IMAGE_JOB_COMMITTING, run_commit, committed);
}

/* All bytes are there: what becomes of the image is of no interest any more. */
static void copied(struct image_job *job) {
        image_gate_open(&job->gate);
        image_job_unpin(job);
        image_job_run_on(job, job->jobs->copies, IMAGE_JOB_SYNCING, run_sync, synced);
}

/* --- bytes --- */

static void copy_next(struct image_job *job);

static void run_piece(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->copy_piece(job->copy, job->offset, job->length, &job->next);
}

static void piece_copied(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (!image_job_goes_on(job, job->result))
                return;
        if (job->image)
                image_gate_copied(&job->gate, job->offset, job->next);
        /* Who goes on may have taken the image along. */
        if (image_job_goes_on(job, 0))
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
                image_job_run_on(job, job->jobs->copies, IMAGE_JOB_COPYING, run_piece, piece_copied);
        else
                copied(job);
}

static void run_whole(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->copy_whole(job->copy);
}

static void shared(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);
        int r;

        if (!image_job_goes_on(job, job->result))
                return;
        if (job->result == 0) {
                copied(job);
                return;
        }

        if (job->image) {
                r = image_is_being_let_go(job->image) ? -EREMOTE : image_gate_start_copying(&job->gate, job->size);
                if (r < 0) {
                        image_job_end(job, r);
                        return;
                }
                image_job_unpin(job);
                if (!image_job_goes_on(job, 0))
                        return;
        }
        copy_next(job);
        image_job_tell(job);
}

/* --- the moment of a snapshot --- */

static void share(struct image_job *job) {
        image_job_run_on(job, job->jobs->copies, IMAGE_JOB_SHARING, run_whole, shared);
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
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->copy_prepare(job->copy);
}

static void prepared(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (!image_job_goes_on(job, job->result))
                return;
        if (job->image->gate || job->image->n_quiescing > 0) {
                image_job_end(job, -EAGAIN);
                return;
        }
        job->state = IMAGE_JOB_STILLING;
        job->gate = (struct image_gate){ .quiet = quiet, .abandoned = abandoned };
        image_gate_close(&job->gate, job->image);
}

/* --- the beginning --- */

static void run_begin(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);
        struct store *store = job->jobs->store;

        job->result = store->ops->copy_begin(store, &job->how, &job->copy);
}

static void begun(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        if (job->copy)
                job->size = job->copy->size;
        if (!image_job_goes_on(job, job->result))
                return;
        if (job->image)
                image_job_run_on(job, job->jobs->copies, IMAGE_JOB_PREPARING, run_prepare, prepared);
        else
                share(job);
}

void image_job_begin(struct image_job *job) {
        image_job_run_on(job, job->jobs->store_jobs, IMAGE_JOB_BEGINNING, run_begin, begun);
}
