/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Faults of the worker. */

#include <string.h>

#include "fault.h"

bool fault_worker_kill(struct schedule *s) {
        int r;

        switch (s->step) {
        case 0:
                workload_worker_goes(s->workload, true);
                rig_kill_worker(s->rig);
                return fault_go_on(s, dice_below(&s->dice, 600 * MSEC));
        case 1:
                if (s->rig->worker.pid != 0)
                        return fault_wait_more(s, "a killed worker was gone");
                workload_drop_connections(s->workload);
                r = rig_start_worker(s->rig);
                if (r < 0)
                        statistics_error(s->statistics, "ERROR: cannot start the worker: %s", strerror(-r));
                s->rig->worker_restarts++;
                return fault_go_on(s, 0);
        default:
                if (!workload_is_connected(s->workload))
                        return fault_wait_more(s, "the worker was back");
                workload_worker_goes(s->workload, false);
                return true;
        }
}
