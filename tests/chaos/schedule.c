/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See schedule.h. After the last step of a fault the schedule waits until all proxies and the worker run and requests are answered again; that ends the fault's stall. Then
 * comes a pause, in which the workload goes undisturbed. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <signal.h>

#include "fault.h"

#define RECOVERED     64U /* answers after which all is well */
#define STUCK_USEC    (60 * SEC)
#define STEP_PATIENCE (60 * SEC)

void fault_after(struct schedule *s, uint64_t usec) {
        s->next_usec = now_usec() + usec;
}

bool fault_go_on(struct schedule *s, uint64_t usec) {
        s->step++;
        s->step_began_usec = now_usec();
        fault_after(s, usec);
        return false;
}

bool fault_wait_more(struct schedule *s, const char *what) {
        if (now_usec() - s->step_began_usec > STEP_PATIENCE) {
                statistics_error(s->statistics, "ERROR: %s: waited in vain until %s", fault_name(s->kind), what);
                return true;
        }
        fault_after(s, FAULT_TICK);
        return false;
}

struct rig_proxy *fault_target(struct schedule *s) {
        return s->rig->proxies + s->target;
}

void fault_start_proxy(struct schedule *s, unsigned proxy) {
        int r;

        if (s->rig->proxies[proxy].child.pid != 0)
                return;
        r = rig_start_proxy(s->rig, proxy);
        if (r < 0)
                statistics_error(s->statistics, "ERROR: cannot start proxy %u: %s", proxy, strerror(-r));
}

static const struct fault {
        const char *name, *text;
        bool (*step)(struct schedule *s);
        unsigned weight;
        uint64_t limit_usec;                                  /* longest stall that is promised; 0: none */
        bool dead_time_is_added;                              /* ... to it */
        enum { ANY_STORE, FILE_STORE, VOLATILE_STORE } store; /* what it can be had with */
        enum { ANY_TIMEOUT, INFINITE, FINITE } io_timeout;    /* ... and with which io-timeout of the worker */
} faults[] = {
        { "none", "nothing: the time between two faults", NULL, 0, 0, false, ANY_STORE },
        { "kill", "kill -9 of the active proxy, which is started again some time later", fault_kill, 20, 250 * MSEC,
                false, FILE_STORE },
        { "power-loss", "the same, and all that it had not flushed is gone", fault_kill, 20, 0, false,
                VOLATILE_STORE },
        { "freeze", "the active proxy is stopped for longer than the dead time, then goes on", fault_freeze, 8,
                400 * MSEC, true, ANY_STORE },
        { "short-freeze", "... for less than half the dead time", fault_short_freeze, 6, 0, false, ANY_STORE },
        { "stop", "SIGTERM to the active proxy, which is started again", fault_stop, 10, 20 * MSEC, false, ANY_STORE },
        { "drain", "DRAIN to the active proxy, and its undoing", fault_drain, 10, 20 * MSEC, false, ANY_STORE },
        { "rolling", "all proxies are restarted one after the other", fault_rolling, 5, 20 * MSEC, false, ANY_STORE },
        { "no-proxy", "all proxies end at once, and are away for a while", fault_no_proxy, 4, 0, false, ANY_STORE,
                INFINITE },
        { "io-timeout", "all proxies are away for longer than --io-timeout: I/O fails, and goes on when they return",
                fault_io_timeout, 4, 0, false, FILE_STORE, FINITE },
        { "cut-one", "one connection to the active proxy is reset", fault_cut_one, 8, 0, false, ANY_STORE },
        { "cut-all", "all connections to all proxies are reset", fault_cut_all, 6, 0, false, ANY_STORE },
        { "black-hole", "nothing gets through to the active proxy; what was on its way may arrive later",
                fault_black_hole, 6, 400 * MSEC, true, ANY_STORE },
        { "half-packet", "half a packet, then silence on that connection", fault_half_packet, 6, 0, false, ANY_STORE },
        { "slow", "each packet to and from the active proxy is late", fault_slow, 4, 0, false, ANY_STORE },
        { "lie-status", "requests that were executed are answered with \"not executed\"", fault_lie_status, 5, 0,
                false, ANY_STORE },
        { "lie-error", "requests that were executed are answered with an error", fault_lie_error, 3, 0, false,
                FILE_STORE },
        { "lie-header", "an answer with a wrong sequence number or op, or the same answer twice", fault_lie_header, 5,
                0, false, ANY_STORE },
        { "worker", "kill -9 of the worker, which is started again", fault_worker_kill, 6, 0, false, FILE_STORE },
        { "sync-error", "a flush or a durable write fails once, and what it covered is gone", fault_sync_error, 12, 0,
                false, VOLATILE_STORE },
        { "slow-disk", "changes stay in the store's hand, and connections are lost meanwhile", fault_slow_disk, 12, 0,
                false, VOLATILE_STORE },
        { "point", "a proxy or the worker is killed or stopped at a named point (--points)", fault_at_point, 0, 0,
                false, ANY_STORE },
};

const char *fault_name(unsigned kind) {
        return kind < ELEMENTSOF(faults) ? faults[kind].name : NULL;
}

const char *fault_text(unsigned kind) {
        return kind < ELEMENTSOF(faults) ? faults[kind].text : NULL;
}

int fault_from_name(const char *name, size_t n) {
        for (unsigned i = 0; i < ELEMENTSOF(faults); i++)
                if (strlen(faults[i].name) == n && memcmp(faults[i].name, name, n) == 0)
                        return (int) i;
        return -EINVAL;
}

uint64_t fault_limit_usec(unsigned kind, uint64_t dead_time_usec) {
        if (faults[kind].limit_usec == 0)
                return UINT64_MAX;
        return faults[kind].limit_usec + (faults[kind].dead_time_is_added ? dead_time_usec : 0);
}

/* ------ one after the other ------ */

static bool is_possible(const struct schedule *s, unsigned kind) {
        if (s->options.only != 0 && !(s->options.only & UINT64_C(1) << kind))
                return false;
        if (s->options.each > 0 && statistics_n_stalls(s->statistics, kind) >= s->options.each)
                return false;
        if (faults[kind].io_timeout != ANY_TIMEOUT &&
                (faults[kind].io_timeout == FINITE) != (s->options.io_timeout_usec > 0))
                return false;
        return faults[kind].store == ANY_STORE ||
               (faults[kind].store == VOLATILE_STORE) == s->rig->options.volatile_store;
}

/* 0: there is nothing (more) to choose from. */
static unsigned choose(struct schedule *s) {
        uint64_t sum = 0, chosen;
        unsigned kind = 0;

        if (s->options.points)
                return points_next(s->options.points) ? ELEMENTSOF(faults) - 1 : 0;

        for (unsigned i = 1; i < ELEMENTSOF(faults); i++)
                sum += is_possible(s, i) ? faults[i].weight : 0;
        chosen = sum > 0 ? dice_below(&s->dice, sum) : 0;
        for (unsigned i = 1; i < ELEMENTSOF(faults) && kind == 0 && sum > 0; i++) {
                unsigned weight = is_possible(s, i) ? faults[i].weight : 0;

                if (chosen < weight)
                        kind = i;
                else
                        chosen -= weight;
        }
        return kind;
}

static void begin_fault(struct schedule *s) {
        int active = rig_active(s->rig);

        s->target = active < 0 ? 0 : (unsigned) active;
        s->kind = choose(s);
        if (s->kind == 0) {
                s->stopping = true;
                return;
        }
        statistics_add_stall(s->statistics, 0, workload_stall_usec(s->workload));
        if (s->options.verbose)
                statistics_say(s->statistics, "%s, proxy %u", fault_name(s->kind), s->target);
        s->phase = PHASE_FAULT;
        s->step = 0;
        s->began_usec = s->step_began_usec = now_usec();
        s->first_done_usec = 0;
        s->n_done_before = workload_n_done(s->workload);
        workload_watch_stall(s->workload);
}

static void end_fault(struct schedule *s) {
        uint64_t stall = workload_stall_usec(s->workload);

        /* Without a connection nothing is outstanding; then it is the time until the first answer that counts. */
        if ((faults[s->kind].step == fault_worker_kill || faults[s->kind].step == fault_at_point) &&
                s->first_done_usec > s->began_usec && s->first_done_usec - s->began_usec > stall)
                stall = s->first_done_usec - s->began_usec;
        statistics_add_stall(s->statistics, s->kind, stall);
        if (s->options.verbose)
                statistics_say(
                        s->statistics, "%s is over, longest stall %.1f ms", fault_name(s->kind), (double) stall / 1e3);
        s->n_faults++;
        (void) workload_expect_no_errors(s->workload);
        workload_watch_stall(s->workload);
        s->phase = PHASE_PAUSE;
        fault_after(s, s->options.points ? 20 * MSEC : dice_between(&s->dice, 100 * MSEC, 700 * MSEC));
}

static void give_up(struct schedule *s, const char *what) {
        statistics_error(s->statistics, "ERROR: %s: %s for a minute; this run ends here", fault_name(s->kind), what);
        s->over = true;
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct schedule *s = userdata;
        uint64_t n_done = workload_n_done(s->workload);

        (void) sd_event_source_set_time(source, now_usec() + FAULT_TICK);
        if (s->first_done_usec == 0 && n_done > s->n_done_before)
                s->first_done_usec = now_usec();

        if (workload_silence_usec(s->workload) > STUCK_USEC) {
                give_up(s, "no answer");
                return 0;
        }
        switch (s->phase) {
        case PHASE_PAUSE:
                if (s->stopping) {
                        s->over = true;
                        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
                }
                if (now_usec() >= s->next_usec && workload_is_connected(s->workload))
                        begin_fault(s);
                break;

        case PHASE_FAULT:
                if (now_usec() < s->next_usec || !faults[s->kind].step(s))
                        break;
                s->phase = PHASE_RECOVERY;
                s->step_began_usec = now_usec();
                s->n_done_before = n_done;
                break;

        case PHASE_RECOVERY:
        default:
                if (rig_all_ready(s->rig) && workload_is_connected(s->workload) &&
                        n_done >= s->n_done_before + RECOVERED)
                        end_fault(s);
                else if (now_usec() - s->step_began_usec > STUCK_USEC)
                        give_up(s, "not recovered");
                break;
        }
        return 0;
}

int schedule_new(struct schedule **ret, struct rig *rig, struct workload *workload, struct statistics *statistics,
        const struct schedule_options *options) {
        struct schedule *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        *s = (struct schedule){
                .rig = rig,
                .workload = workload,
                .statistics = statistics,
                .options = *options,
                .dice = dice_new(options->seed, 2),
        };
        fault_after(s, 300 * MSEC);
        workload_watch_stall(workload);
        r = sd_event_add_time(rig->event, &s->timer, CLOCK_MONOTONIC, now_usec() + FAULT_TICK, 1, on_tick, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->timer, SD_EVENT_ON);
        if (r < 0) {
                schedule_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

struct schedule *schedule_free(struct schedule *s) {
        if (!s)
                return NULL;
        sd_event_source_disable_unref(s->timer);
        if (s->control_pid > 0) {
                (void) kill(s->control_pid, SIGKILL);
                (void) waitpid(s->control_pid, NULL, 0);
        }
        free(s);
        return NULL;
}

void schedule_stop(struct schedule *s) {
        s->stopping = true;
}

bool schedule_is_over(const struct schedule *s) {
        return s->over;
}

unsigned schedule_n_faults(const struct schedule *s) {
        return s->n_faults;
}
