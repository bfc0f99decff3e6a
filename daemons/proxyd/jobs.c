/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two lists under one mutex. The thread announces the first finished job of a batch with an eventfd, on which the ring
 * keeps a read; the ring's thread takes the whole list at once. The bound counts a job until its done() runs. */

#include <pthread.h>
#include <sys/eventfd.h>

#include "container-of.h"
#include "jobs.h"

TAILQ_HEAD(job_list, job);

struct jobs {
        struct ring *ring;
        struct ring_op op;
        uint64_t events; /* where the ring's read puts the counter */
        int event_fd;
        unsigned n, queue_max;

        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t wanted;
        struct job_list waiting, finished;
        bool stopping;
};

static void *work(void *userdata) {
        struct jobs *jobs = userdata;

        pthread_mutex_lock(&jobs->mutex);
        for (;;) {
                struct job *job;
                bool first;

                while (!jobs->stopping && TAILQ_EMPTY(&jobs->waiting))
                        pthread_cond_wait(&jobs->wanted, &jobs->mutex);
                if (jobs->stopping)
                        break;

                job = TAILQ_FIRST(&jobs->waiting);
                TAILQ_REMOVE(&jobs->waiting, job, entry);
                job->waits = false;
                pthread_mutex_unlock(&jobs->mutex);

                job->run(job);

                pthread_mutex_lock(&jobs->mutex);
                first = TAILQ_EMPTY(&jobs->finished);
                TAILQ_INSERT_TAIL(&jobs->finished, job, entry);
                if (first)
                        (void) eventfd_write(jobs->event_fd, 1);
        }
        pthread_mutex_unlock(&jobs->mutex);

        return NULL;
}

static void arm(struct jobs *jobs) {
        struct io_uring_sqe *sqe = ring_get_sqe(jobs->ring);

        io_uring_prep_read(sqe, jobs->event_fd, &jobs->events, sizeof(jobs->events), 0);
        ring_sqe_set_op(sqe, &jobs->op);
}

static void announced(struct ring_op *op, int32_t res, uint32_t flags) {
        struct jobs *jobs = CONTAINER_OF(op, struct jobs, op);
        struct job_list finished = TAILQ_HEAD_INITIALIZER(finished);
        struct job *job;

        if (res == -ECANCELED)
                return;

        pthread_mutex_lock(&jobs->mutex);
        TAILQ_CONCAT(&finished, &jobs->finished, entry);
        pthread_mutex_unlock(&jobs->mutex);
        arm(jobs);

        while ((job = TAILQ_FIRST(&finished))) {
                TAILQ_REMOVE(&finished, job, entry);
                jobs->n--;
                job->done(job);
        }
}

int jobs_new(struct jobs **ret, struct ring *ring, const char *name, unsigned queue_max) {
        _cleanup_free_ struct jobs *jobs = NULL;
        int r;

        jobs = calloc(1, sizeof(*jobs));
        if (!jobs)
                return -ENOMEM;

        jobs->ring = ring;
        jobs->queue_max = queue_max;
        jobs->op.done = announced;
        TAILQ_INIT(&jobs->waiting);
        TAILQ_INIT(&jobs->finished);

        jobs->event_fd = eventfd(0, EFD_CLOEXEC);
        if (jobs->event_fd < 0)
                return -errno;

        pthread_mutex_init(&jobs->mutex, NULL);
        pthread_cond_init(&jobs->wanted, NULL);
        r = pthread_create(&jobs->thread, NULL, work, jobs);
        if (r > 0) {
                pthread_cond_destroy(&jobs->wanted);
                pthread_mutex_destroy(&jobs->mutex);
                safe_close(jobs->event_fd);
                return -r;
        }
        (void) pthread_setname_np(jobs->thread, name);

        arm(jobs);
        *ret = TAKE_PTR(jobs);
        return 0;
}

struct jobs *jobs_free(struct jobs *jobs) {
        if (!jobs)
                return NULL;

        pthread_mutex_lock(&jobs->mutex);
        jobs->stopping = true;
        pthread_cond_signal(&jobs->wanted);
        pthread_mutex_unlock(&jobs->mutex);
        pthread_join(jobs->thread, NULL);

        pthread_cond_destroy(&jobs->wanted);
        pthread_mutex_destroy(&jobs->mutex);
        safe_close(jobs->event_fd);
        free(jobs);
        return NULL;
}

void jobs_submit_reserved(struct jobs *jobs, struct job *job) {
        jobs->n++;
        pthread_mutex_lock(&jobs->mutex);
        job->waits = true;
        TAILQ_INSERT_TAIL(&jobs->waiting, job, entry);
        pthread_cond_signal(&jobs->wanted);
        pthread_mutex_unlock(&jobs->mutex);
}

int jobs_submit(struct jobs *jobs, struct job *job) {
        if (jobs->n >= jobs->queue_max)
                return -EBUSY;

        jobs_submit_reserved(jobs, job);
        return 0;
}

bool jobs_cancel(struct jobs *jobs, struct job *job) {
        bool waits;

        pthread_mutex_lock(&jobs->mutex);
        waits = job->waits;
        if (waits) {
                TAILQ_REMOVE(&jobs->waiting, job, entry);
                job->waits = false;
        }
        pthread_mutex_unlock(&jobs->mutex);

        if (waits)
                jobs->n--;
        return waits;
}
