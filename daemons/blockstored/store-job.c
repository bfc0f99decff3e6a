/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The job is the proxy's, and goes on whether anybody asks or not. So it is asked after, twice a second (where nobody answers, less often), and a question that is lost costs nothing; only when nobody knows of it for long, or the proxy that answers does not know it, it
 * has failed as far as can be told. The supervisor keeps nothing of it: one that is started anew knows of a job again when somebody asks for it by its id. */

#include <errno.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "manager.h"
#include "peer-bus.h"
#include "store-job.h"

#define LOOK_USEC    (500U * 1000U)
#define LOOKS_MAX    10U                         /* ... for so many of them, where nobody answers */
#define UNHEARD_USEC (15U * 60U * 1000U * 1000U) /* since the last answer: a proxy that is gone may come back */

struct store_job {
        struct manager *manager;
        LIST_ENTRY(store_job) entry;
        sd_bus_message *message; /* the call that begins it, until it is answered; NULL: nobody waits */
        uid_t owner;
        const char *kind, *method;
        char name[256];
        struct query *query;

        /* From here on: once it is known to be a job. */
        char id[JOB_STORE_ID_SIZE];
        struct job *job;
        sd_event_source *look;
        bool seen, cancel;   /* cancel: the proxy has to be told */
        unsigned n_failures; /* in a row */
        uint64_t heard_usec; /* CLOCK_MONOTONIC, the last answer */
};

const char *store_job_kind(const char *method) {
        static const struct {
                const char *method, *kind;
        } kinds[] = {
                { "CreateSnapshot", "snapshot" },
                { "CloneImage", "clone" },
                { "PreallocateImage", "preallocation" },
                { "RollBackImage", "roll-back" },
                { "ScrubImage", "scrub" },
        };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].method, method) == 0)
                        return kinds[i].kind;
        return NULL;
}

static void store_job_free(struct store_job *follower) {
        LIST_REMOVE(follower, entry);
        if (follower->query)
                query_free(follower->query);
        sd_event_source_disable_unref(follower->look);
        sd_bus_message_unref(follower->message);
        free(follower);
}

static struct store_job *store_job_new(struct manager *manager, const char *kind, const char *name, uid_t owner) {
        struct store_job *follower = calloc(1, sizeof(*follower));

        if (!follower)
                return NULL;
        follower->manager = manager;
        follower->kind = kind;
        follower->owner = owner;
        (void) snprintf(follower->name, sizeof(follower->name), "%s", name);
        LIST_INSERT_HEAD(&manager->store_jobs, follower, entry);
        return follower;
}

/* --- following --- */

/* The job has ended, as far as is known. */
static void end(struct store_job *follower) {
        struct manager *manager = follower->manager;

        store_job_free(follower);
        manager_check_idle(manager);
}

static void fail(struct store_job *follower, enum failure failure, const char *message) {
        job_end(follower->job, failure, message);
        end(follower);
}

static uint64_t now_usec(const struct store_job *follower) {
        uint64_t now = 0;

        (void) sd_event_now(follower->manager->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void look_later(struct store_job *follower) {
        unsigned n = follower->n_failures < LOOKS_MAX ? follower->n_failures + 1U : LOOKS_MAX;

        if (sd_event_source_set_time_relative(follower->look, n * (uint64_t) LOOK_USEC) < 0 ||
                sd_event_source_set_enabled(follower->look, SD_EVENT_ONESHOT) < 0)
                fail(follower, FAILURE_INTERNAL, "The job cannot be followed any more, and goes on");
}

static int fill_id(sd_bus_message *call, void *userdata) {
        const struct store_job *follower = userdata;

        return sd_bus_message_append(call, "s", follower->id);
}

static void take_status(struct store_job *follower, sd_bus_message *answer) {
        const char *state, *failure, *message;
        uint64_t done, total, elapsed;

        if (sd_bus_message_read(answer, "stttss", &state, &done, &total, &elapsed, &failure, &message) < 0) {
                fail(follower, FAILURE_PROTOCOL, "What the store says of the job was not understood");
                return;
        }
        job_set_total(follower->job, total);
        /* What was done before anybody looked does not tell how fast it is. */
        if (!follower->seen)
                job_skip(follower->job, done);
        else
                job_set_progress(follower->job, done, NULL);
        follower->seen = true;

        if (strcmp(state, "running") == 0)
                look_later(follower);
        else if (strcmp(state, "failed") == 0)
                fail(follower, failure_from_bus_name(failure), message);
        else {
                job_end_as(follower->job, strcmp(state, "cancelled") == 0 ? JOB_CANCELLED : JOB_DONE);
                end(follower);
        }
}

static void on_status(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct store_job *follower = userdata;

        follower->query = NULL;
        if (answer) {
                follower->n_failures = 0;
                follower->heard_usec = now_usec(follower);
                take_status(follower, answer);
        } else if (failure == FAILURE_NO_SUCH_IMAGE || now_usec(follower) - follower->heard_usec >= UNHEARD_USEC)
                fail(follower, failure, message);
        else {
                follower->n_failures++;
                look_later(follower);
        }
}

/* Whether it was done shows the next look. */
static void on_cancelled(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct store_job *follower = userdata;

        follower->query = NULL;
        if (answer || failure == FAILURE_NO_SUCH_IMAGE)
                follower->cancel = false;
        look_later(follower);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        struct store_job *follower = userdata;

        /* When too much is being asked already, it is for the next time. */
        if (query_ask(follower->manager, follower->cancel ? "CancelStoreJob" : "GetStoreJob", fill_id,
                    follower->cancel ? on_cancelled : on_status, follower, &follower->query, &error) < 0)
                look_later(follower);
        return 0;
}

static void on_cancel(struct job *job, void *userdata) {
        struct store_job *follower = userdata;

        follower->cancel = true;
        if (!follower->query)
                (void) sd_event_source_set_time_relative(follower->look, 0);
}

static int follow(struct store_job *follower, const char *id) {
        struct manager *manager = follower->manager;
        struct store_job *other;
        unsigned n = 0;
        int r;

        LIST_FOREACH(other, &manager->store_jobs, entry)
                n += other->job != NULL;
        if (n >= STORE_JOBS_MAX)
                return -EBUSY;
        (void) snprintf(follower->id, sizeof(follower->id), "%s", id);
        follower->heard_usec = now_usec(follower);
        r = sd_event_add_time_relative(
                manager->event, &follower->look, CLOCK_MONOTONIC, LOOK_USEC / 5, 0, on_look, follower);
        if (r >= 0)
                r = job_new_of_store(manager->jobs, follower->kind, follower->id, on_cancel, follower, &follower->job);
        if (r < 0)
                return r;
        follower->job->owner = follower->owner;
        job_set_progress(follower->job, 0, follower->name);
        return 0;
}

int store_job_follow(
        struct manager *manager, const char *id, const char *kind, const char *name, uid_t owner, struct job **ret) {
        struct store_job *follower;
        char text[SD_ID128_STRING_MAX];
        sd_id128_t parsed;
        struct job *job;
        int r;

        if (sd_id128_from_string(id, &parsed) < 0)
                return -EINVAL;
        (void) sd_id128_to_string(parsed, text);
        job = jobs_find_of_store(manager->jobs, text);
        if (job) {
                *ret = job;
                return 0;
        }

        follower = store_job_new(manager, kind, name, owner);
        if (!follower)
                return -ENOMEM;
        r = follow(follower, text);
        if (r < 0) {
                store_job_free(follower);
                return r;
        }
        *ret = follower->job;
        return 0;
}

/* Whoever asks learns what GetStoreJob tells. A job that is not known to be his is root's. */
int store_job_method_follow(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE];
        const char *id;
        struct job *job;
        int r;

        r = sd_bus_message_read(message, "s", &id);
        if (r < 0)
                return r;
        r = store_job_follow(manager, id, "store", "", 0, &job);
        if (r == -EINVAL)
                return peer_bus_error_set(error, FAILURE_USAGE, "\"%s\" is not the id of a job of the store", id);
        if (r == -EBUSY || r == -E2BIG)
                return peer_bus_error_set(error, FAILURE_BUSY,
                        "%u jobs of the store are followed already; GetStoreJob tells of it, too", STORE_JOBS_MAX);
        if (r < 0)
                return r;
        job_bus_path(job, path);
        return sd_bus_reply_method_return(message, "o", path);
}

/* --- beginning --- */

static int fill_call(sd_bus_message *call, void *userdata) {
        const struct store_job *follower = userdata;
        int r;

        if (!follower->message)
                return -ECANCELED;
        r = sd_bus_message_rewind(follower->message, true);
        return r < 0 ? r : sd_bus_message_copy(call, follower->message, true);
}

static void on_begun(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct store_job *follower = userdata;
        struct manager *manager = follower->manager;
        const char *id = "";

        follower->query = NULL;
        if (answer && sd_bus_message_read(answer, "s", &id) < 0) {
                answer = NULL;
                failure = FAILURE_PROTOCOL;
                message = "The store's answer was not understood";
        }
        /* The job is there before its id is known. Where it cannot be followed, its id is worth as much as before. */
        if (answer && *id && follow(follower, id) < 0)
                follower->job = NULL;
        if (follower->message && answer)
                (void) sd_bus_reply_method_return(follower->message, "s", id);
        else if (follower->message)
                (void) sd_bus_reply_method_errorf(follower->message, failure_lookup(failure)->bus_name, "%s", message);
        follower->message = sd_bus_message_unref(follower->message);
        if (!follower->job)
                store_job_free(follower);
        manager_check_idle(manager);
}

int store_job_forward(struct manager *manager, sd_bus_message *message, const char *method, const char *kind,
        const char *name, sd_bus_error *error) {
        struct store_job *follower;
        int r;

        follower = store_job_new(manager, kind, name, bouncer_caller(manager->bouncer, message));
        if (!follower)
                return -ENOMEM;
        follower->message = sd_bus_message_ref(message);
        r = query_ask(manager, method, fill_call, on_begun, follower, &follower->query, error);
        if (r < 0)
                store_job_free(follower);
        return r;
}

void store_jobs_forget(struct manager *manager) {
        struct store_job *follower;

        LIST_FOREACH(follower, &manager->store_jobs, entry)
                follower->message = sd_bus_message_unref(follower->message);
}

void store_jobs_free(struct manager *manager) {
        while (!LIST_EMPTY(&manager->store_jobs))
                store_job_free(LIST_FIRST(&manager->store_jobs));
}
