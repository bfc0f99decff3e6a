/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A process is killed or stopped at a named point. It has to be started with the point armed, so it is restarted first: a proxy that is not the active one, or the worker. Then the
 * place is led to: the worker loses its connections and lands on that proxy; if that was not enough, the proxy falls silent and another one asks it for the image. */

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

#define FIRST_CHANCE  (800 * MSEC)
#define SECOND_CHANCE (5 * SEC)

static bool is(const struct schedule *s, const char *name) {
        return strcmp(s->point->name, name) == 0;
}

static struct child *victim(struct schedule *s) {
        return s->point->in_worker ? &s->rig->worker : &fault_target(s)->child;
}

static bool is_hit(struct schedule *s) {
        return s->point->stop ? victim(s)->pid == 0 || child_has_stopped(victim(s)) : victim(s)->pid == 0;
}

static unsigned passing(struct schedule *s) {
        if (is(s, "write-received") || is(s, "write-done") || is(s, "change-answered"))
                return (unsigned) dice_between(&s->dice, 1, 30);
        if (is(s, "flush-synced") || is(s, "flush-answered"))
                return (unsigned) dice_between(&s->dice, 1, 3);
        return 1;
}

static void start_victim(struct schedule *s, const char *point) {
        int r;

        if (s->point->in_worker) {
                workload_drop_connections(s->workload);
                rig_set_worker_point(s->rig, point);
                r = rig_start_worker(s->rig);
                s->rig->worker_wanted = false;
                rig_set_worker_point(s->rig, NULL);
        } else {
                rig_set_proxy_point(s->rig, s->target, point);
                r = rig_start_proxy(s->rig, s->target);
                fault_target(s)->wanted = false;
                rig_set_proxy_point(s->rig, s->target, NULL);
        }
        if (r < 0)
                statistics_error(s->statistics, "ERROR: cannot start what is to be stopped at %s: %s", s->point->name,
                        strerror(-r));
}

static void set_others_reachable(struct schedule *s, bool reachable) {
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                if (i != s->target)
                        relay_set_backend(s->rig->proxies[i].relay, reachable ? s->rig->proxies[i].port : 0);
}

static void cut_all(struct schedule *s) {
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                (void) relay_cut(s->rig->proxies[i].relay);
}

static void lead_there(struct schedule *s) {
        if (s->point->in_worker && s->point->volatile_store)
                rig_kill_proxy(s->rig, (unsigned) rig_active(s->rig));
        else if (s->point->in_worker)
                cut_all(s);
        else {
                set_others_reachable(s, false);
                cut_all(s);
        }
        if (strncmp(s->point->name, "lease-", 6) == 0) {
                /* Only a new attachment takes the lease. */
                workload_excuse(s->workload, 64);
                rig_stop_worker(s->rig);
        }
}

enum {
        STEP_BEGIN,
        STEP_START,
        STEP_LEAD,
        STEP_LEASE,
        STEP_FIRST_CHANCE,
        STEP_SECOND_CHANCE,
        STEP_HIT,
        STEP_END,
        STEP_BACK
};

static bool to(struct schedule *s, unsigned step, uint64_t usec) {
        s->step = step - 1;
        return fault_go_on(s, usec);
}

static bool begin(struct schedule *s) {
        s->parameter = 0;
        s->point = points_next(s->options.points);
        if (!s->point)
                return true;
        s->point->tried = ++s->point->n_tries >= POINT_TRIES;
        if (s->options.verbose)
                statistics_say(s->statistics, "  %s at %s", s->point->stop ? "stopped" : "killed", s->point->name);
        workload_worker_goes(s->workload, true);
        workload_set_calm(s->workload, is(s, "flush-covered-all"));
        if (s->point->in_worker && s->point->volatile_store) {
                /* Each proxy is a machine of its own there: a worker that was killed and finds another one must fail. This one shuts down in good order. */
                workload_excuse(s->workload, 64);
                rig_stop_worker(s->rig);
        } else if (s->point->in_worker)
                rig_kill_worker(s->rig);
        else {
                s->target = (s->target + 1) % s->rig->options.n_proxies;
                rig_kill_proxy(s->rig, s->target);
        }
        return fault_go_on(s, 0);
}

static bool started(struct schedule *s) {
        char armed[96];

        if (victim(s)->pid != 0)
                return fault_wait_more(s, "a killed process was gone");
        (void) snprintf(
                armed, sizeof(armed), "%s:%u=%s", s->point->name, passing(s), s->point->stop ? "stop" : "kill");
        start_victim(s, armed);
        return fault_go_on(s, 0);
}

static bool led(struct schedule *s) {
        if (!victim(s)->is_ready && !is_hit(s))
                return fault_wait_more(s, "a process that is to be hit was ready");
        if (is_hit(s))
                return to(s, STEP_HIT, 0);
        /* So much of the workload, undisturbed. */
        if (now_usec() - s->step_began_usec < 100 * MSEC)
                return fault_wait_more(s, "some time had passed");
        lead_there(s);
        return fault_go_on(s, 0);
}

static bool leased(struct schedule *s) {
        if (strncmp(s->point->name, "lease-", 6) == 0) {
                if (s->rig->worker.pid != 0)
                        return fault_wait_more(s, "the worker had stopped");
                workload_drop_connections(s->workload);
                (void) rig_start_worker(s->rig);
        }
        return fault_go_on(s, 0);
}

static bool first_chance(struct schedule *s) {
        if (is_hit(s))
                return to(s, STEP_HIT, 0);
        if (is(s, "epoch-raised") && s->parameter == 0 && rig_active(s->rig) == (int) s->target) {
                s->parameter = 1;
                (void) rig_store_file(s->rig, "fail-flush", "1\n");
        }
        /* On the way to a hand-over it is enough that the proxy has got the image. */
        if (now_usec() - s->step_began_usec < FIRST_CHANCE &&
                !(strncmp(s->point->name, "hand-over-", 10) == 0 && rig_active(s->rig) == (int) s->target))
                return fault_wait_more(s, "a point was reached");
        /* What is in the way of a hand-over: the proxy has the image, and others are asked for it. */
        if (!s->point->in_worker) {
                set_others_reachable(s, true);
                relay_set_silent(fault_target(s)->relay, true);
        } else
                cut_all(s);
        return fault_go_on(s, 0);
}

static bool second_chance(struct schedule *s) {
        if (is_hit(s))
                return to(s, STEP_HIT, 0);
        if (now_usec() - s->step_began_usec < SECOND_CHANCE)
                return fault_wait_more(s, "a point was reached");
        return to(s, STEP_END, 0);
}

static bool hit(struct schedule *s) {
        s->point->reached = s->point->tried = true;
        if (!s->point->in_worker)
                set_others_reachable(s, true);
        return to(s, STEP_END,
                s->point->stop ? dice_between(&s->dice, 20 * MSEC, s->options.dead_time_usec + 400 * MSEC)
                               : dice_below(&s->dice, 300 * MSEC));
}

/* Goes on, or is started again, as it would be without any point. */
static bool end(struct schedule *s) {
        if (s->point->reached && s->point->stop && victim(s)->pid != 0)
                (void) child_signal(victim(s), SIGCONT);
        else if (!s->point->reached && victim(s)->pid != 0) {
                if (s->point->in_worker)
                        rig_kill_worker(s->rig);
                else
                        rig_kill_proxy(s->rig, s->target);
        }
        if (!s->point->in_worker) {
                set_others_reachable(s, true);
                relay_set_silent(fault_target(s)->relay, false);
        }
        return fault_go_on(s, 30 * MSEC);
}

static bool back(struct schedule *s) {
        bool alive = s->point->reached && s->point->stop && victim(s)->pid != 0;

        if (!alive && victim(s)->pid != 0)
                return fault_wait_more(s, "a killed process was gone");
        if (!alive)
                start_victim(s, NULL);
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++) {
                fault_start_proxy(s, i);
                s->rig->proxies[i].wanted = true;
        }
        s->rig->worker_wanted = true;
        return fault_go_on(s, 0);
}

bool fault_at_point(struct schedule *s) {
        switch (s->step) {
        case STEP_BEGIN:
                return begin(s);
        case STEP_START:
                return started(s);
        case STEP_LEAD:
                return led(s);
        case STEP_LEASE:
                return leased(s);
        case STEP_FIRST_CHANCE:
                return first_chance(s);
        case STEP_SECOND_CHANCE:
                return second_chance(s);
        case STEP_HIT:
                return hit(s);
        case STEP_END:
                return end(s);
        case STEP_BACK:
                return back(s);
        default:
                if (!workload_is_connected(s->workload))
                        return fault_wait_more(s, "the worker was back");
                workload_worker_goes(s->workload, false);
                workload_excuse(s->workload, 0);
                workload_set_calm(s->workload, false);
                return true;
        }
}
