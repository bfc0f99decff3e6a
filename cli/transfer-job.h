/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "cli.h"

/* Watches an import or export until its end: a bar on a terminal, JSON lines otherwise, on standard output (lines_to_stderr: on standard error, for the content goes to standard output). Ctrl-C cancels it. action is as for report_bus(): "import
 * \"vm1\"". Returns 0 when it is done, an exit code after having told the user, or a negative errno. */
int transfer_job_watch(const struct cli *cli, sd_bus *bus, const char *path, bool lines_to_stderr, const char *action,
        const char *hint);
