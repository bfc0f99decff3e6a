/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "options.h"

/* A whole run: rig, workload, faults, the pass over the image, the report. Returns the exit status: 0 when nothing was wrong, 1 when something was, 2 when it could not be
 * run. */
int run_chaos(const struct options *options);
