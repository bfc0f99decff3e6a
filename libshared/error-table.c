/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "cleanup.h"
#include "error-table.h"

const struct failure_entry failure_table[] = {
        { FAILURE_USAGE, "org.blockstore.Error.InvalidArgument", "an argument is not valid" },
        { FAILURE_PROTOCOL, "org.blockstore.Error.Protocol", "the other side broke the protocol" },
        { FAILURE_NO_SUCH_IMAGE, "org.blockstore.Error.NoSuchImage", "there is no image of that name" },
        { FAILURE_NOT_ATTACHED, "org.blockstore.Error.NotAttached", "the image is not attached here" },
        { FAILURE_NO_PROXY, "org.blockstore.Error.NoProxy", "no proxy could be reached" },
        { FAILURE_INTERNAL, "org.blockstore.Error.Failed", "an internal error" },
        { FAILURE_SYSTEM, "org.blockstore.Error.SystemNotReady", "this system lacks something that is needed" },
        { FAILURE_BUSY, "org.blockstore.Error.Busy", "the image or its device is in use" },
        { FAILURE_ALREADY_EXISTS, "org.blockstore.Error.AlreadyExists", "an image of that name exists already" },
        { FAILURE_IO, "org.blockstore.Error.IO", "the store failed" },
        { FAILURE_HELD, "org.blockstore.Error.Held", "the image is attached by another host" },
        { FAILURE_TIMEOUT, "org.blockstore.Error.Timeout", "the operation did not finish in time" },
        { FAILURE_ACCESS_DENIED, "org.blockstore.Error.AccessDenied", "access was refused" },
        { FAILURE_CONFIGURATION, "org.blockstore.Error.Configuration", "the configuration is wrong" },
};

const unsigned failure_table_size = ELEMENTSOF(failure_table);

const struct failure_entry *failure_lookup(enum failure failure) {
        const struct failure_entry *internal = NULL;

        for (unsigned i = 0; i < failure_table_size; i++) {
                if (failure_table[i].failure == failure)
                        return failure_table + i;
                if (failure_table[i].failure == FAILURE_INTERNAL)
                        internal = failure_table + i;
        }

        return internal;
}

enum failure failure_from_bus_name(const char *bus_name) {
        /* A dot in the end: all names that begin so. */
        static const struct {
                const char *name;
                enum failure failure;
        } foreign[] = {
                { "org.freedesktop.DBus.Error.AccessDenied", FAILURE_ACCESS_DENIED },
                { "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", FAILURE_ACCESS_DENIED },
                { "org.freedesktop.DBus.Error.InvalidArgs", FAILURE_USAGE },
                { "org.freedesktop.DBus.Error.NoReply", FAILURE_TIMEOUT },
                { "org.freedesktop.DBus.Error.Timeout", FAILURE_TIMEOUT },
                { "org.freedesktop.DBus.Error.ServiceUnknown", FAILURE_SYSTEM },
                { "org.freedesktop.DBus.Error.NameHasNoOwner", FAILURE_SYSTEM },
                /* It could not be started: what systemd or the bus says of that. */
                { "org.freedesktop.systemd1.", FAILURE_SYSTEM },
                { "org.freedesktop.DBus.Error.Spawn.", FAILURE_SYSTEM },
                { "org.freedesktop.DBus.Error.TimedOut", FAILURE_SYSTEM },
                { "org.freedesktop.DBus.Error.Disconnected", FAILURE_SYSTEM },
                /* It is older than the one who calls. */
                { "org.freedesktop.DBus.Error.UnknownMethod", FAILURE_SYSTEM },
                { "org.freedesktop.DBus.Error.UnknownInterface", FAILURE_SYSTEM },
        };

        if (!bus_name)
                return FAILURE_INTERNAL;

        for (unsigned i = 0; i < failure_table_size; i++)
                if (strcmp(failure_table[i].bus_name, bus_name) == 0)
                        return failure_table[i].failure;

        for (unsigned i = 0; i < ELEMENTSOF(foreign); i++) {
                size_t n = strlen(foreign[i].name);

                if (strncmp(foreign[i].name, bus_name, n) == 0 && (foreign[i].name[n - 1] == '.' || !bus_name[n]))
                        return foreign[i].failure;
        }

        return FAILURE_INTERNAL;
}
