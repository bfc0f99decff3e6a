/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A job that has ended stays for a minute, so that whoever asks a moment late still hears how it went. Running ones are never forgotten, finished ones make room for new ones. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "job.h"

#define ANNOUNCE_USEC (100U * 1000U)

struct jobs {
        sd_event *event;
        const struct jobs_ops *ops;
        void *userdata;
        LIST_HEAD(job_list, job) list;
        unsigned n;
        uint32_t last_id;
};

const char *job_state_to_string(enum job_state state) {
        static const char *const names[_JOB_STATE_MAX] = {
                [JOB_RUNNING] = "running",
                [JOB_CANCELLING] = "cancelling",
                [JOB_DONE] = "done",
                [JOB_FAILED] = "failed",
                [JOB_CANCELLED] = "cancelled",
        };

        return (unsigned) state < _JOB_STATE_MAX ? names[state] : NULL;
}

static bool has_ended(const struct job *job) {
        return job->state != JOB_RUNNING && job->state != JOB_CANCELLING;
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

int jobs_new(sd_event *event, const struct jobs_ops *ops, void *userdata, struct jobs **ret) {
        struct jobs *jobs = calloc(1, sizeof(*jobs));

        if (!jobs)
                return -ENOMEM;
        jobs->event = sd_event_ref(event);
        jobs->ops = ops;
        jobs->userdata = userdata;
        LIST_INIT(&jobs->list);
        *ret = jobs;
        return 0;
}

static void job_free(struct job *job) {
        LIST_REMOVE(job, entry);
        job->jobs->n--;
        sd_event_source_disable_unref(job->forget);
        free(job);
}

struct jobs *jobs_free(struct jobs *jobs) {
        if (!jobs)
                return NULL;

        while (!LIST_EMPTY(&jobs->list))
                job_free(LIST_FIRST(&jobs->list));
        sd_event_unref(jobs->event);
        free(jobs);
        return NULL;
}

static void forget(struct job *job) {
        struct jobs *jobs = job->jobs;

        if (jobs->ops->removed)
                jobs->ops->removed(job, jobs->userdata);
        job_free(job);
}

static int on_forget(sd_event_source *source, uint64_t usec, void *userdata) {
        forget(userdata);
        return 0;
}

void *jobs_userdata(const struct jobs *jobs) {
        return jobs->userdata;
}

struct job *jobs_find(const struct jobs *jobs, uint32_t id) {
        struct job *job;

        LIST_FOREACH(job, &jobs->list, entry)
                if (job->id == id)
                        return job;
        return NULL;
}

struct job *jobs_first(const struct jobs *jobs) {
        return LIST_FIRST(&jobs->list);
}

bool jobs_are_running(const struct jobs *jobs, const char *kind) {
        const struct job *job;

        LIST_FOREACH(job, &jobs->list, entry)
                if (!has_ended(job) && (!kind || strcmp(job->kind, kind) == 0))
                        return true;
        return false;
}

static void announce(struct job *job, uint32_t mask) {
        job->announced_usec = now_usec();
        if (job->jobs->ops->changed)
                job->jobs->ops->changed(job, mask, job->jobs->userdata);
}

/* The list is newest first: the last that has ended is the oldest. */
static struct job *oldest_ended(const struct jobs *jobs) {
        struct job *job, *found = NULL;

        LIST_FOREACH(job, &jobs->list, entry)
                if (has_ended(job))
                        found = job;
        return found;
}

static int new_job(struct jobs *jobs, const struct job *wanted, struct job **ret) {
        struct job *job;

        if (jobs->n >= JOBS_MAX) {
                job = oldest_ended(jobs);
                if (!job)
                        return -E2BIG;
                forget(job);
        }

        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        *job = *wanted;
        job->jobs = jobs;
        job->id = ++jobs->last_id;
        job->step = "";
        job->begun_usec = now_usec();
        LIST_INSERT_HEAD(&jobs->list, job, entry);
        jobs->n++;
        if (jobs->ops->added)
                jobs->ops->added(job, jobs->userdata);

        *ret = job;
        return 0;
}

int job_new(struct jobs *jobs, const char *kind, const char *unit, uint64_t total,
        void (*cancel)(struct job *job, void *userdata), void *userdata, struct job **ret) {
        const struct job wanted = {
                .kind = kind, .unit = unit, .total = total, .cancel = cancel, .userdata = userdata
        };

        return new_job(jobs, &wanted, ret);
}

int job_new_of_store(struct jobs *jobs, const char *kind, const char *store_job,
        void (*cancel)(struct job *job, void *userdata), void *userdata, struct job **ret) {
        struct job wanted = { .kind = kind, .unit = "bytes", .cancel = cancel, .userdata = userdata };

        (void) snprintf(wanted.store_job, sizeof(wanted.store_job), "%s", store_job);
        return new_job(jobs, &wanted, ret);
}

struct job *jobs_find_of_store(const struct jobs *jobs, const char *store_job) {
        struct job *job;

        LIST_FOREACH(job, &jobs->list, entry)
                if (strcmp(job->store_job, store_job) == 0)
                        return job;
        return NULL;
}

void job_set_progress(struct job *job, uint64_t progress, const char *subject) {
        uint32_t mask = 0;

        if (job->progress != progress)
                mask |= JOB_PROGRESS;
        job->progress = progress;
        if (subject && strcmp(job->subject, subject) != 0) {
                (void) snprintf(job->subject, sizeof(job->subject), "%s", subject);
                mask |= JOB_SUBJECT;
        }
        if ((mask & JOB_SUBJECT) || (mask && now_usec() - job->announced_usec >= ANNOUNCE_USEC))
                announce(job, mask);
}

void job_set_total(struct job *job, uint64_t total) {
        if (job->total == total)
                return;
        job->total = total;
        announce(job, JOB_TOTAL);
}

void job_skip(struct job *job, uint64_t progress) {
        job->skipped = progress;
        job_set_progress(job, progress, NULL);
}

void job_set_step(struct job *job, const char *step) {
        if (strcmp(job->step, step) == 0)
                return;
        job->step = step;
        announce(job, JOB_STEP | JOB_PROGRESS);
}

void job_set_checksum(struct job *job, const char *checksum) {
        (void) snprintf(job->checksum, sizeof(job->checksum), "%s", checksum);
        announce(job, JOB_CHECKSUM);
}

static void end(struct job *job, enum job_state state, enum failure failure, const char *message) {
        job->state = state;
        job->failure = failure;
        (void) snprintf(job->message, sizeof(job->message), "%s", message ? message : "");
        job->subject[0] = 0;
        job->cancel = NULL;
        job->userdata = NULL;
        job->ended_usec = now_usec();
        announce(job, JOB_STATE | JOB_PROGRESS | JOB_SUBJECT | JOB_ERROR);

        /* Without a timer it stays until it has to make room. */
        (void) sd_event_add_time_relative(
                job->jobs->event, &job->forget, CLOCK_MONOTONIC, JOB_KEPT_USEC, 0, on_forget, job);
}

void job_end(struct job *job, enum failure failure, const char *message) {
        bool early = job->state == JOB_CANCELLING && (job->total == 0 || job->progress < job->total);

        end(job, failure != FAILURE_NONE ? JOB_FAILED : early ? JOB_CANCELLED : JOB_DONE, failure, message);
}

void job_end_as(struct job *job, enum job_state state) {
        end(job, state, FAILURE_NONE, NULL);
}

int job_cancel(struct job *job) {
        if (has_ended(job))
                return -EALREADY;
        if (!job->cancel)
                return -EOPNOTSUPP;
        if (job->state == JOB_CANCELLING)
                return 0;

        job->state = JOB_CANCELLING;
        announce(job, JOB_STATE);
        job->cancel(job, job->userdata);
        return 0;
}

uint64_t job_rate(const struct job *job) {
        uint64_t usec = (job->ended_usec ?: now_usec()) - job->begun_usec;
        uint64_t done = job->progress > job->skipped ? job->progress - job->skipped : 0;

        return usec == 0 ? 0 : (uint64_t) ((double) done * 1e6 / (double) usec);
}

uint64_t job_remaining(const struct job *job) {
        uint64_t rate = job_rate(job);

        if (has_ended(job))
                return 0;
        if (rate == 0 || job->total < job->progress || job->total == 0)
                return UINT64_MAX;
        return (uint64_t) ((double) (job->total - job->progress) * 1e6 / (double) rate);
}
