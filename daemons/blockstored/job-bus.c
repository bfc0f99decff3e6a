/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.blockstore.Job: the face of a job on the bus. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "job.h"
#include "manager.h"
#include "peer-bus.h"

void job_bus_path(const struct job *job, char ret[static JOB_PATH_SIZE]) {
        (void) snprintf(ret, JOB_PATH_SIZE, JOB_PATH "/%" PRIu32, job->id);
}

static int get(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
        void *userdata, sd_bus_error *error) {
        const struct job *job = userdata;
        const struct {
                const char *property, *text;
        } texts[] = {
                { "Kind", job->kind },
                { "State", job_state_to_string(job->state) },
                { "Unit", job->unit },
                { "Subject", job->subject },
                { "Step", job->step },
                { "Checksum", job->checksum },
                { "StoreJob", job->store_job },
                { "Error", job->failure == FAILURE_NONE ? "" : failure_lookup(job->failure)->bus_name },
                { "Message", job->message },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (strcmp(property, texts[i].property) == 0)
                        return sd_bus_message_append(reply, "s", texts[i].text);
        if (strcmp(property, "Progress") == 0)
                return sd_bus_message_append(reply, "t", job->progress);
        if (strcmp(property, "Total") == 0)
                return sd_bus_message_append(reply, "t", job->total);
        if (strcmp(property, "Remaining") == 0)
                return sd_bus_message_append(reply, "t", job_remaining(job));
        return sd_bus_message_append(reply, "t", job_rate(job));
}

/* The job may end, and be forgotten, while polkit is asked: it is looked for again by its path. */
static int find_job(
        sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct job *job;
        char *end;
        unsigned long id;

        if (strncmp(path, JOB_PATH "/", strlen(JOB_PATH "/")) != 0)
                return 0;
        path += strlen(JOB_PATH "/");
        errno = 0;
        id = strtoul(path, &end, 10);
        job = errno == 0 && end != path && *end == 0 && id <= UINT32_MAX ? jobs_find(manager->jobs, (uint32_t) id)
                                                                         : NULL;
        if (!job)
                return 0;

        *ret_found = job;
        return 1;
}

static int cancel_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct job *job;
        void *found;
        int r;

        r = find_job(NULL, sd_bus_message_get_path(message), NULL, manager, &found, error);
        if (r <= 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "There is no such job any more");
        job = found;
        r = bouncer_check_owner(manager->bouncer, message, job->owner, cancel_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = job_cancel(job);
        if (r == -EOPNOTSUPP)
                return peer_bus_error_set(error, FAILURE_BUSY, "This job cannot be cancelled");
        if (r == -EALREADY)
                return peer_bus_error_set(error, FAILURE_USAGE, "The job has ended already");
        return sd_bus_reply_method_return(message, NULL);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct job *job = userdata;

        return cancel_checked(message, jobs_userdata(job->jobs), error);
}

static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Kind", "s", get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "t", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Total", "t", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Unit", "s", get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Rate", "t", get, 0, 0),
        SD_BUS_PROPERTY("Remaining", "t", get, 0, 0),
        SD_BUS_PROPERTY("Step", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Subject", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Checksum", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StoreJob", "s", get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Error", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Message", "s", get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD("Cancel", NULL, NULL, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int enumerate_jobs(sd_bus *bus, const char *prefix, void *userdata, char ***ret_paths, sd_bus_error *error) {
        struct manager *manager = userdata;
        char **paths = calloc(JOBS_MAX + 1, sizeof(*paths));
        size_t n = 0;

        if (!paths)
                return -ENOMEM;
        for (struct job *job = jobs_first(manager->jobs); job && n < JOBS_MAX; job = LIST_NEXT(job, entry)) {
                char path[JOB_PATH_SIZE];

                job_bus_path(job, path);
                paths[n] = strdup(path);
                if (!paths[n++]) {
                        while (n > 0)
                                free(paths[--n]);
                        free(paths);
                        return -ENOMEM;
                }
        }
        *ret_paths = paths;
        return 0;
}

int job_bus_add(struct manager *manager) {
        int r;

        r = sd_bus_add_fallback_vtable(manager->bus, NULL, JOB_PATH, JOB_INTERFACE, job_vtable, find_job, manager);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(manager->bus, NULL, JOB_PATH, enumerate_jobs, manager);
}

static void on_added(struct job *job, void *userdata) {
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE];

        job_bus_path(job, path);
        if (manager->bus_connected)
                (void) sd_bus_emit_object_added(manager->bus, path);
}

static void on_changed(struct job *job, uint32_t mask, void *userdata) {
        static const struct {
                uint32_t bit;
                const char *name;
        } properties[] = {
                { JOB_STATE, "State" },
                { JOB_PROGRESS, "Progress" },
                { JOB_TOTAL, "Total" },
                { JOB_SUBJECT, "Subject" },
                { JOB_STEP, "Step" },
                { JOB_CHECKSUM, "Checksum" },
                { JOB_ERROR, "Error" },
                { JOB_ERROR, "Message" },
        };
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE], *names[ELEMENTSOF(properties) + 1] = {};
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                if (mask & properties[i].bit)
                        names[n++] = (char *) properties[i].name;
        job_bus_path(job, path);
        if (manager->bus_connected)
                (void) sd_bus_emit_properties_changed_strv(manager->bus, path, JOB_INTERFACE, names);
        manager_check_idle(manager);
}

static void on_removed(struct job *job, void *userdata) {
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE];

        job_bus_path(job, path);
        if (manager->bus_connected)
                (void) sd_bus_emit_object_removed(manager->bus, path);
}

const struct jobs_ops job_bus_ops = { .added = on_added, .changed = on_changed, .removed = on_removed };
