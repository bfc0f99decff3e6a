/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A program of another project that does the work: started, its progress read, and what it complained of kept. */

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

/* Runs qemu-img, whose -p says how far it is, to its end. progress is called from the same thread with a share of 1, and may be NULL. */
int tool_run_qemu_img(const char *const argv[], void (*progress)(double share, void *userdata), void *userdata,
        char complaint[static TOOL_COMPLAINT_MAX]);
/* The share of the last "(12.34/100%)" in text, or -1. */
double tool_parse_progress(const char *text);

/* Which package has a program, in words for a user. */
const char *tool_package(const char *program);
