/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "cli.h"

/* What GetImageCare says of an image, as an object. What *ret has been is given back. Returns 0 or an exit code after having told the user, or a negative errno. */
int care_load(sd_bus *bus, const char *name, struct json_object **ret);
/* The same for what is shown besides: nothing is told, and the store is not waited for any longer than that. Returns 0 or a negative errno: -ENOENT. */
int care_look(sd_bus *bus, const char *name, uint64_t timeout_usec, struct json_object **ret);
/* "500 requests and 50M a second, with bursts of 2s"; returns false, and prints nothing, where there are no limits. */
bool care_print_limits(uint64_t iops, uint64_t bandwidth, uint64_t burst_usec);
/* "never", "running, 45%", "done 2026-11-21", "3 damaged blocks"; "" without checksums. */
#define CARE_SCRUB_MAX 64U
const char *care_scrub(char ret[static CARE_SCRUB_MAX], struct json_object *care);
