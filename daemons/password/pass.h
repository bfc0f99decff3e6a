/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Leaves one line in systemd's file descriptor store for the program of the unit that is about to start, and waits until systemd has it, 5 s at most. fd_name: PASSWORD_PASSED or PASSWORD_REFUSED. text: n bytes, without
 * the newline, PASSWORD_LINE_MAX - 1 at most; NULL: nothing. What an earlier one has left, and nobody has read, is taken out in any case. Returns 0, -EUNATCH when systemd has not started us, or a negative errno. */
int pass_line(const char *fd_name, const char *text, size_t n);
