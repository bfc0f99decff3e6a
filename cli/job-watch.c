/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Asked after four times a second, because a rate and the time that is left change without anything happening. The job is the supervisor's and does not depend on us: whoever wants it to end has to say so, and then hears how it
 * did end. */

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "block-signals.h"
#include "bus-json.h"
#include "bus.h"
#include "job-watch.h"
#include "output.h"
#include "report.h"

#define BUS_JOB    "org.blockstore.Job"
#define LOOK_USEC  250000U
#define LINE_LOOKS 4U /* a JSON line a second */
#define BAR_WIDTH  30U

struct watch {
        const struct job_watch_how *how;
        sd_bus *bus;
        const char *path;
        FILE *lines; /* JSON lines; NULL: none */
        bool bar, shown, cancelling;
        unsigned looks;
        char last[16]; /* the state in the last line */
};

static int look(const struct watch *watch, struct json_object **ret, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call_method(
                watch->bus, BUS_NAME, watch->path, BUS_PROPERTIES, "GetAll", error, &reply, "s", BUS_JOB);
        return r < 0 ? r : bus_json_read_properties(reply, ret);
}

static void clear(struct watch *watch) {
        if (watch->shown)
                fputs("\r\033[K", stderr);
        watch->shown = false;
}

static void show_bar(struct watch *watch, struct json_object *job) {
        uint64_t progress = json_number(job, "progress"), total = json_number(job, "total"),
                 rate = json_number(job, "rate"), left = json_number(job, "remaining");
        char done_text[FORMAT_MAX], total_text[FORMAT_MAX], rate_text[FORMAT_MAX], left_text[FORMAT_MAX],
                bar[BAR_WIDTH + 1];
        double share = total > 0 ? (double) progress / (double) total : 0;

        for (unsigned i = 0; i < BAR_WIDTH; i++)
                bar[i] = i < (unsigned) (share * BAR_WIDTH) ? '#' : '.';
        bar[BAR_WIDTH] = 0;
        fprintf(stderr, "\r\033[K[%s] %3u%%  %s of %s", bar, (unsigned) (share * 100),
                format_size(done_text, progress), format_size(total_text, total));
        if (rate > 0)
                fprintf(stderr, "  %s/s", format_size(rate_text, rate));
        if (rate > 0 && left != UINT64_MAX)
                fprintf(stderr, "  %s left", format_duration(left_text, left / 1000000));
        fprintf(stderr, "  %s", watch->cancelling ? "cancelling" : json_string(job, "step"));
        fflush(stderr);
        watch->shown = true;
}

static void show(struct watch *watch, struct json_object *job) {
        const char *state = json_string(job, "state");

        if (watch->bar)
                show_bar(watch, job);
        if (!watch->lines)
                return;
        if (watch->looks++ % LINE_LOOKS != 0 && strcmp(state, watch->last) == 0)
                return;
        (void) snprintf(watch->last, sizeof(watch->last), "%s", state);
        fprintf(watch->lines, "%s\n", json_object_to_json_string_ext(job, JSON_C_TO_STRING_PLAIN));
        fflush(watch->lines);
}

static int conclude(struct watch *watch, struct json_object *job) {
        const char *state = json_string(job, "state"), *message = json_string(job, "message"),
                   *error = json_string(job, "error"), *checksum = json_string(job, "checksum");
        const struct job_watch_how *how = watch->how;

        clear(watch);
        if (strcmp(state, "failed") == 0)
                return report_plain(failure_from_bus_name(error), "could not %s: %s%s%s", how->action, message,
                        how->hint ? ". " : "", how->hint ?: "");
        if (strcmp(state, "cancelled") == 0) {
                remark("Cancelled%s%s. %s", *message ? ": " : "", message,
                        how->hint ?: how->cancelled ?: "Nothing of it is left.");
                return CLI_EXIT_INTERRUPTED;
        }
        if (!watch->lines && *checksum)
                fprintf(how->lines_to_stderr ? stderr : stdout, "%s\n", checksum);
        return 0;
}

static int cancel(struct watch *watch) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (watch->cancelling) {
                clear(watch);
                remark("Stopped watching; it ends by itself.");
                return CLI_EXIT_INTERRUPTED;
        }
        r = sd_bus_call_method(watch->bus, BUS_NAME, watch->path, BUS_JOB, "Cancel", &error, NULL, NULL);
        if (r < 0 && failure_from_bus_name(error.name) != FAILURE_USAGE)
                return report_bus("cancel it, and it goes on", NULL, &error, r);
        watch->cancelling = true;
        return 0;
}

int job_watch(const struct cli *cli, sd_bus *bus, const char *path, const struct job_watch_how *how) {
        bool bar = cli->json == JSON_OFF && isatty(STDERR_FILENO);
        struct watch watch = { .how = how,
                .bus = bus,
                .path = path,
                .bar = bar,
                .lines = bar || (how->quiet && cli->json == JSON_OFF) ? NULL
                         : how->lines_to_stderr                       ? stderr
                                                                      : stdout };
        sigset_t signals = block_signals(SIGINT, SIGTERM, 0);
        int r;

        for (;;) {
                _cleanup_(json_object_putp) struct json_object *job = NULL;
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                const char *state;

                r = look(&watch, &job, &error);
                if (r < 0) {
                        clear(&watch);
                        return JOB_WATCH_LOST;
                }
                show(&watch, job);
                state = json_string(job, "state");
                if (strcmp(state, "running") != 0 && strcmp(state, "cancelling") != 0)
                        return conclude(&watch, job);
                if (sigtimedwait(&signals, NULL, &(const struct timespec){ .tv_nsec = LOOK_USEC * 1000U }) > 0) {
                        r = cancel(&watch);
                        if (r != 0)
                                return r;
                }
        }
}

int job_watch_call(const struct cli *cli, sd_bus *bus, sd_bus_message *message, const char *name,
        const struct job_watch_how *how) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *path;
        int r;

        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return report_bus(how->action, name, &error, r);

        r = job_watch(cli, bus, path, how);
        if (r == JOB_WATCH_LOST)
                return report_plain(FAILURE_SYSTEM,
                        "the job is not known any more: blockstored has been restarted, and what was under way has "
                        "ended with it. See: journalctl -u blockstored");
        return r;
}
