/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What blocks, off the ring's thread: file-system metadata that is synced, password hashes. One thread takes jobs in
 * order, one at a time, and their ends come back to the ring in the same order: whoever owns the thread needs no lock
 * against itself. */

#include <stdbool.h>
#include <sys/queue.h>

#include "ring.h"

struct jobs;

struct job {
        void (*run)(struct job *job);  /* on the thread */
        void (*done)(struct job *job); /* on the ring's thread; may free the job or submit it anew */

        /* private */
        TAILQ_ENTRY(job) entry;
        bool waits; /* its turn has not come */
};

/* name: of the thread, at most 15 bytes. queue_max: jobs that may wait or run. Signals that are not to be handled
 * there must be blocked by now. Returns 0 or a negative errno. */
int jobs_new(struct jobs **ret, struct ring *ring, const char *name, unsigned queue_max);

/* Waits for the job at work; those that wait are dropped without run() or done(). The ring must have been freed
 * before: it may still have written to the object. */
struct jobs *jobs_free(struct jobs *jobs);
DEFINE_CLEANUP(struct jobs *, jobs_free);

/* Returns 0, or -EBUSY when the queue is full. The job must stay in place until done(). */
int jobs_submit(struct jobs *jobs, struct job *job);

/* Beyond the bound, for what must be done: one job of an owner at a time. */
void jobs_submit_reserved(struct jobs *jobs, struct job *job);

/* Of a job that was submitted and whose done() has not run: whether it was still waiting. Then it is off the queue, and neither run() nor done() will come. */
bool jobs_cancel(struct jobs *jobs, struct job *job);
