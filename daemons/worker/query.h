/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Store operations without an attached image: answers org.blockstore.Store to the supervisor on a socket that systemd hands over, and exits when idle. */

/* Returns the exit status: 0, or a value of enum failure. */
int query_run(const char *instance);
