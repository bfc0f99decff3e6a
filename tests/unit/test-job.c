/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Jobs: what is announced, how they end, and that the list stays bounded. */

#include <string.h>

#include "job.h"
#include "test.h"

static unsigned n_added, n_changed, n_removed, n_cancels;
static uint32_t changed;

static void on_added(struct job *job, void *userdata) {
        n_added++;
}

static void on_changed(struct job *job, uint32_t mask, void *userdata) {
        n_changed++;
        changed |= mask;
}

static void on_removed(struct job *job, void *userdata) {
        n_removed++;
}

static const struct jobs_ops ops = { .added = on_added, .changed = on_changed, .removed = on_removed };

static void on_cancel(struct job *job, void *userdata) {
        ASSERT_EQ(job->state, JOB_CANCELLING);
        n_cancels++;
}

static struct jobs *begin(void) {
        sd_event *event;
        struct jobs *jobs;

        n_added = n_changed = n_removed = n_cancels = changed = 0;
        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(jobs_new(event, &ops, NULL, &jobs));
        sd_event_unref(event);
        return jobs;
}

static void life(void) {
        struct jobs *jobs = begin();
        struct job *job;

        ASSERT_FALSE(jobs_are_running(jobs, NULL));
        ASSERT_OK(job_new(jobs, "upgrade", "images", 3, on_cancel, NULL, &job));
        ASSERT_EQ(n_added, 1U);
        ASSERT_TRUE(jobs_are_running(jobs, "upgrade"));
        ASSERT_FALSE(jobs_are_running(jobs, "import"));
        ASSERT_TRUE(jobs_find(jobs, job->id) == job);
        ASSERT_STREQ(job_state_to_string(job->state), "running");

        job_set_progress(job, 1, "vm1");
        ASSERT_EQ(changed, JOB_PROGRESS | JOB_SUBJECT);
        /* Steps in a row are not announced one by one. */
        n_changed = 0;
        for (unsigned i = 0; i < 1000; i++)
                job_set_progress(job, 1 + i % 2, NULL);
        ASSERT_TRUE(n_changed < 1000);

        changed = 0;
        job_set_progress(job, 3, NULL);
        job_end(job, FAILURE_NONE, NULL);
        ASSERT_EQ(changed & (JOB_STATE | JOB_PROGRESS), JOB_STATE | JOB_PROGRESS);
        ASSERT_EQ(job->state, JOB_DONE);
        ASSERT_STREQ(job->subject, "");
        ASSERT_FALSE(jobs_are_running(jobs, NULL));
        ASSERT_TRUE(jobs_find(jobs, job->id) == job); /* for a minute */
        ASSERT_EQ(job_cancel(job), -EALREADY);
        jobs_free(jobs);
}

static void ends(void) {
        struct jobs *jobs = begin();
        struct job *job;

        ASSERT_OK(job_new(jobs, "upgrade", "images", 3, on_cancel, NULL, &job));
        ASSERT_OK(job_cancel(job));
        ASSERT_OK(job_cancel(job));
        ASSERT_EQ(n_cancels, 1U);
        ASSERT_TRUE(jobs_are_running(jobs, NULL)); /* until it has come to its end */
        job_end(job, FAILURE_NONE, NULL);
        ASSERT_EQ(job->state, JOB_CANCELLED);

        /* Too late to be cancelled: it was done. */
        ASSERT_OK(job_new(jobs, "upgrade", "images", 3, on_cancel, NULL, &job));
        ASSERT_OK(job_cancel(job));
        job_set_progress(job, 3, NULL);
        job_end(job, FAILURE_NONE, NULL);
        ASSERT_EQ(job->state, JOB_DONE);

        ASSERT_OK(job_new(jobs, "upgrade", "images", 3, NULL, NULL, &job));
        ASSERT_EQ(job_cancel(job), -EOPNOTSUPP);
        job_end(job, FAILURE_IO, "The disk is full");
        ASSERT_EQ(job->state, JOB_FAILED);
        ASSERT_EQ(job->failure, FAILURE_IO);
        ASSERT_STREQ(job->message, "The disk is full");
        jobs_free(jobs);
}

static void steps(void) {
        struct jobs *jobs = begin();
        struct job *job;

        ASSERT_OK(job_new(jobs, "import", "bytes", 0, NULL, NULL, &job));
        ASSERT_STREQ(job->step, "");
        ASSERT_EQ(job_remaining(job), UINT64_MAX); /* of nobody knows how much */
        job_set_total(job, 1000);
        changed = 0;
        job_set_step(job, "copying");
        ASSERT_TRUE(changed & JOB_STEP);
        n_changed = 0;
        job_set_step(job, "copying");
        ASSERT_EQ(n_changed, 0U);

        /* What an earlier one has done is no speed of this one. */
        job_skip(job, 600);
        ASSERT_EQ(job->progress, 600U);
        ASSERT_EQ(job_rate(job), 0U);
        ASSERT_EQ(job_remaining(job), UINT64_MAX);
        job->begun_usec -= 2000000;
        job_set_progress(job, 800, NULL);
        ASSERT_TRUE(job_rate(job) > 0 && job_rate(job) <= 100);
        ASSERT_TRUE(job_remaining(job) >= 2000000 && job_remaining(job) != UINT64_MAX);

        job_set_checksum(job, "sha256:00");
        ASSERT_TRUE(changed & JOB_CHECKSUM);
        job_set_progress(job, 1000, NULL);
        job_end(job, FAILURE_NONE, NULL);
        ASSERT_EQ(job_remaining(job), 0U);
        ASSERT_STREQ(job->checksum, "sha256:00");
        jobs_free(jobs);
}

static void of_a_store(void) {
        static const char id[] = "0a6f3c1e8f2b4f6e9a592f4c7d1b8e03";
        struct jobs *jobs = begin();
        struct job *job, *other;

        ASSERT_OK(job_new(jobs, "import", "bytes", 0, NULL, NULL, &other));
        ASSERT_TRUE(jobs_find_of_store(jobs, id) == NULL);
        ASSERT_OK(job_new_of_store(jobs, "clone", id, on_cancel, NULL, &job));
        ASSERT_STREQ(job->unit, "bytes");
        ASSERT_TRUE(jobs_find_of_store(jobs, id) == job);
        ASSERT_STREQ(other->store_job, "");

        /* Somebody else has cancelled it, at a moment when all was copied. */
        job_set_total(job, 10);
        job_set_progress(job, 10, NULL);
        job_end_as(job, JOB_CANCELLED);
        ASSERT_EQ(job->state, JOB_CANCELLED);
        ASSERT_EQ(job->failure, FAILURE_NONE);
        ASSERT_TRUE(jobs_find_of_store(jobs, id) == job);

        /* We have, and it was too late. */
        ASSERT_OK(job_new_of_store(jobs, "clone", "", on_cancel, NULL, &job));
        ASSERT_OK(job_cancel(job));
        job_end_as(job, JOB_DONE);
        ASSERT_EQ(job->state, JOB_DONE);
        jobs_free(jobs);
}

static void bounded(void) {
        struct jobs *jobs = begin();
        struct job *job, *first = NULL;

        for (unsigned i = 0; i < JOBS_MAX; i++) {
                ASSERT_OK(job_new(jobs, "import", "bytes", 0, NULL, NULL, &job));
                if (i == 0)
                        first = job;
        }
        ASSERT_EQ(job_new(jobs, "import", "bytes", 0, NULL, NULL, &job), -E2BIG);
        /* One that has ended makes room. */
        job_end(first, FAILURE_NONE, NULL);
        ASSERT_OK(job_new(jobs, "import", "bytes", 0, NULL, NULL, &job));
        ASSERT_EQ(n_removed, 1U);
        ASSERT_EQ(job_new(jobs, "import", "bytes", 0, NULL, NULL, &job), -E2BIG);
        jobs_free(jobs);
}

TEST_MAIN(TEST(life), TEST(ends), TEST(steps), TEST(of_a_store), TEST(bounded));
