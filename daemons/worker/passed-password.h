/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What blockstore-password has left for this worker in systemd's file descriptor store: the password, or why there is none to be had. */

#include <stdbool.h>
#include <stddef.h>

#include "password-line.h"

struct passed_password {
        bool there;   /* anything was left */
        bool refused; /* the line is a sentence for the user, and no password */
        size_t n;     /* of line, which has a terminator beyond */
        char line[PASSWORD_LINE_MAX + 1];
};

/* Takes it, and has systemd forget it. To be called once, before fd_store_receive(), which closes what it does not know. Returns 0, also when there is nothing, or a negative errno. */
int passed_password_take(struct passed_password *ret);
void passed_password_wipe(struct passed_password *passed);
