/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The job is a proxy's, and blockstored follows it: what is watched is an object of the bus. When blockstored is restarted the job goes on, and the new one follows it again, for its id is known. */

#include <string.h>
#include <time.h>

#include "bus.h"
#include "job-watch.h"
#include "report.h"
#include "store-job.h"

#define FOLLOW_MAX 20U /* times in a row that it is lost */
#define PAUSE_NSEC 250000000L

static int follow(const struct cli *cli, sd_bus *bus, const char *job, const char *action, const char *cancelled) {
        const struct job_watch_how how = { .action = action, .cancelled = cancelled, .quiet = true };

        for (unsigned n = 1;; n++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                const char *path;
                int r;

                r = bus_call_read(bus, "FollowStoreJob", &error, &reply, "s", job);
                if (r >= 0)
                        r = sd_bus_message_read(reply, "o", &path);
                if (r < 0 && n >= FOLLOW_MAX)
                        return report_bus(action, NULL, &error, r);
                if (r >= 0) {
                        r = job_watch(cli, bus, path, &how);
                        if (r != JOB_WATCH_LOST)
                                return r;
                        if (n >= FOLLOW_MAX)
                                return report_plain(FAILURE_SYSTEM, "job %s cannot be followed; it goes on", job);
                }
                (void) nanosleep(&(const struct timespec){ .tv_nsec = PAUSE_NSEC }, NULL);
        }
}

int store_job_conclude(const struct cli *cli, sd_bus *bus, sd_bus_message *reply, const char *action, bool wait,
        const char *cancelled) {
        const char *job;
        int r;

        r = sd_bus_message_read(reply, "s", &job);
        if (r < 0 || !*job)
                return r < 0 ? r : 0;
        if (wait)
                return follow(cli, bus, job, action, cancelled);
        if (cli->json == JSON_OFF)
                remark("It goes on as job %s.", job);
        return 0;
}
