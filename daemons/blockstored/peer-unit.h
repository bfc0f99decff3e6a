/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who is at the other end of a Unix socket: the process, and the image whose unit it runs in. */

#include <sys/types.h>

/* "image@NAME.service" to NAME. Returns 0, -EINVAL for any other unit, -ENOMEM. */
int peer_unit_parse(const char *unit, char **ret_name);

/* Returns 0; -EACCES when the peer is not in an image's unit, or is gone; or another negative errno. */
int peer_unit_identify(int fd, char **ret_name, pid_t *ret_pid, uid_t *ret_uid);
