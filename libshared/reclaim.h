/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process does at its start that the kernel may need in order to get memory back: a worker under a mounted file system, a proxy on the same machine. */

/* Marks the process and all threads it will make as such (PR_SET_IO_FLUSHER: its own allocations do not wait for I/O that waits for it), keeps what it touches in memory
 * where RLIMIT_MEMLOCK is unlimited, and gives up every capability that this took: to be called before any thread is made and before the first connection. Returns 0, or a
 * negative errno when the mark could not be set (-EPERM without CAP_SYS_RESOURCE): no reason not to go on, but one to say so. The capabilities are gone either way. */
int reclaim_prepare(void);
