/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between exchange.c and server.c. */

#include "server.h"

/* Makes the library look at a connection that sleeps. */
void server_wake(struct exchange *exchange);
/* Ends the connection, whatever is under way on it. */
void server_hang_up(struct exchange *exchange);
