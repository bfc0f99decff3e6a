/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <semaphore.h>

#include "jobs.h"
#include "test.h"

static sem_t gate;
static unsigned order[16], n_run, n_done;

struct numbered {
        struct job job;
        unsigned number;
        bool waits;
};

static void run(struct job *job) {
        struct numbered *numbered = (struct numbered *) job;

        if (numbered->waits)
                sem_wait(&gate);
        order[n_run++] = numbered->number;
}

static void done(struct job *job) {
        struct numbered *numbered = (struct numbered *) job;

        /* In the order in which they were given. */
        ASSERT_EQ(numbered->number, n_done);
        n_done++;
}

static void in_order_and_bounded(void) {
        struct numbered jobs_given[6];
        struct jobs *jobs;
        struct ring *ring;

        n_run = n_done = 0;
        ASSERT_OK(sem_init(&gate, 0, 0));
        ASSERT_OK(ring_new(&ring, 8));
        ASSERT_OK(jobs_new(&jobs, ring, "test", 4));
        for (unsigned i = 0; i < ELEMENTSOF(jobs_given); i++)
                jobs_given[i] = (struct numbered){ .job = { .run = run, .done = done }, .number = i, .waits = i == 0 };

        for (unsigned i = 0; i < 4; i++)
                ASSERT_OK(jobs_submit(jobs, &jobs_given[i].job));
        ASSERT_ERROR(jobs_submit(jobs, &jobs_given[4].job), EBUSY);
        jobs_submit_reserved(jobs, &jobs_given[4].job);
        ASSERT_ERROR(jobs_submit(jobs, &jobs_given[5].job), EBUSY);

        sem_post(&gate);
        while (n_done < 5)
                ASSERT_OK(ring_step(ring, true));
        for (unsigned i = 0; i < 5; i++)
                ASSERT_EQ(order[i], i);
        ASSERT_OK(jobs_submit(jobs, &jobs_given[5].job));
        while (n_done < 6)
                ASSERT_OK(ring_step(ring, true));

        ring_free(ring);
        jobs_free(jobs);
        sem_destroy(&gate);
}

static void freed_with_work_left(void) {
        struct numbered first = { .job = { .run = run, .done = done }, .waits = true },
                        second = { .job = { .run = run, .done = done } };
        struct jobs *jobs;
        struct ring *ring;

        n_run = n_done = 0;
        ASSERT_OK(sem_init(&gate, 0, 1));
        ASSERT_OK(ring_new(&ring, 8));
        ASSERT_OK(jobs_new(&jobs, ring, "test", 4));
        ASSERT_OK(jobs_submit(jobs, &first.job));
        ASSERT_OK(jobs_submit(jobs, &second.job));
        ring_free(ring);
        jobs_free(jobs);
        ASSERT_EQ(n_done, 0U);
        sem_destroy(&gate);
}

TEST_MAIN(TEST(in_order_and_bounded), TEST(freed_with_work_left));
