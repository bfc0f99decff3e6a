/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A program of another project that does the work: started, waited for, and what it complained of kept. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cleanup.h"

#define TOOL_COMPLAINT_MAX 512U

struct tool {
        pid_t pid;
        int errors; /* a memfd, its standard error */
};

/* argv[0] is looked for in $PATH. in, out: its standard input and output, -EBADF for none; borrowed. The program dies with the calling thread. Returns 0, or a negative errno: -ENOENT when it is not installed. */
int tool_start(struct tool *tool, const char *const argv[], int in, int out);
/* Waits for its end. Returns 0 when it has succeeded, its exit status otherwise (128 + n for signal n), or a negative errno. complaint: the last line it said on standard error, "" for none. */
int tool_wait(struct tool *tool, char complaint[static TOOL_COMPLAINT_MAX]);
void tool_kill(struct tool *tool);
