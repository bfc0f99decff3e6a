/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <errno.h>
#include <stdbool.h>

#include <systemd/sd-bus.h>

#include "cli.h"

struct job_watch_how {
        const char *action;    /* as for report_bus(): "import \"vm1\"" */
        const char *hint;      /* what to say besides when it was not done; NULL: nothing */
        const char *cancelled; /* what to say when it was cancelled; NULL: that nothing of it is left */
        bool lines_to_stderr;  /* for the content goes to standard output */
        bool quiet;            /* no lines where nobody has asked for JSON */
};

enum {
        JOB_WATCH_LOST = -EOWNERDEAD, /* nobody knows of it: the supervisor has been restarted */
};

/* Watches an object with org.blockstore.Job until its end: a bar on a terminal, JSON lines otherwise, on standard output. Ctrl-C cancels it. Returns 0 when it is done, an exit code after having told the user, JOB_WATCH_LOST, or
 * another negative errno. */
int job_watch(const struct cli *cli, sd_bus *bus, const char *path, const struct job_watch_how *how);
/* Makes a call about the image name that is answered with the path of a job which ends with the supervisor, and watches that. Returns as job_watch(), and an exit code when it was lost. */
int job_watch_call(const struct cli *cli, sd_bus *bus, sd_bus_message *message, const char *name,
        const struct job_watch_how *how);
