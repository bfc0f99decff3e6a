/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* systemd's file descriptor store, which keeps descriptors over a restart of the unit and drops them when it is stopped: what a worker leaves there for the next one, and what it finds. Main thread; blocks until systemd
 * has taken notice, a second at most. */

#include "succession.h"

/* Leaves everything there is to leave. Returns 0 or a negative errno; then some of it may be there, which the successor does not take for a whole. */
int fd_store_leave(const struct succession *succession);

/* What was passed to the process by systemd: *ret_listen_fd the socket unit's, or -EBADF; *ret_succession what a predecessor has left, or NULL; *ret_found whether there was anything of it at all. Returns 0, or what
 * was wrong with it. To be called once, first. It stays in the store. */
int fd_store_receive(int *ret_listen_fd, struct succession **ret_succession, bool *ret_found);

/* Takes out of the store all that can be there. From here on nobody else holds these descriptors, so that a hang-up is one. */
int fd_store_clear(void);
