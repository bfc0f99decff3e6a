/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The job is the proxy's and is asked after; so a lost question costs nothing, and the job does not depend on us. Only that its user does not want it any more has to be said. */

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "bus.h"
#include "output.h"
#include "report.h"
#include "store-job.h"

#define LOOK_USEC    250000U
#define FAILURES_MAX 20U /* questions in a row that nobody answers */

struct progress {
        const char *state, *failure, *message;
        uint64_t done, total, elapsed;
};

static int look(sd_bus *bus, const char *job, sd_bus_error *error, sd_bus_message **ret_reply, struct progress *ret) {
        int r;

        r = bus_call_read(bus, "GetStoreJob", error, ret_reply, "s", job);
        if (r < 0)
                return r;
        r = sd_bus_message_read(*ret_reply, "stttss", &ret->state, &ret->done, &ret->total, &ret->elapsed,
                &ret->failure, &ret->message);
        return r < 0 ? r : 0;
}

static int print_json(const struct cli *cli, const char *job, const struct progress *progress) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

        if (!object || json_object_object_add(object, "job", json_object_new_string(job)) < 0 ||
                json_object_object_add(object, "state", json_object_new_string(progress->state)) < 0 ||
                json_object_object_add(object, "done", json_object_new_uint64(progress->done)) < 0 ||
                json_object_object_add(object, "total", json_object_new_uint64(progress->total)) < 0 ||
                json_object_object_add(object, "elapsed_usec", json_object_new_uint64(progress->elapsed)) < 0)
                return -ENOMEM;
        (void) output_json(cli, object);
        return output_flush();
}

static void print_line(const struct progress *progress) {
        char done[FORMAT_MAX], total[FORMAT_MAX], rate[FORMAT_MAX], left[FORMAT_MAX];
        double seconds = (double) progress->elapsed / 1e6,
               per_second = seconds > 0 ? (double) progress->done / seconds : 0;
        unsigned percent =
                progress->total > 0 ? (unsigned) ((double) progress->done / (double) progress->total * 100) : 0;

        fprintf(stderr, "\r\033[K%3u%%  %s of %s", percent, format_size(done, progress->done),
                format_size(total, progress->total));
        if (per_second >= 1)
                fprintf(stderr, "  %s/s  %s left", format_size(rate, (uint64_t) per_second),
                        format_duration(left, (uint64_t) ((double) (progress->total - progress->done) / per_second)));
        fflush(stderr);
}

static void show(const struct cli *cli, const char *job, const struct progress *progress, bool *shown) {
        if (cli->json != JSON_OFF) {
                (void) print_json(cli, job, progress);
                return;
        }
        if (!isatty(STDERR_FILENO))
                return;
        print_line(progress);
        *shown = true;
}

static void end_line(bool *shown) {
        if (*shown)
                fputs("\r\033[K", stderr);
        *shown = false;
}

static int cancel(const struct cli *cli, sd_bus *bus, const char *job) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_new_change(cli, bus, "CancelStoreJob", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", job);
        return r < 0 ? r : bus_call_change(cli, bus, message, &error, NULL);
}

static int conclude(const struct progress *progress, const char *action) {
        enum failure failure;

        if (strcmp(progress->state, "done") == 0)
                return 0;
        if (strcmp(progress->state, "cancelled") == 0) {
                remark("Cancelled: nothing was made.");
                return CLI_EXIT_INTERRUPTED;
        }
        failure = failure_from_bus_name(progress->failure);
        return report_plain(failure, "cannot %s: %s", action, progress->message);
}

int store_job_wait(const struct cli *cli, sd_bus *bus, const char *job, const char *action) {
        unsigned n_failures = 0;
        bool shown = false;
        sigset_t signals;

        if (!*job)
                return 0;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;

        for (;;) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                struct progress progress;
                int r;

                r = look(bus, job, &error, &reply, &progress);
                /* The proxy may be another one by now, and will say so; or none can be had for a moment. */
                if (r < 0 && (failure_from_bus_name(error.name) != FAILURE_NO_PROXY || ++n_failures >= FAILURES_MAX)) {
                        end_line(&shown);
                        return report_bus(action, NULL, &error, r);
                }
                if (r >= 0) {
                        n_failures = 0;
                        show(cli, job, &progress, &shown);
                        if (strcmp(progress.state, "running") != 0) {
                                end_line(&shown);
                                return conclude(&progress, action);
                        }
                }

                if (sigtimedwait(&signals, NULL, &(const struct timespec){ .tv_nsec = LOOK_USEC * 1000U }) > 0) {
                        end_line(&shown);
                        r = cancel(cli, bus, job);
                        if (r < 0)
                                return report(FAILURE_INTERNAL, NULL, "job %s could not be cancelled and goes on: %s",
                                        job, strerror(-r));
                }
        }
}
