/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the mock: the one job there is, as an object of the bus. Each look at it finds it further. */

#include "mock.h"

#define JOB_PREFIX MOCK_PATH "/job"
#define JOB_PATH   JOB_PREFIX "/7"

static unsigned n_looks;
static bool cancelled, lingers;

/* Who knows its path finds it. It is in no list, for nobody would see it begin or end. */
static int find_job(
        sd_bus *b, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error) {
        *ret_found = NULL;
        return strcmp(path, JOB_PATH) == 0;
}

/* The first time it is lost, as when the supervisor is restarted. */
int mock_follow_store_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static unsigned n_calls;
        const char *id;

        ASSERT_OK(sd_bus_message_read(m, "s", &id));
        return sd_bus_reply_method_return(m, "o", n_calls++ == 0 ? "/org/blockstore/job/6" : JOB_PATH);
}

static int get_job_state(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        if (!cancelled && !(lingers && n_looks == 2))
                n_looks++;
        return sd_bus_message_append(reply, "s", cancelled ? "cancelled" : n_looks < 3 ? "running" : "done");
}

static int get_job_text(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "");
}

static int get_job_number(sd_bus *b, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        uint64_t done = UINT64_C(1048576) * n_looks, total = UINT64_C(3145728);

        return sd_bus_message_append(reply, "t",
                strcmp(property, "Progress") == 0 ? done
                : strcmp(property, "Total") == 0  ? total
                : strcmp(property, "Rate") == 0   ? UINT64_C(1048576)
                                                  : UINT64_C(1000000) * (3 - n_looks));
}

static int cancel_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        mock_say("call", "Job.Cancel");
        cancelled = true;
        lingers = false;
        return sd_bus_reply_method_return(m, NULL);
}

/* In this order, for the first counts the looks. */
static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("State", "s", get_job_state, 0, 0),
        SD_BUS_PROPERTY("Progress", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Total", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Rate", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Remaining", "t", get_job_number, 0, 0),
        SD_BUS_PROPERTY("Step", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Checksum", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Error", "s", get_job_text, 0, 0),
        SD_BUS_PROPERTY("Message", "s", get_job_text, 0, 0),
        SD_BUS_METHOD("Cancel", NULL, NULL, cancel_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

void mock_job_begin(void) {
        n_looks = 0;
        cancelled = false;
}

void mock_job_linger(void) {
        lingers = true;
}

void mock_job_serve(void) {
        ASSERT_OK(sd_bus_add_fallback_vtable(
                mock_bus, NULL, JOB_PREFIX, "org.blockstore.Job", job_vtable, find_job, NULL));
}
