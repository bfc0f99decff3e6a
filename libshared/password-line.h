/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A password as files and pipes carry it: the first line of what is there. */

#include <sys/types.h>

#define PASSWORD_LINE_MAX 1024U /* bytes, the newline among them if there is one */

/* Names of the descriptor by which blockstore-password gives a worker the password, or one sentence on why it cannot. A pipe: it is read once, is in no file, and is not swapped. */
#define PASSWORD_PASSED  "password"
#define PASSWORD_REFUSED "no-password"

/* Reads the first line. Returns its length without the newline, which may be 0, -EFBIG for one that is too long, or a negative errno. What was read is in ret in any case, for the caller to wipe. */
ssize_t password_line_read(int fd, char ret[static PASSWORD_LINE_MAX]);
