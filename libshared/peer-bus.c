/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sd-bus over a private Unix socket. There is no bus daemon, so there are no names, no policy and no sender: who may
 * talk is decided by the socket's mode and by SO_PEERCRED, before a bus object exists. Both ends do the SASL handshake
 * with EXTERNAL. "Anonymous" stays off: a peer that cannot say its uid is not served.
 *
 * A server needs a random id of its own (sd_bus_set_server() demands one); it identifies nothing here. */

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "host-config.h"
#include "peer-bus.h"

int peer_bus_path(const char *name, char **ret) {
        const char *directory = secure_getenv("BLOCKSTORE_RUNTIME_DIRECTORY");
        char *path;

        if (asprintf(&path, "%s/%s", directory && *directory ? directory : HOST_RUNTIME_DIRECTORY, name) < 0)
                return -ENOMEM;

        *ret = path;
        return 0;
}

/* Takes fd, also on failure. The bus has been started and is attached. */
static int peer_bus_new(int fd, sd_event *event, bool server, bool descriptors, sd_bus **ret) {
        _cleanup_close_ int owned = fd;
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        sd_id128_t id;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;

        r = sd_bus_set_description(bus, server ? "peer-server" : "peer-client");
        if (r < 0)
                return r;

        r = sd_bus_negotiate_fds(bus, descriptors);
        if (r < 0)
                return r;

        if (server) {
                r = sd_id128_randomize(&id);
                if (r < 0)
                        return r;

                r = sd_bus_set_server(bus, true, id);
                if (r < 0)
                        return r;
        }

        /* sd-bus owns the descriptor from its start on. */
        r = sd_bus_set_fd(bus, owned, owned);
        if (r < 0)
                return r;
        TAKE_FD(owned);

        r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_close(bus);
                return r;
        }

        if (event) {
                r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
                if (r < 0) {
                        sd_bus_close(bus);
                        return r;
                }
        }

        *ret = TAKE_PTR(bus);
        return 0;
}

int peer_bus_serve(int fd, sd_event *event, bool descriptors, sd_bus **ret) {
        return peer_bus_new(fd, event, true, descriptors, ret);
}

int peer_bus_connect_fd(int fd, sd_event *event, bool descriptors, sd_bus **ret) {
        return peer_bus_new(fd, event, false, descriptors, ret);
}

int peer_bus_connect(const char *path, sd_event *event, bool descriptors, sd_bus **ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        size_t n = strlen(path);

        if (n >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, n + 1);

        /* sd_bus_set_address() would do this as well, but it wants the path escaped and its failure comes late, out of
         * the loop. */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;

        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;

        return peer_bus_new(TAKE_FD(fd), event, false, descriptors, ret);
}

int peer_bus_error_set(sd_bus_error *error, enum failure failure, const char *format, ...) {
        const struct failure_entry *entry = failure_lookup(failure);
        va_list ap;
        int r;

        if (!format)
                return sd_bus_error_set(error, entry->bus_name, entry->description);

        va_start(ap, format);
        r = sd_bus_error_setfv(error, entry->bus_name, format, ap);
        va_end(ap);
        return r;
}

enum failure peer_bus_error_failure(const sd_bus_error *error) {
        if (!sd_bus_error_is_set(error))
                return FAILURE_NONE;

        return failure_from_bus_name(error->name);
}
