/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See schedule.h. A fault is a function of steps: each is run when its time has come and what it waits for is so, and says when the next one is. After the last one the schedule waits
 * until all proxies and the worker run and requests are answered again; that ends the fault's stall. Then comes a pause, in which the workload goes undisturbed. */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "dice.h"
#include "schedule.h"

#define TICK          (2 * MSEC)
#define RECOVERED     64U /* answers after which all is well */
#define STUCK_USEC    (60 * SEC)
#define STEP_PATIENCE (60 * SEC)

enum phase {
        PHASE_PAUSE,
        PHASE_FAULT,
        PHASE_RECOVERY,
};

struct schedule {
        struct rig *rig;
        struct workload *workload;
        struct statistics *statistics;
        struct schedule_options options;
        struct dice dice;
        sd_event_source *timer;

        enum phase phase;
        unsigned kind, step, n_faults;
        uint64_t next_usec, began_usec, step_began_usec, n_done_before, first_done_usec;
        bool stopping, over;

        unsigned target; /* the proxy that the fault is for */
        uint64_t parameter;
        unsigned lies_left;
        pid_t control_pid;
};

/* Runs a step; true: the fault is over, false: again at s->next_usec, with s->step as it leaves it. */
typedef bool (*step_t)(struct schedule *s);

static void after(struct schedule *s, uint64_t usec) {
        s->next_usec = now_usec() + usec;
}

/* The next step, after so many µs. */
static bool go_on(struct schedule *s, uint64_t usec) {
        s->step++;
        s->step_began_usec = now_usec();
        after(s, usec);
        return false;
}

/* The same step again, until its patience is at an end. */
static bool wait_more(struct schedule *s, const char *what) {
        if (now_usec() - s->step_began_usec > STEP_PATIENCE) {
                statistics_error(s->statistics, "ERROR: %s: waited in vain until %s", fault_name(s->kind), what);
                return true;
        }
        after(s, TICK);
        return false;
}

static struct rig_proxy *target(struct schedule *s) {
        return s->rig->proxies + s->target;
}

static void start_proxy(struct schedule *s, unsigned proxy) {
        int r;

        if (s->rig->proxies[proxy].child.pid != 0)
                return;
        r = rig_start_proxy(s->rig, proxy);
        if (r < 0)
                statistics_error(s->statistics, "ERROR: cannot start proxy %u: %s", proxy, strerror(-r));
}

/* ------ the proxy ------ */

static bool kill_step(struct schedule *s) {
        switch (s->step) {
        case 0:
                rig_kill_proxy(s->rig, s->target);
                return go_on(s, dice_below(&s->dice, 1500 * MSEC));
        default:
                if (target(s)->child.pid != 0)
                        return wait_more(s, "a killed proxy was gone");
                start_proxy(s, s->target);
                return true;
        }
}

static bool freeze(struct schedule *s, uint64_t usec) {
        switch (s->step) {
        case 0:
                /* Whoever takes over may kill it, and that is right. */
                target(s)->wanted = false;
                (void) child_signal(&target(s)->child, SIGSTOP);
                return go_on(s, usec);
        case 1:
                if (child_signal(&target(s)->child, SIGCONT) >= 0)
                        return go_on(s, 20 * MSEC);
                start_proxy(s, s->target);
                return true;
        default:
                if (target(s)->child.pid != 0)
                        target(s)->wanted = true;
                start_proxy(s, s->target);
                return true;
        }
}

static bool freeze_step(struct schedule *s) {
        return freeze(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, 1500 * MSEC));
}

static bool short_freeze_step(struct schedule *s) {
        return freeze(s, dice_between(&s->dice, 5 * MSEC, s->options.dead_time_usec / 2));
}

static bool stop_step(struct schedule *s) {
        switch (s->step) {
        case 0:
                rig_stop_proxy(s->rig, s->target);
                return go_on(s, 0);
        case 1:
                if (target(s)->child.pid != 0)
                        return wait_more(s, "a proxy that was told to stop was gone");
                return go_on(s, dice_below(&s->dice, 800 * MSEC));
        default:
                start_proxy(s, s->target);
                return true;
        }
}

/* Every proxy in turn, so that the last one to go is one that was restarted while the others carried the load. */
static bool rolling_step(struct schedule *s) {
        unsigned proxy = s->step / 3 % s->rig->options.n_proxies;

        switch (s->step % 3) {
        case 0:
                if (s->step / 3 == s->rig->options.n_proxies)
                        return true;
                rig_stop_proxy(s->rig, proxy);
                return go_on(s, 0);
        case 1:
                if (s->rig->proxies[proxy].child.pid != 0)
                        return wait_more(s, "a proxy that was told to stop was gone");
                start_proxy(s, proxy);
                return go_on(s, 0);
        default:
                if (!s->rig->proxies[proxy].child.is_ready)
                        return wait_more(s, "a restarted proxy was ready");
                return go_on(s, dice_between(&s->dice, 100 * MSEC, 400 * MSEC));
        }
}

static bool no_proxy_step(struct schedule *s) {
        unsigned n = s->rig->options.n_proxies;

        switch (s->step) {
        case 0:
                s->parameter = dice_below(&s->dice, 2);
                for (unsigned i = 0; i < n; i++)
                        if (s->parameter)
                                rig_kill_proxy(s->rig, i);
                        else
                                rig_stop_proxy(s->rig, i);
                return go_on(s, dice_between(&s->dice, 200 * MSEC, 2500 * MSEC));
        case 1:
                for (unsigned i = 0; i < n; i++)
                        if (s->rig->proxies[i].child.pid != 0)
                                return wait_more(s, "all proxies were gone");
                return go_on(s, 0);
        default:
                for (unsigned i = 0; i < n; i++)
                        start_proxy(s, i);
                return true;
        }
}

/* ------ draining by request ------ */

static int ask_to_drain(void *userdata) {
        struct schedule *s = userdata;
        struct control control;
        int r;

        r = control_open(&control, target(s)->port, 201, RIG_USER, RIG_PASSWORD);
        if (r >= 0)
                r = control_drain(&control, s->parameter);
        return r == 0 ? 0 : r < 0 ? -r : 200;
}

static bool drain_step(struct schedule *s) {
        int status;

        switch (s->step) {
        case 0:
        case 2:
                s->parameter = s->step == 2;
                s->control_pid = control_fork(ask_to_drain, s);
                return go_on(s, TICK);
        case 1:
        default:
                if (s->control_pid > 0 && waitpid(s->control_pid, &status, WNOHANG) == 0)
                        return wait_more(s, "a proxy had answered DRAIN");
                if (s->control_pid < 0 || status != 0) {
                        statistics_error(s->statistics, "ERROR: DRAIN was refused: %s",
                                WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "no answer");
                        return true;
                }
                s->control_pid = 0;
                return s->step == 3 || go_on(s, dice_between(&s->dice, 300 * MSEC, 1200 * MSEC));
        }
}

/* ------ the network ------ */

static bool cut_one_step(struct schedule *s) {
        (void) relay_cut_one(target(s)->relay, dice_next(&s->dice));
        return true;
}

static bool cut_all_step(struct schedule *s) {
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                (void) relay_cut(s->rig->proxies[i].relay);
        return true;
}

/* The network comes back: with all that was on its way, or without. */
static void end_silence(struct schedule *s) {
        if (dice_percent(&s->dice, 50))
                (void) relay_cut(target(s)->relay);
        relay_set_silent(target(s)->relay, false);
}

static bool black_hole_step(struct schedule *s) {
        if (s->step == 0) {
                relay_set_silent(target(s)->relay, true);
                return go_on(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, 1500 * MSEC));
        }
        end_silence(s);
        return true;
}

static bool slow_step(struct schedule *s) {
        if (s->step == 0) {
                relay_set_delay(target(s)->relay, dice_between(&s->dice, 5 * MSEC, 150 * MSEC));
                return go_on(s, dice_between(&s->dice, 300 * MSEC, 1500 * MSEC));
        }
        relay_set_delay(target(s)->relay, 0);
        return true;
}

static enum relay_verdict half_of_one(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;

        if (s->lies_left == 0 || direction != (enum relay_direction) s->parameter || !relay_packet_is_io(packet))
                return RELAY_PASS;
        s->lies_left--;
        return RELAY_HALF;
}

static bool half_packet_step(struct schedule *s) {
        switch (s->step) {
        case 0:
                s->parameter = dice_below(&s->dice, 2);
                s->lies_left = 1;
                relay_set_filter(target(s)->relay, half_of_one, s);
                return go_on(s, TICK);
        case 1:
                if (s->lies_left > 0)
                        return wait_more(s, "a packet had passed");
                relay_set_filter(target(s)->relay, NULL, NULL);
                return go_on(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, SEC));
        default:
                end_silence(s);
                return true;
        }
}

/* ------ lies ------ */

static enum relay_verdict lie_about_status(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;

        if (s->lies_left == 0 || direction != TO_WORKER || !relay_packet_is_io(packet) ||
                packet->header.status != IVBS_STATUS_OK)
                return RELAY_PASS;
        s->lies_left--;
        packet->header.status = (uint32_t) s->parameter;
        packet->header.length = 0;
        packet->size = IVBS_HEADER_SIZE;
        return RELAY_PASS;
}

static bool lie_until_told(struct schedule *s, relay_filter_t filter) {
        if (s->step == 0) {
                relay_set_filter(target(s)->relay, filter, s);
                return go_on(s, TICK);
        }
        if (s->lies_left > 0)
                return wait_more(s, "all lies were told");
        relay_set_filter(target(s)->relay, NULL, NULL);
        return true;
}

/* "It was not executed", though it was. */
static bool lie_status_step(struct schedule *s) {
        static const enum ivbs_status lies[] = { IVBS_STATUS_TEMPORARY_ERROR, IVBS_STATUS_USE_ANOTHER_PROXY,
                IVBS_STATUS_NOT_READY };

        if (s->step == 0) {
                s->parameter = lies[dice_below(&s->dice, ELEMENTSOF(lies))];
                s->lies_left = (unsigned) dice_between(&s->dice, 1, 8);
        }
        return lie_until_told(s, lie_about_status);
}

/* "It has failed for good": that is told to whoever asked. */
static bool lie_error_step(struct schedule *s) {
        if (s->step == 0) {
                s->parameter = IVBS_STATUS_PERMANENT_ERROR;
                s->lies_left = (unsigned) dice_between(&s->dice, 1, 3);
                workload_excuse(s->workload, s->lies_left);
        }
        return lie_until_told(s, lie_about_status);
}

enum { LIE_SEQUENCE, LIE_TWICE, LIE_OP, _LIE_MAX };

static enum relay_verdict lie_about_header(
        void *userdata, struct relay_link *link, enum relay_direction direction, struct relay_packet *packet) {
        struct schedule *s = userdata;
        struct relay_packet *again;

        if (s->lies_left == 0 || direction != TO_WORKER || !relay_packet_is_io(packet))
                return RELAY_PASS;
        s->lies_left--;
        switch (s->parameter) {
        case LIE_TWICE:
                again = relay_packet_copy(packet);
                relay_send(link, direction, packet);
                if (again)
                        relay_send(link, direction, again);
                return RELAY_KEEP;
        case LIE_OP:
                packet->header.op = packet->header.op == IVBS_OP_READ ? IVBS_OP_WRITE : IVBS_OP_READ;
                return RELAY_PASS;
        case LIE_SEQUENCE:
        default:
                packet->header.sequence ^= 0x55000000;
                return RELAY_PASS;
        }
}

static bool lie_header_step(struct schedule *s) {
        if (s->step == 0) {
                s->parameter = dice_below(&s->dice, _LIE_MAX);
                s->lies_left = 1;
        }
        return lie_until_told(s, lie_about_header);
}

/* ------ the worker ------ */

static bool worker_kill_step(struct schedule *s) {
        int r;

        switch (s->step) {
        case 0:
                workload_worker_goes(s->workload, true);
                rig_kill_worker(s->rig);
                return go_on(s, dice_below(&s->dice, 600 * MSEC));
        case 1:
                if (s->rig->worker.pid != 0)
                        return wait_more(s, "a killed worker was gone");
                r = rig_start_worker(s->rig);
                if (r < 0)
                        statistics_error(s->statistics, "ERROR: cannot start the worker: %s", strerror(-r));
                s->rig->worker_restarts++;
                return go_on(s, 0);
        default:
                if (!workload_is_connected(s->workload))
                        return wait_more(s, "the worker was back");
                workload_worker_goes(s->workload, false);
                return true;
        }
}

/* ------ the table ------ */

static const struct fault {
        const char *name, *text;
        step_t step;
        unsigned weight;
        uint64_t limit_usec;     /* longest stall that is promised; 0: none */
        bool dead_time_is_added; /* ... to it */
        bool volatile_store;     /* only with it */
} faults[] = {
        { "none", "nothing: the time between two faults", NULL, 0, 0, false, false },
        { "kill", "kill -9 of the active proxy, which is started again some time later", kill_step, 20, 250 * MSEC,
                false, false },
        { "freeze", "the active proxy is stopped for longer than the dead time, then goes on", freeze_step, 8,
                400 * MSEC, true, false },
        { "short-freeze", "... for less than half the dead time", short_freeze_step, 6, 0, false, false },
        { "stop", "SIGTERM to the active proxy, which is started again", stop_step, 10, 20 * MSEC, false, false },
        { "drain", "DRAIN to the active proxy, and its undoing", drain_step, 10, 20 * MSEC, false, false },
        { "rolling", "all proxies are restarted one after the other", rolling_step, 5, 20 * MSEC, false, false },
        { "no-proxy", "all proxies end at once, and are away for a while", no_proxy_step, 4, 0, false, false },
        { "cut-one", "one connection to the active proxy is reset", cut_one_step, 8, 0, false, false },
        { "cut-all", "all connections to all proxies are reset", cut_all_step, 6, 0, false, false },
        { "black-hole", "nothing gets through to the active proxy; what was on its way may arrive later",
                black_hole_step, 6, 400 * MSEC, true, false },
        { "half-packet", "half a packet, then silence on that connection", half_packet_step, 6, 0, false, false },
        { "slow", "each packet to and from the active proxy is late", slow_step, 4, 0, false, false },
        { "lie-status", "requests that were executed are answered with \"not executed\"", lie_status_step, 5, 0, false,
                false },
        { "lie-error", "requests that were executed are answered with an error", lie_error_step, 3, 0, false, false },
        { "lie-header", "an answer with a wrong sequence number or op, or the same answer twice", lie_header_step, 5,
                0, false, false },
        { "worker", "kill -9 of the worker, which is started again", worker_kill_step, 6, 0, false, false },
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

static unsigned choose(struct schedule *s) {
        unsigned sum = 0, chosen;

        for (unsigned pass = 0;; pass++) {
                unsigned seen = 0;

                chosen = pass == 0 ? UINT32_MAX : (unsigned) dice_below(&s->dice, sum);
                for (unsigned i = 1; i < ELEMENTSOF(faults); i++) {
                        if ((s->options.only != 0 && !(s->options.only & UINT64_C(1) << i)) ||
                                (faults[i].volatile_store && !s->rig->options.volatile_store))
                                continue;
                        seen += faults[i].weight;
                        if (seen > chosen)
                                return i;
                }
                if (pass > 0 || seen == 0)
                        return 0;
                sum = seen;
        }
}

static void begin_fault(struct schedule *s) {
        int active = rig_active(s->rig);

        s->target = active < 0 ? 0 : (unsigned) active;
        s->kind = choose(s);
        if (s->kind == 0) {
                after(s, 100 * MSEC);
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
        if (faults[s->kind].step == worker_kill_step && s->first_done_usec > s->began_usec &&
                s->first_done_usec - s->began_usec > stall)
                stall = s->first_done_usec - s->began_usec;
        statistics_add_stall(s->statistics, s->kind, stall);
        if (s->options.verbose)
                statistics_say(
                        s->statistics, "%s is over, longest stall %.1f ms", fault_name(s->kind), (double) stall / 1e3);
        s->n_faults++;
        workload_excuse(s->workload, 0);
        workload_watch_stall(s->workload);
        s->phase = PHASE_PAUSE;
        after(s, dice_between(&s->dice, 100 * MSEC, 700 * MSEC));
}

static void give_up(struct schedule *s, const char *what) {
        statistics_error(s->statistics, "ERROR: %s: %s for a minute; this run ends here", fault_name(s->kind), what);
        s->over = true;
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct schedule *s = userdata;
        uint64_t n_done = workload_n_done(s->workload);

        (void) sd_event_source_set_time(source, now_usec() + TICK);
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
        after(s, 300 * MSEC);
        workload_watch_stall(workload);
        r = sd_event_add_time(rig->event, &s->timer, CLOCK_MONOTONIC, now_usec() + TICK, 1, on_tick, s);
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
