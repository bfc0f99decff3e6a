/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* qemu-img and nbdcopy, as programs: run to their end, with their progress, and who has them. */

#include "tool.h"

/* Runs qemu-img, whose -p says how far it is, to its end. progress is called from the same thread with a share of 1, and may be NULL. */
int qemu_img_run(const char *const argv[], void (*progress)(double share, void *userdata), void *userdata,
        char complaint[static TOOL_COMPLAINT_MAX]);
/* The share of the last "(12.34/100%)" in text, or -1. */
double qemu_img_parse_progress(const char *text);

/* Which package has a program, in words for a user. */
const char *tool_package(const char *program);
