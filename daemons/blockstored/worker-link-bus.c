/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.blockstore.Supervisor, as dbus/private-org.blockstore.Supervisor.xml describes it: what a worker may call. Arguments are checked here for what they are; what they mean
 * is decided above. Anything but Hello before Hello is refused. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "heat-map.h"
#include "image-log.h"
#include "peer-bus.h"
#include "worker-link.h"
#include "worker-status.h"

static int require_greeting(struct worker_link *link, sd_bus_error *error) {
        if (link->greeted)
                return 0;
        return peer_bus_error_set(error, FAILURE_PROTOCOL, "Say Hello first");
}

static int method_hello(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        uint32_t version;
        int r;

        r = sd_bus_message_read(message, "u", &version);
        if (r < 0)
                return r;

        if (version == 0)
                return peer_bus_error_set(error, FAILURE_PROTOCOL, "There is no link version 0");
        if (version > SUPERVISOR_LINK_VERSION)
                version = SUPERVISOR_LINK_VERSION;

        r = worker_link_greet(link);
        if (r < 0)
                return peer_bus_error_set(error, r == -E2BIG ? FAILURE_BUSY : FAILURE_INTERNAL,
                        "The worker of %s cannot be taken on: %s", link->name, strerror(-r));

        return sd_bus_reply_method_return(message, "us", version, link->name);
}

/* What is wrong with the descriptor, or NULL. It must be the end of a socket pair that the worker's own user made: the kernel is about to write to it. */
static const char *check_socket(int fd, uid_t uid) {
        struct ucred maker = {};
        struct stat st;
        int value;
        socklen_t n;

        if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
                return "the descriptor is not a socket";

        n = sizeof(value);
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &n) < 0 || value != AF_UNIX)
                return "the socket is not AF_UNIX";

        n = sizeof(value);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &n) < 0 || value != SOCK_STREAM)
                return "the socket is not a stream";

        n = sizeof(value);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &n) < 0 || value != 0)
                return "the socket listens";

        n = sizeof(maker);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &n) < 0 || maker.pid == 0)
                return "the socket is not connected";
        if (maker.uid != uid)
                return "the socket's other end belongs to another user";

        return NULL;
}

static int begin_device_call(struct worker_link *link, sd_bus_message *message, bool connect, sd_bus_error *error) {
        if (link->pending)
                return peer_bus_error_set(error, FAILURE_BUSY, "The device of %s is being worked on", link->name);

        link->pending = sd_bus_message_ref(message);
        link->pending_connect = connect;
        return 0;
}

static int method_connect_device(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        struct device_parameters parameters = {};
        const char *uuid, *wrong;
        int fd, copy, r;

        r = require_greeting(link, error);
        if (r < 0)
                return r;

        r = sd_bus_message_read(
                message, "htuus", &fd, &parameters.size, &parameters.block_size, &parameters.flags, &uuid);
        if (r < 0)
                return r;

        (void) snprintf(parameters.uuid, sizeof(parameters.uuid), "%s", uuid);
        wrong = strlen(uuid) >= sizeof(parameters.uuid) ? "the UUID is not one" : NULL;
        wrong = wrong ?: check_socket(fd, link->uid);
        wrong = wrong ?: device_parameters_check(&parameters);
        if (wrong) {
                log_image(LOG_WARNING, link->name, "The worker wants a device that cannot be: %s", wrong);
                return peer_bus_error_set(error, FAILURE_USAGE, "No device for %s: %s", link->name, wrong);
        }

        r = begin_device_call(link, message, true, error);
        if (r < 0)
                return r;

        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        r = copy < 0 ? -errno : worker_link_ops(link)->connect_device(link, &parameters, copy, error);
        if (r < 0) {
                link->pending = sd_bus_message_unref(link->pending);
                return r;
        }
        return 1;
}

static int method_disconnect_device(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        int r;

        r = require_greeting(link, error);
        if (r < 0)
                return r;

        r = begin_device_call(link, message, false, error);
        if (r < 0)
                return r;

        r = worker_link_ops(link)->disconnect_device(link, error);
        if (r < 0) {
                link->pending = sd_bus_message_unref(link->pending);
                return r;
        }
        return 1;
}

static int method_set_device_waiting(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        int waiting, r; /* sd-bus writes an int for "b" */

        r = require_greeting(link, error);
        if (r >= 0)
                r = sd_bus_message_read(message, "b", &waiting);
        if (r >= 0)
                r = begin_device_call(link, message, false, error);
        if (r < 0)
                return r;

        r = worker_link_ops(link)->set_waiting(link, waiting, error);
        if (r < 0) {
                link->pending = sd_bus_message_unref(link->pending);
                return r;
        }
        return 1;
}

static int method_resize_device(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        uint64_t size;
        int r;

        r = require_greeting(link, error);
        if (r >= 0)
                r = sd_bus_message_read(message, "t", &size);
        if (r >= 0 && (size == 0 || size > INT64_MAX || size % 512 != 0))
                r = peer_bus_error_set(error, FAILURE_USAGE, "No device can have that size");
        if (r >= 0)
                r = begin_device_call(link, message, false, error);
        if (r < 0)
                return r;

        r = worker_link_ops(link)->resize_device(link, size, error);
        if (r < 0) {
                link->pending = sd_bus_message_unref(link->pending);
                return r;
        }
        return 1;
}

void worker_link_answer_device(struct worker_link *link, enum failure failure, const char *message, const char *node) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *pending = TAKE_PTR(link->pending);
        int r;

        if (!pending)
                return;

        if (failure != FAILURE_NONE)
                r = sd_bus_reply_method_errorf(pending, failure_lookup(failure)->bus_name, "%s", message);
        else if (link->pending_connect)
                r = sd_bus_reply_method_return(pending, "s", node);
        else
                r = sd_bus_reply_method_return(pending, NULL);
        if (r < 0)
                worker_link_drop(link, "it cannot be answered");
}

static int method_get_unit_job(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        int r;

        r = require_greeting(link, error);
        if (r < 0)
                return r;
        if (link->job_question)
                return peer_bus_error_set(error, FAILURE_BUSY, "The job of %s is being asked for", link->name);

        link->job_question = sd_bus_message_ref(message);
        r = worker_link_ops(link)->ask_job(link, error);
        if (r < 0) {
                link->job_question = sd_bus_message_unref(link->job_question);
                return r;
        }
        return 1;
}

void worker_link_answer_job(struct worker_link *link, const char *type) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *question = TAKE_PTR(link->job_question);

        if (question && sd_bus_reply_method_return(question, "s", type) < 0)
                worker_link_drop(link, "it cannot be answered");
}

static int method_get_device(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        int r;

        r = require_greeting(link, error);
        if (r < 0)
                return r;
        return sd_bus_reply_method_return(message, "s", worker_link_ops(link)->get_device(link));
}

static int method_share_heat_map(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        int fd, r;

        r = require_greeting(link, error);
        if (r >= 0)
                r = sd_bus_message_read(message, "h", &fd);
        if (r < 0)
                return r;
        if (heat_map_check(fd) < 0) {
                worker_link_drop(link, "what it calls a heat map is none");
                return peer_bus_error_set(error, FAILURE_USAGE, "That is no heat map");
        }

        safe_close(link->heat_fd);
        link->heat_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return sd_bus_reply_method_return(message, NULL);
}

static int method_update(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct worker_link *link = userdata;
        struct image_status status = { .state = _IMAGE_STATE_INVALID, .counters = link->counters };
        struct worker_status_lists lists;
        int r;

        r = require_greeting(link, error);
        if (r < 0)
                return r;

        r = worker_status_read(message, &status, &lists);
        if (r >= 0) {
                link->counters = status.counters;
                r = worker_link_ops(link)->update(link, &status);
        }
        if (r < 0) {
                /* No reply is expected: without this a worker's mistake would be invisible. */
                errno = -r;
                log_image(LOG_WARNING, link->name, "The worker's status was refused: %m");
                return peer_bus_error_set(error, FAILURE_USAGE, "The status is not valid");
        }

        return sd_bus_reply_method_return(message, NULL);
}

static const sd_bus_vtable supervisor_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_ARGS("u", version), SD_BUS_RESULT("u", version, "s", name),
                method_hello, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ConnectDevice",
                SD_BUS_ARGS("h", socket, "t", size, "u", block_size, "u", flags, "s", uuid), SD_BUS_RESULT("s", node),
                method_connect_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DisconnectDevice", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_disconnect_device,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetDeviceWaiting", SD_BUS_ARGS("b", waiting), SD_BUS_NO_RESULT,
                method_set_device_waiting, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetUnitJob", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", type), method_get_unit_job,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                "GetDevice", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", node), method_get_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ResizeDevice", SD_BUS_ARGS("t", size), SD_BUS_NO_RESULT, method_resize_device,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ShareHeatMap", SD_BUS_ARGS("h", map), SD_BUS_NO_RESULT, method_share_heat_map,
                SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_METHOD_NO_REPLY),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("a{sv}", status), SD_BUS_NO_RESULT, method_update,
                SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_METHOD_NO_REPLY),
        SD_BUS_VTABLE_END,
};

int worker_link_bus_add(struct worker_link *link) {
        return sd_bus_add_object_vtable(
                link->bus, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, supervisor_vtable, link);
}
