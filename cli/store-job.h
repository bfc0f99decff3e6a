/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "cli.h"

/* Waits for a job of the store (an id as CreateSnapshot and its like return it; "": it is done already), showing how far it is: a bar on a terminal, a JSON object a line with --json. Ctrl-C cancels the job, and waits for that. action
 * is what is being done, for messages: "clone \"vm1@s\""; cancelled: as in struct job_watch_how. Returns 0 or an exit code after having told the user, or a negative errno. */
int store_job_wait(const struct cli *cli, sd_bus *bus, const char *job, const char *action, const char *cancelled);
