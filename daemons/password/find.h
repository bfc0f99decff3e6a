/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The password of an image, looked for where systemd looks for credentials: its own as it stands, its own encrypted, the one for all as it stands, the one for all encrypted. The first that is there counts, also when
 * it is broken: another one would be somebody else's. */

#include "password-line.h"

/* Returns 1 with the password in text, *ret_n bytes of it (0: its line is empty); 0 when there is none; or a negative errno with *ret_message a sentence on what is wrong with which file, NULL when memory is out. text is the
 * caller's to wipe in any case. root: in front of each path, "" but for tests. image: a valid local name. */
int password_find(
        const char *root, const char *image, char text[static PASSWORD_LINE_MAX], size_t *ret_n, char **ret_message);
