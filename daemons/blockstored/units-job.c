/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two reads, one after the other: which job, then what it is. It may have ended in between, which is the same as none. */

#include <errno.h>
#include <string.h>

#include "units-job.h"

#define PROPERTIES   "org.freedesktop.DBus.Properties"
#define SYSTEMD_UNIT "org.freedesktop.systemd1.Unit"
#define SYSTEMD_JOB  "org.freedesktop.systemd1.Job"
#define UNIT_PATH    "/org/freedesktop/systemd1/unit"

struct units_job {
        sd_bus *bus;
        const char *destination;
        sd_bus_slot *slot;
        units_job_type_t told;
        void *userdata;
};

struct units_job *units_job_free(struct units_job *job) {
        if (!job)
                return NULL;

        sd_bus_slot_unref(job->slot);
        sd_bus_unref(job->bus);
        free(job);
        return NULL;
}

static int end(struct units_job *job, const char *type) {
        job->told(type, job->userdata); /* frees us */
        return 0;
}

static int get(struct units_job *job, const char *path, const char *interface, const char *property,
        sd_bus_message_handler_t answered) {
        job->slot = sd_bus_slot_unref(job->slot);
        return sd_bus_call_method_async(job->bus, &job->slot, job->destination, path, PROPERTIES, "Get", answered, job,
                "ss", interface, property);
}

static int on_type(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *type;

        if (sd_bus_message_is_method_error(message, NULL) || sd_bus_message_read(message, "v", "s", &type) < 0)
                type = "";
        return end(userdata, type);
}

static int on_job(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_job *job = userdata;
        const char *path;
        uint32_t id = 0;

        if (sd_bus_message_is_method_error(message, NULL) ||
                sd_bus_message_read(message, "v", "(uo)", &id, &path) < 0 || id == 0 ||
                get(job, path, SYSTEMD_JOB, "JobType", on_type) < 0)
                return end(job, "");
        return 0;
}

int units_job_ask(
        struct units *units, const char *unit, units_job_type_t told, void *userdata, struct units_job **ret) {
        _cleanup_free_ char *path = NULL;
        struct units_job *job;
        int r;

        r = sd_bus_path_encode(UNIT_PATH, unit, &path);
        if (r < 0)
                return r;

        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        job->told = told;
        job->userdata = userdata;

        r = units_connection(units, &job->bus, &job->destination);
        if (r >= 0) {
                sd_bus_ref(job->bus);
                r = get(job, path, SYSTEMD_UNIT, "Job", on_job);
        }
        if (r < 0) {
                units_job_free(job);
                return r;
        }

        *ret = job;
        return 0;
}
