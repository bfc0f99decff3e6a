/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "cli.h"

/* Images as blockstored shows them, each a JSON object of the properties of org.blockstore.Image (see bus-json.h). */

/* The object path of an image: exists whether or not the image does. The caller frees it. */
int image_path(const char *name, char **ret);
/* The other way; -EINVAL for a path that is no image's. */
int image_name(const char *path, char **ret);

/* All properties of one image. Fails with NoSuchImage in *error when this host knows none of that name. */
int image_load(sd_bus *bus, const char *name, sd_bus_error *error, struct json_object **ret);

/* All images that are attached or configured here, as an array sorted by name. */
int image_load_all(sd_bus *bus, sd_bus_error *error, struct json_object **ret);

/* All images in the store, as an array sorted by name: name, size, used, uuid, attached. */
int image_load_store(sd_bus *bus, sd_bus_error *error, struct json_object **ret);

/* Returns 0, or FAILURE_USAGE after having told the user that it cannot be a local name. */
int image_check_name(const char *name);

/* Where the image's data is found on this host: /dev/blockstore/NAME, or the NBD socket of one without a kernel
 * device. */
void image_location(struct json_object *image, char *buffer, size_t size);

/* Whether I/O on the device of an image in this state works, or at least waits instead of failing. */
bool image_state_is_usable(const char *state);
