/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "cli.h"

/* What follows a call like CreateSnapshot, whose reply is the id of a job of the store, or "" when it is done already. Unless told not to, waits for the job, showing how far it is: a bar on a terminal, a JSON object a line with --json. Ctrl-C cancels the job, and waits for that. action
 * is what is being done, for messages: "clone \"vm1@s\""; cancelled: as in struct job_watch_how. Returns 0 or an exit code after having told the user, or a negative errno. */
int store_job_conclude(const struct cli *cli, sd_bus *bus, sd_bus_message *reply, const char *action, bool wait,
        const char *cancelled);
