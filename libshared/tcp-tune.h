/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* Prepares a connected TCP socket for a data path that gathers its messages itself: nothing waits for more to be sent.
 * Within one machine the connection is not paced, either. What a kernel refuses is left as it is: all of it is only about speed. Any other socket is left alone. */
void tcp_tune(int fd);

/* Whether both ends of a connected IPv4 or IPv6 socket are this machine's. false also when that cannot be found out. */
bool tcp_is_within_machine(int fd);
