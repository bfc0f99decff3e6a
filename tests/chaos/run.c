/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See run.h. After the faults the image is read through the worker as a whole, and once more from the store's file: the one shows what a client gets, the other what is kept. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "dice.h"
#include "interrupt.h"
#include "run.h"
#include "schedule.h"
#include "self-test.h"

#define START_PATIENCE (60 * SEC)
#define END_PATIENCE   (90 * SEC)

struct run {
        const struct options *options;
        struct rig *rig;
        struct statistics statistics;
        struct workload *workload;
        struct schedule *schedule;
        struct points points;
        uint64_t end_usec;
        unsigned killed;
};

static void on_unexpected(void *userdata, const char *what) {
        struct run *run = userdata;

        statistics_error(&run->statistics, "ERROR: %s", what);
        run->killed++;
}

static bool is_connected(void *userdata) {
        struct run *run = userdata;

        return run->killed > 0 || workload_is_connected(run->workload);
}

static bool faults_are_over(void *userdata) {
        struct run *run = userdata;

        if (now_usec() >= run->end_usec || run->killed > 0 ||
                (run->options->kills > 0 && schedule_n_faults(run->schedule) >= run->options->kills))
                schedule_stop(run->schedule);
        return schedule_is_over(run->schedule) || run->killed > 0;
}

static bool time_is_over(void *userdata) {
        struct run *run = userdata;

        return now_usec() >= run->end_usec || run->killed > 0;
}

static bool is_idle(void *userdata) {
        struct run *run = userdata;

        return workload_is_idle(run->workload);
}

static bool pass_is_over(void *userdata) {
        struct run *run = userdata;

        return workload_pass_is_over(run->workload);
}

static int wait_for(struct run *run, bool (*condition)(void *userdata), uint64_t timeout_usec, const char *what) {
        int r;

        r = rig_wait(run->rig, condition, run, timeout_usec);
        if (r < 0 && r != -EINTR)
                statistics_error(&run->statistics, "ERROR: %s: %s", what, strerror(-r));
        return r;
}

/* On one machine nothing would be retained, so half of all runs ask for it. */
static bool is_retained(const struct options *o) {
        return o->volatile_store || o->points || o->seed % 2;
}

static int set_up(struct run *run) {
        const struct options *o = run->options;
        char settings[160], io_timeout[32] = "infinity";
        int r;

        if (o->io_timeout_usec > 0)
                (void) snprintf(io_timeout, sizeof(io_timeout), "%" PRIu64 "ms", o->io_timeout_usec / MSEC);
        (void) snprintf(settings, sizeof(settings),
                "\"dead-time\":\"%" PRIu64 "ms\",\"io-timeout\":\"%s\",\"retain\":\"%s\",", o->dead_time_usec / MSEC,
                io_timeout, is_retained(o) ? "always" : "auto");
        r = rig_new(&run->rig, &(struct rig_options){
                                       .build = o->build,
                                       .directory = o->directory,
                                       .n_proxies = o->n_proxies,
                                       .size = o->size,
                                       .volatile_store = o->volatile_store,
                                       .ceph = o->ceph,
                                       .settings = settings,
                               });
        if (r < 0)
                return r;
        run->rig->unexpected = on_unexpected;
        run->rig->userdata = run;
        if (o->rules_off)
                rig_set_rules_off(run->rig, o->rules_off);
        r = rig_start(run->rig);
        if (r < 0)
                return r;
        return workload_new(&run->workload, run->rig->event,
                &(struct workload_options){
                        .socket_path = run->rig->socket_path,
                        .size = o->size,
                        .seed = o->seed,
                        .depth = o->depth,
                        .strict = !o->any_order,
                        .flushes = true,
                },
                &run->statistics);
}

/* All that was sent is answered; then the image, as a client sees it and as it is kept. */
static void look_at_all(struct run *run) {
        char path[512];
        int r;

        workload_stop(run->workload);
        if (wait_for(run, is_idle, END_PATIENCE, "requests are still not answered") < 0)
                return;
        workload_begin_pass(run->workload);
        if (wait_for(run, pass_is_over, END_PATIENCE, "reading the image at the end") < 0)
                return;
        r = rig_image_path(run->rig, path, sizeof(path));
        if (r >= 0)
                r = workload_check_file(run->workload, path);
        if (r < 0)
                statistics_error(&run->statistics, "ERROR: %s: %s", path, strerror(-r));
}

static int run_self_test(struct run *run, enum self_test test) {
        _cleanup_free_ uint8_t *memory = NULL;
        int r;

        self_test_begin(run->rig, test);
        run->end_usec = now_usec() + SEC / 2;
        (void) rig_wait(run->rig, time_is_over, run, END_PATIENCE);
        r = self_test_remember(run->rig, &memory);
        run->end_usec = now_usec() + SEC / 2;
        (void) rig_wait(run->rig, time_is_over, run, END_PATIENCE);
        workload_stop(run->workload);
        if (r >= 0)
                r = wait_for(run, is_idle, END_PATIENCE, "requests are still not answered");
        if (r >= 0)
                r = self_test_damage(run->rig, run->workload, test, memory);
        if (r < 0 || (r == 0 && test != SELF_TEST_LOST)) {
                statistics_say(&run->statistics, "the self-test could not damage anything: %s", strerror(-r));
                return 2;
        }
        look_at_all(run);
        statistics_say(&run->statistics, "self-test: %s",
                self_test_was_found(&run->statistics, test) ? "found" : "NOT FOUND");
        return self_test_was_found(&run->statistics, test) && run->statistics.errors == 0 ? 0 : 1;
}

static int within_limits(struct run *run) {
        int status = 0;

        for (unsigned kind = 1; run->options->limits && fault_name(kind); kind++) {
                uint64_t limit = fault_limit_usec(kind, run->options->dead_time_usec);

                if (statistics_longest(&run->statistics, kind) > limit) {
                        printf("LIMIT: %s: the longest stall was %.1f ms, at most %.1f ms are promised\n",
                                fault_name(kind), (double) statistics_longest(&run->statistics, kind) / 1e3,
                                (double) limit / 1e3);
                        status = 1;
                }
        }
        return status;
}

/* How often each kind was injected, of those that were to be injected so often. */
static void report_each(struct run *run) {
        unsigned n_kinds = 0;

        if (run->options->each == 0)
                return;
        printf("each %-9u", run->options->each);
        for (unsigned kind = 1; fault_name(kind); kind++) {
                unsigned n = statistics_n_stalls(&run->statistics, kind);
                bool wanted = run->options->only & UINT64_C(1) << kind;

                if (n > 0 || wanted)
                        printf("%s%u %s", n_kinds++ > 0 ? ", " : " ", n, fault_name(kind));
                if (wanted && n < run->options->each)
                        run->statistics.errors++;
        }
        printf("%s\n", n_kinds > 0 ? "" : " nothing");
        if (n_kinds == 0)
                run->statistics.errors++;
}

static int run_faults(struct run *run) {
        int r = 0, status;

        if (run->options->points)
                r = points_load(&run->points, run->options->points, run->options->volatile_store, run->options->seed);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", run->options->points, strerror(-r));
                return 2;
        }
        r = schedule_new(&run->schedule, run->rig, run->workload, &run->statistics,
                &(struct schedule_options){
                        .seed = run->options->seed,
                        .dead_time_usec = run->options->dead_time_usec,
                        .io_timeout_usec = run->options->io_timeout_usec,
                        .each = run->options->each,
                        .only = run->options->only,
                        .points = run->options->points ? &run->points : NULL,
                        .retained = is_retained(run->options),
                        .verbose = run->options->verbose,
                });
        if (r < 0)
                return 2;
        run->end_usec = run->options->kills > 0 || run->options->each > 0 || run->options->points
                                ? UINT64_MAX
                                : now_usec() + (uint64_t) (run->options->minutes * 60e6);
        (void) rig_wait(run->rig, faults_are_over, run, UINT64_MAX / 2);
        for (unsigned i = 0; i < run->points.n; i++)
                if (!run->points.points[i].reached)
                        statistics_error(&run->statistics, "ERROR: nothing was %s at %s: the point was not reached",
                                run->points.points[i].stop ? "stopped" : "killed", run->points.points[i].name);
        look_at_all(run);
        statistics_report(&run->statistics, fault_name);
        report_each(run);
        if (interrupt_seen())
                printf("interrupted\n");
        if (run->rig->n_shot > 0)
                printf("shot           %u proxies, by others that they did not answer in time\n", run->rig->n_shot);
        status = within_limits(run);
        return run->statistics.errors > 0 || run->statistics.n_wrong > 0 ? 1 : status;
}

int run_chaos(const struct options *options) {
        struct run run = { .options = options, .statistics.started_usec = now_usec() };
        int status = 2, test = SELF_TEST_NONE, r = 0;

        if (options->self_test) {
                test = self_test_from_string(options->self_test);
                if (test < 0) {
                        fprintf(stderr, "--self-test %s: there is none of that name, see --help\n",
                                options->self_test);
                        return 2;
                }
        }
        printf("seed %" PRIu64 ", %u proxies, %" PRIu64 " MiB, depth %u, dead time %" PRIu64 " ms\n", options->seed,
                options->n_proxies, options->size >> 20, options->depth, options->dead_time_usec / MSEC);
        r = set_up(&run);
        if (r < 0 && !interrupt_seen())
                fprintf(stderr, "Cannot set up worker and proxies: %s\n", strerror(-r));
        else if (r >= 0 && wait_for(&run, is_connected, START_PATIENCE, "the worker is not ready") >= 0)
                status = test != SELF_TEST_NONE ? run_self_test(&run, (enum self_test) test) : run_faults(&run);

        if (status != 0 && run.rig && !interrupt_seen())
                rig_show_logs(run.rig, 12);
        schedule_free(run.schedule);
        workload_free(run.workload);
        rig_free(run.rig);
        statistics_done(&run.statistics);
        points_done(&run.points);
        return status;
}
