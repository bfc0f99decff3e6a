/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Only the holder of an image can make a snapshot of it while it is written. So a job here may have another process do it, and another process one of ours: see hand-over.h for what they say to each other. */

#include "image-job-internal.h"

#define TRIES_MAX 5U /* to find who holds an image */

static void errand_over(struct hand_over_errand *errand, int error, sd_id128_t made) {
        struct image_job *job = CONTAINER_OF(errand, struct image_job, errand);

        /* It does not hold the image either, any more: whoever does, perhaps nobody. */
        if (error == -ESTALE && !job->cancelled && job->error == 0 && job->n_tries < TRIES_MAX) {
                image_job_hold(job);
                return;
        }
        /* Made is made, cancelled or not. */
        if (error == 0) {
                job->cancelled = false;
                job->made = made;
                job->size = errand->total;
                image_job_end(job, 0);
                return;
        }
        (void) image_job_goes_on(job, error);
}

static void run_look(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);

        job->result = job->jobs->store->ops->look_at_holder(job->image->handle, &job->holder);
}

static void looked(struct job *j) {
        struct image_job *job = IMAGE_JOB(j);
        int r = job->result;

        if (!image_job_goes_on(job, r))
                return;
        job->errand.over = errand_over;
        r = hand_over_errand_start(&job->errand, images_hand_over(job->jobs->images), &job->holder,
                job->image->handle->uuid, job->name, job->snapshot, job->user);
        if (!image_job_goes_on(job, r))
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

void image_job_have_made(struct image_job *job) {
        image_job_run_on(job, job->jobs->store_jobs, IMAGE_JOB_LOOKING, run_look, looked);
}

void image_jobs_take_orders(struct image_jobs *jobs) {
        struct hand_over *hand_over = images_hand_over(jobs->images);

        if (hand_over)
                hand_over_take_orders(hand_over, take_order, jobs);
}

void image_job_tell_order(struct image_job *job) {
        struct image_job_status status;

        image_job_get_status(job, &status);
        hand_over_order_goes(job->order, status.done, status.total);
}
