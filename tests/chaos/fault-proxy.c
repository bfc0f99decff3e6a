/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Faults of a proxy, its machine and its disk: ended, frozen, drained, restarted, without power. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "fault.h"

bool fault_kill(struct schedule *s) {
        switch (s->step) {
        case 0:
                rig_kill_proxy(s->rig, s->target);
                return fault_go_on(s, dice_below(&s->dice, 1500 * MSEC));
        default:
                if (fault_target(s)->child.pid != 0)
                        return fault_wait_more(s, "a killed proxy was gone");
                fault_start_proxy(s, s->target);
                return true;
        }
}

static bool freeze(struct schedule *s, uint64_t usec) {
        switch (s->step) {
        case 0:
                /* Whoever takes over may kill it, and that is right. */
                fault_target(s)->wanted = false;
                (void) child_signal(&fault_target(s)->child, SIGSTOP);
                return fault_go_on(s, usec);
        case 1:
                if (child_signal(&fault_target(s)->child, SIGCONT) >= 0)
                        return fault_go_on(s, 20 * MSEC);
                fault_start_proxy(s, s->target);
                return true;
        default:
                if (fault_target(s)->child.pid != 0)
                        fault_target(s)->wanted = true;
                fault_start_proxy(s, s->target);
                return true;
        }
}

bool fault_freeze(struct schedule *s) {
        return freeze(s, s->options.dead_time_usec + 200 * MSEC + dice_below(&s->dice, 1500 * MSEC));
}

bool fault_short_freeze(struct schedule *s) {
        return freeze(s, dice_between(&s->dice, 5 * MSEC, s->options.dead_time_usec / 2));
}

bool fault_stop(struct schedule *s) {
        switch (s->step) {
        case 0:
                rig_stop_proxy(s->rig, s->target);
                return fault_go_on(s, 0);
        case 1:
                if (fault_target(s)->child.pid != 0)
                        return fault_wait_more(s, "a proxy that was told to stop was gone");
                return fault_go_on(s, dice_below(&s->dice, 800 * MSEC));
        default:
                fault_start_proxy(s, s->target);
                return true;
        }
}

/* Every proxy in turn, so that the last one to go is one that was restarted while the others carried the load. */
bool fault_rolling(struct schedule *s) {
        unsigned proxy = s->step / 3 % s->rig->options.n_proxies;

        switch (s->step % 3) {
        case 0:
                if (s->step / 3 == s->rig->options.n_proxies)
                        return true;
                rig_stop_proxy(s->rig, proxy);
                return fault_go_on(s, 0);
        case 1:
                if (s->rig->proxies[proxy].child.pid != 0)
                        return fault_wait_more(s, "a proxy that was told to stop was gone");
                fault_start_proxy(s, proxy);
                return fault_go_on(s, 0);
        default:
                if (!s->rig->proxies[proxy].child.is_ready)
                        return fault_wait_more(s, "a restarted proxy was ready");
                return fault_go_on(s, dice_between(&s->dice, 100 * MSEC, 400 * MSEC));
        }
}

/* ------ draining by request ------ */

static int ask_to_drain(void *userdata) {
        struct schedule *s = userdata;
        struct control control;
        int r;

        r = control_open(&control, fault_target(s)->port, 201, RIG_USER, RIG_PASSWORD);
        if (r >= 0)
                r = control_drain(&control, s->parameter);
        return r == 0 ? 0 : r < 0 ? -r : 200;
}

bool fault_drain(struct schedule *s) {
        int status = 0;

        switch (s->step) {
        case 0:
        case 2:
                s->parameter = s->step == 2;
                s->control_pid = control_fork(ask_to_drain, s);
                return fault_go_on(s, FAULT_TICK);
        case 1:
        default:
                if (s->control_pid > 0 && waitpid(s->control_pid, &status, WNOHANG) == 0)
                        return fault_wait_more(s, "a proxy had answered DRAIN");
                if (s->control_pid < 0 || status != 0) {
                        statistics_error(s->statistics, "ERROR: DRAIN was refused: %s",
                                WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "no answer");
                        return true;
                }
                s->control_pid = 0;
                return s->step == 3 || fault_go_on(s, dice_between(&s->dice, 300 * MSEC, 1200 * MSEC));
        }
}

/* ------ the disk ------ */

/* The file is there until the fault that it asks for has happened. */
static bool inject(struct schedule *s, const char *name) {
        if (s->step == 0) {
                rig_store_file(s->rig, name, "1\n");
                return fault_go_on(s, FAULT_TICK);
        }
        return rig_has_store_file(s->rig, name) ? fault_wait_more(s, "a sync had failed") : true;
}

bool fault_sync_error(struct schedule *s) {
        if (s->step == 0)
                s->parameter = dice_below(&s->dice, 2);
        return inject(s, s->parameter ? "fail-flush" : "fail-fua");
}

/* Whatever is to be changed stays in the disk's hand; sometimes the connections are lost meanwhile. */
bool fault_slow_disk(struct schedule *s) {
        switch (s->step) {
        case 0:
                rig_store_file(s->rig, "hold-writes", "0 1099511627776\n");
                return fault_go_on(s, dice_between(&s->dice, 20 * MSEC, 300 * MSEC));
        case 1:
                if (dice_percent(&s->dice, 60))
                        (void) relay_cut(fault_target(s)->relay);
                return fault_go_on(s, dice_between(&s->dice, 20 * MSEC, 300 * MSEC));
        default:
                rig_store_file(s->rig, "hold-writes", NULL);
                return true;
        }
}
