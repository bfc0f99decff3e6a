/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-c/json.h>
#include <systemd/sd-bus.h>

/* D-Bus values as JSON: dictionaries become objects, structures and arrays become arrays, a variant is what it holds.
 */

/* Reads the next complete value of the message. Returns 0, -ENXIO when there is none, or another negative errno. */
int bus_json_read(sd_bus_message *m, struct json_object **ret);

/* Reads a{sv}. Members are named in the manner of JSON ("ReadOnly" is read_only), and known lists get names for their
 * fields. */
int bus_json_read_properties(sd_bus_message *m, struct json_object **ret);

/* Reads an array of structures as an array of objects, whose members are named in order. The names end with NULL. */
int bus_json_read_records(sd_bus_message *m, const char *const *names, struct json_object **ret);

/* The fields of ListProxies and of the property Proxies; of ProbeProxies; of ListStoreImages. */
extern const char *const proxy_fields[];
extern const char *const probed_proxy_fields[];
extern const char *const store_image_fields[];
