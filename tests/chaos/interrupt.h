/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* SIGTERM, SIGINT and SIGHUP end a run early, but not without its clearing up: whatever waits in rig_wait() is told -EINTR, and everything is freed as at any other end. */

#include <stdbool.h>

void interrupt_catch(void);
bool interrupt_seen(void);
/* Ends the process by the signal that was seen, so that whoever has started it knows. Returns when none was. */
void interrupt_finish(void);
