/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* sd-bus without a bus: two processes on a Unix socket that call each other, with descriptors. Both ends are attached
 * to an sd-event loop. What the private links are called stands here too, so that both sides of a link spell it in one
 * place. */

#include <stdbool.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "cleanup.h"
#include "error-table.h"

/* The link from a worker to the supervisor: dbus/private-org.blockstore.Supervisor.xml. */
#define SUPERVISOR_SOCKET       "supervisor" /* below the runtime directory */
#define SUPERVISOR_PATH         "/org/blockstore/supervisor"
#define SUPERVISOR_INTERFACE    "org.blockstore.Supervisor"
#define SUPERVISOR_LINK_VERSION 3U
/* The smaller version of the two ends is spoken. A number more adds members, and takes none away: ends of any two versions work together. What would not be so gets another SUPERVISOR_INTERFACE, beside the old one for
 * as long as workers of the old kind may run.
 *   1: Hello, ConnectDevice, DisconnectDevice, SetDeviceWaiting, Update
 *   2: GetUnitJob, GetDevice
 *   3: ShareHeatMap */
#define SUPERVISOR_LINK_VERSION_QUESTIONS 2U
#define SUPERVISOR_LINK_VERSION_HEAT      3U

/* The link from the supervisor to a query worker: dbus/private-org.blockstore.Store.xml. */
#define STORE_SOCKET_FORMAT "query/%s" /* below the runtime directory; the instance */
#define STORE_PATH          "/org/blockstore/store"
#define STORE_INTERFACE     "org.blockstore.Store"
#define STORE_INSTANCE      "default"

/* The link from the supervisor to the process that imports or exports an image: dbus/private-org.blockstore.Transfer.xml. */
#define TRANSFER_SOCKET_FORMAT \
        "transfer/%s" /* below the runtime directory; the local name that the image has for it */
#define TRANSFER_PATH         "/org/blockstore/transfer"
#define TRANSFER_INTERFACE    "org.blockstore.Transfer"
#define TRANSFER_LINK_VERSION 1U

/* A file below the runtime directory: /run/blockstore, or $BLOCKSTORE_RUNTIME_DIRECTORY. Returns 0 or -ENOMEM. */
int peer_bus_path(const char *name, char **ret);

/* Makes the server's end over a connected AF_UNIX stream socket, starts it, and attaches it to the loop with normal
 * priority. Takes fd, also on failure. The caller adds its vtable (sd_bus_add_object_vtable) and its filter for
 * SD_BUS_PATH_LOCAL "Disconnected" before the loop runs again. descriptors false refuses descriptors. Returns 0 or a
 * negative errno. The bus is closed with sd_bus_close_unref(). */
int peer_bus_serve(int fd, sd_event *event, bool descriptors, sd_bus **ret);

/* Connects to the socket at an absolute path and attaches to the loop (event NULL: not attached; the caller then makes
 * blocking calls only). Connecting a Unix socket blocks only while the listener's backlog is full; sd-bus completes
 * the rest from the loop. Returns 0, or a negative errno: -ENOENT or -ECONNREFUSED when nobody listens, -ENAMETOOLONG,
 * -EACCES. */
int peer_bus_connect(const char *path, sd_event *event, bool descriptors, sd_bus **ret);

/* Over both: descriptors can be sent only after the first answer has come, which is when it is known that the other end takes them; before, such a
 * call fails with -ENOTCONN.
 *
 * The same over a socket that is connected already. Takes fd, also on failure. */
int peer_bus_connect_fd(int fd, sd_event *event, bool descriptors, sd_bus **ret);

/* Sets a D-Bus error of the table with a sentence for a user (format NULL: the table's own description) and returns
 * the negative errno that sd-bus maps it to, never 0: `return peer_bus_error_set(error, FAILURE_BUSY, "...")` ends a
 * method handler. error may be NULL. */
int peer_bus_error_set(sd_bus_error *error, enum failure failure, const char *format, ...) _printf_(3, 4);

/* The failure of a received or set error, FAILURE_NONE when none is set. */
enum failure peer_bus_error_failure(const sd_bus_error *error);
