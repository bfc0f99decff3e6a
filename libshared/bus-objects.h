/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

/* The supervisor's objects with their properties, as GetManagedObjects and InterfacesAdded list them. */

/* Called for each interface org.blockstore.* of an object. path and properties (see bus-json.h) are the reader's: whoever wants to keep them copies the one and takes a reference to the other. A negative errno ends the reading. */
typedef int (*bus_objects_each)(
        const char *path, const char *interface, struct json_object *properties, void *userdata);

/* Reads a{sa{sv}}: what one object has. Returns 0 or a negative errno. */
int bus_objects_read_one(sd_bus_message *m, const char *path, bus_objects_each each, void *userdata);

/* Reads a{oa{sa{sv}}}: the answer to GetManagedObjects. Returns 0 or a negative errno. */
int bus_objects_read(sd_bus_message *m, bus_objects_each each, void *userdata);
