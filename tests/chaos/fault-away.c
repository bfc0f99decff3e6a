/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* No proxy can be had for a while: I/O waits, or fails when it has waited for longer than the worker's io-timeout. */

#include <inttypes.h>
#include <signal.h>

#include "fault.h"

#define FAIL_PATIENCE (10 * SEC)

/* s->parameter: how the proxies go. */
enum {
        AWAY_STOPPED, /* SIGTERM */
        AWAY_KILLED,
        AWAY_FROZEN, /* what they have in hand, or has reached them, comes later */
        AWAY_SILENT, /* the same, of what is still on its way */
        _AWAY_MAX,
};

static void go_away(struct schedule *s) {
        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                switch (s->parameter) {
                case AWAY_STOPPED:
                        rig_stop_proxy(s->rig, i);
                        break;
                case AWAY_KILLED:
                        rig_kill_proxy(s->rig, i);
                        break;
                case AWAY_FROZEN:
                        (void) child_signal(&s->rig->proxies[i].child, SIGSTOP);
                        break;
                case AWAY_SILENT:
                default:
                        relay_set_silent(s->rig->proxies[i].relay, true);
                        break;
                }
}

static bool are_away(struct schedule *s) {
        for (unsigned i = 0; i < s->rig->options.n_proxies && s->parameter <= AWAY_KILLED; i++)
                if (s->rig->proxies[i].child.pid != 0)
                        return false;
        return true;
}

static void come_back(struct schedule *s) {
        bool with_all = dice_percent(&s->dice, 50);

        for (unsigned i = 0; i < s->rig->options.n_proxies; i++)
                switch (s->parameter) {
                case AWAY_FROZEN:
                        (void) child_signal(&s->rig->proxies[i].child, SIGCONT);
                        break;
                case AWAY_SILENT:
                        if (!with_all)
                                (void) relay_cut(s->rig->proxies[i].relay);
                        relay_set_silent(s->rig->proxies[i].relay, false);
                        break;
                default:
                        fault_start_proxy(s, i);
                        break;
                }
}

bool fault_no_proxy(struct schedule *s) {
        switch (s->step) {
        case 0:
                s->parameter = dice_below(&s->dice, 2) ? AWAY_KILLED : AWAY_STOPPED;
                go_away(s);
                return fault_go_on(s, dice_between(&s->dice, 200 * MSEC, 2500 * MSEC));
        case 1:
                if (!are_away(s))
                        return fault_wait_more(s, "all proxies were gone");
                return fault_go_on(s, 0);
        default:
                come_back(s);
                return true;
        }
}

/* Each way of going in turn: a run of four has them all. What waits must fail, and what comes then at once, until they are back. */
bool fault_io_timeout(struct schedule *s) {
        uint64_t timeout = s->options.io_timeout_usec;

        switch (s->step) {
        case 0:
                s->parameter = (s->options.seed + s->n_faults) % _AWAY_MAX;
                workload_expect_errors(s->workload, timeout);
                go_away(s);
                return fault_go_on(s, timeout);
        case 1:
                /* A worker needs the dead time to see that nobody is there. */
                if (!workload_has_failed(s->workload) &&
                        now_usec() - s->step_began_usec < timeout + s->options.dead_time_usec + FAIL_PATIENCE)
                        return fault_wait_more(s, "requests had failed");
                if (!workload_has_failed(s->workload))
                        statistics_error(s->statistics,
                                "ERROR: all proxies are away for longer than %" PRIu64
                                " ms, but not all requests have failed",
                                timeout / MSEC);
                return fault_go_on(s, dice_below(&s->dice, 150 * MSEC));
        case 2:
                if (!are_away(s))
                        return fault_wait_more(s, "all proxies were gone");
                workload_end_errors(s->workload);
                come_back(s);
                return true;
        default:
                return true;
        }
}
