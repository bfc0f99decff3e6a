/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What takes long, as callers see it: how far it is, how fast, how it ended, and that it can be cancelled. Knows neither D-Bus nor what is being done. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "error-table.h"

#define JOBS_MAX          256U
#define JOB_KEPT_USEC     (60U * 1000U * 1000U) /* after its end */
#define JOB_MESSAGE_MAX   1024U
#define JOB_CHECKSUM_SIZE 80U /* "sha256:" and the sum in hexadecimal */
#define JOB_STORE_ID_SIZE 33U /* of a job that a proxy does: 32 hexadecimal digits */

enum job_state {
        JOB_RUNNING,
        JOB_CANCELLING, /* asked to end early; it may still be done */
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELLED,
        _JOB_STATE_MAX,
};

/* Bits for what has changed. */
enum job_property {
        JOB_STATE = 1U << 0,
        JOB_PROGRESS = 1U << 1, /* and Rate with it */
        JOB_TOTAL = 1U << 2,
        JOB_SUBJECT = 1U << 3,
        JOB_ERROR = 1U << 4,
        JOB_STEP = 1U << 5,
        JOB_CHECKSUM = 1U << 6,
};

struct jobs;

struct job {
        LIST_ENTRY(job) entry;
        struct jobs *jobs;
        uint32_t id;
        const char *kind, *unit; /* static: "upgrade", "import", "snapshot" ...; "images", "bytes" */
        enum job_state state;
        uid_t owner;                                     /* who has begun it; root unless set */
        uint64_t progress, total;                        /* in the unit; total 0: not known */
        uint64_t begun_usec, ended_usec, announced_usec; /* CLOCK_MONOTONIC */
        char subject[256]; /* what it is at: an image's name; "" for nothing in particular */
        const char *step;  /* static: "copying", "" where there are no steps */
        uint64_t skipped;  /* of progress: done by an earlier job, so that it does not count for the rate */
        char checksum[JOB_CHECKSUM_SIZE];
        char store_job[JOB_STORE_ID_SIZE]; /* "" where no proxy does it */
        enum failure failure;
        char message[JOB_MESSAGE_MAX];                   /* why it failed: a sentence; or what else there is to say */
        void (*cancel)(struct job *job, void *userdata); /* NULL once it has ended */
        void *userdata;
        sd_event_source *forget;
};

/* added(), changed() and removed() (before it is freed) may be NULL. */
struct jobs_ops {
        void (*added)(struct job *job, void *userdata);
        void (*changed)(struct job *job, uint32_t mask, void *userdata);
        void (*removed)(struct job *job, void *userdata);
};

const char *job_state_to_string(enum job_state state);

int jobs_new(sd_event *event, const struct jobs_ops *ops, void *userdata, struct jobs **ret);
/* With all that there are; none of their callbacks is called. */
struct jobs *jobs_free(struct jobs *jobs);
DEFINE_CLEANUP(struct jobs *, jobs_free);
void *jobs_userdata(const struct jobs *jobs);
struct job *jobs_find(const struct jobs *jobs, uint32_t id);
struct job *jobs_first(const struct jobs *jobs);
/* Whether one of that kind (NULL: any) has not ended. */
bool jobs_are_running(const struct jobs *jobs, const char *kind);

/* cancel: what is being done should come to an end soon, and then job_end() be called; NULL: it cannot be cancelled. The job is the registry's, which frees it JOB_KEPT_USEC after its end. Returns 0, -ENOMEM, or -E2BIG at
 * JOBS_MAX. */
int job_new(struct jobs *jobs, const char *kind, const char *unit, uint64_t total,
        void (*cancel)(struct job *job, void *userdata), void *userdata, struct job **ret);

/* The same for a job that a proxy does under that id, in bytes. */
int job_new_of_store(struct jobs *jobs, const char *kind, const char *store_job,
        void (*cancel)(struct job *job, void *userdata), void *userdata, struct job **ret);
/* NULL: nobody follows that one here. */
struct job *jobs_find_of_store(const struct jobs *jobs, const char *store_job);

/* Announced at once when the subject changes, else ten times a second at most; the end carries the last. */
void job_set_progress(struct job *job, uint64_t progress, const char *subject);
void job_set_total(struct job *job, uint64_t total);
/* What it goes on from. */
void job_skip(struct job *job, uint64_t progress);
void job_set_step(struct job *job, const char *step);
void job_set_checksum(struct job *job, const char *checksum);
/* failure FAILURE_NONE: it is done, or, when it was cancelled and stopped before its end, cancelled. message may be NULL. The owner must not touch it any more. */
void job_end(struct job *job, enum failure failure, const char *message);
/* The same where whoever does it says which it is, JOB_DONE or JOB_CANCELLED. */
void job_end_as(struct job *job, enum job_state state);
/* Returns 0, -EALREADY when it has ended, or -EOPNOTSUPP. */
int job_cancel(struct job *job);
/* Units a second since it began, until its end. */
uint64_t job_rate(const struct job *job);
/* How long it will take at that rate, µs; UINT64_MAX: not known, 0: it has ended. */
uint64_t job_remaining(const struct job *job);
