/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "cli.h"

/* What GetImageCare says of an image, as an object. What *ret has been is given back. Returns 0 or an exit code after having told the user, or a negative errno. */
int care_load(sd_bus *bus, const char *name, struct json_object **ret);
