/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "cli.h"

#define BUS_NAME          "org.blockstore"
#define BUS_PATH          "/org/blockstore"
#define BUS_IMAGE_PREFIX  "/org/blockstore/image"
#define BUS_MANAGER       "org.blockstore.Manager"
#define BUS_IMAGE         "org.blockstore.Image"
#define BUS_OBJECTMANAGER "org.freedesktop.DBus.ObjectManager"
#define BUS_PROPERTIES    "org.freedesktop.DBus.Properties"

/* What a call may take, in µs. Reading costs the supervisor nothing, except where it asks the store. */
#define BUS_TIMEOUT_READ_USEC (30 * UINT64_C(1000000))
/* A change may wait for a person (who types a password for polkit) and then for a flush or for systemd. */
#define BUS_TIMEOUT_CHANGE_USEC (300 * UINT64_C(1000000))

#define _cleanup_bus_error_     _cleanup_(sd_bus_error_free)

/* Connects to the system bus ($DBUS_SYSTEM_BUS_ADDRESS when set). Returns 0, or the exit code after having told the
 * user. */
int bus_open(const struct cli *cli, sd_bus **ret);

/* Calls a method of the manager that only reads. types and what follows are as for sd_bus_message_append(), NULL for
 * no arguments. Returns 0 or a negative errno with *error set. */
int bus_call_read(
        sd_bus *bus, const char *member, sd_bus_error *error, sd_bus_message **ret_reply, const char *types, ...);

/* Calls a method of the manager that changes something: allowed to ask the user for authorisation, and given the time
 * for it. message is consumed. */
int bus_call_change(
        const struct cli *cli, sd_bus *bus, sd_bus_message *message, sd_bus_error *error, sd_bus_message **ret_reply);

/* A call of the manager that may ask for authorisation, to be filled with arguments. */
int bus_new_change(const struct cli *cli, sd_bus *bus, const char *member, sd_bus_message **ret);
