/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What systemd is told in passing: the status line, the watchdog's sign of life. sd_notify() waits when systemd is too busy to read, and the ring's thread, on which every client's I/O
 * depends, has no time for that: here such a message is dropped. READY=1 and the like must not be lost: they are sd_notify()'s. */

/* message: as sd_notify(3) has it. Returns 0, also without a notification socket, -EAGAIN when systemd does not read, or another negative errno. */
int notify_in_passing(const char *message);
