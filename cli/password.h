/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#define PASSWORD_MAX 1024U /* with the final 0 */
#define PASSWORD_GOOD_MIN \
        12U /* characters: who has heard a login can try passwords at his leisure. Shorter ones are taken, with a remark */

/* A password, never from the command line: on a terminal asked for twice without echo, else one line from stdin.
 * Returns 0; -EINTR (Ctrl-C), or an exit code after having told the user. The caller wipes the buffer with
 * explicit_bzero(), whatever was returned. */
int password_read(const char *user, char password[static PASSWORD_MAX]);
