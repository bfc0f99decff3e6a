/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What systemd is doing with a unit: the type of its job. */

#include "units.h"

struct units_job;

/* type: "start", "stop", "restart" ... as systemd names it; "" for no job, or when it could not be told. The call may be freed from here, and is to be. */
typedef void (*units_job_type_t)(const char *type, void *userdata);

/* told() comes once, from the loop, and never after units_job_free(). Returns 0 or a negative errno. */
int units_job_ask(
        struct units *units, const char *unit, units_job_type_t told, void *userdata, struct units_job **ret);
struct units_job *units_job_free(struct units_job *job);
