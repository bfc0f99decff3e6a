/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* From now on the process has usec microseconds for its end. After that it ends at once, with the status of FAILURE_IO and a line in the log, whatever still waits for the store. Returns 0 or a negative errno; then there is no
 * limit but the unit's. */
int stop_limit_begin(uint64_t usec);
