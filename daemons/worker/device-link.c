/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pair of sockets is made here; our end goes to the engine, the kernel's end by way of the supervisor to the kernel, and no copy of it stays with us: then a hang-up on our end says
 * that the kernel has let go, or that nobody ever took it, and the way back is always the same: a new pair, and asking again.
 *
 * Before the device was there once, failure is final (a user waits for the answer), unless it is only that the supervisor is not there: it may be starting. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "device-link.h"
#include "host-config.h"

#define RETRY_USEC (200U * 1000U)

struct device_link {
        sd_event *event;
        struct engine *engine;
        struct supervisor_link *supervisor;
        const struct device_link_events *events;
        void *userdata;
        enum device_state state;
        bool was_connected;
        bool lost; /* while connecting: the kernel's end is closed already */
        struct attachment attachment;
        sd_event_source *timer;
};

const char *device_state_to_string(enum device_state state) {
        static const char *const names[_DEVICE_STATE_MAX] = {
                [DEVICE_ABSENT] = "absent",
                [DEVICE_WANTED] = "wanted",
                [DEVICE_CONNECTING] = "connecting",
                [DEVICE_CONNECTED] = "connected",
                [DEVICE_DISCONNECTING] = "disconnecting",
        };

        return (unsigned) state < _DEVICE_STATE_MAX ? names[state] : "unknown";
}

int device_link_new(struct device_link **ret, sd_event *event, struct engine *engine,
        struct supervisor_link *supervisor, const struct device_link_events *events, void *userdata) {
        struct device_link *device;

        device = calloc(1, sizeof(*device));
        if (!device)
                return -ENOMEM;

        device->event = sd_event_ref(event);
        device->engine = engine;
        device->supervisor = supervisor;
        device->events = events;
        device->userdata = userdata;
        *ret = device;
        return 0;
}

struct device_link *device_link_free(struct device_link *device) {
        if (!device)
                return NULL;

        sd_event_source_disable_unref(device->timer);
        sd_event_unref(device->event);
        free(device);
        return NULL;
}

static int ask(struct device_link *device) {
        _cleanup_close_ int kernel = -EBADF;
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        kernel = fds[1];

        r = supervisor_link_connect_device(
                device->supervisor, kernel, &device->attachment, engine_nbd_flags(&device->attachment));
        if (r < 0) {
                safe_close(fds[0]);
                return r;
        }

        /* Served from now on: udev reads the device before the supervisor's answer comes. */
        device->lost = false;
        device->state = DEVICE_CONNECTING;
        return engine_serve_kernel(device->engine, fds[0]);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_link *device = userdata;

        if (device->state == DEVICE_WANTED)
                device_link_supervisor_up(device);
        return 0;
}

static void want(struct device_link *device) {
        device->state = DEVICE_WANTED;
        device->timer = sd_event_source_disable_unref(device->timer);
        (void) sd_event_add_time_relative(
                device->event, &device->timer, CLOCK_MONOTONIC, RETRY_USEC, 0, on_timer, device);
}

void device_link_supervisor_up(struct device_link *device) {
        int r;

        if (device->state != DEVICE_WANTED || !supervisor_link_is_up(device->supervisor))
                return;

        r = ask(device);
        if (r < 0)
                want(device);
}

void device_link_connect(struct device_link *device, const struct attachment *attachment) {
        device->attachment = *attachment;
        if (device->state != DEVICE_ABSENT)
                return;

        want(device);
        device_link_supervisor_up(device);
}

void device_link_kernel_lost(struct device_link *device) {
        if (device->state == DEVICE_CONNECTING)
                device->lost = true;
        else if (device->state == DEVICE_CONNECTED)
                want(device);
}

void device_link_answer_connected(
        struct device_link *device, enum failure failure, const char *message, const char *node) {
        if (device->state != DEVICE_CONNECTING)
                return;

        if (failure == FAILURE_NONE && !device->lost) {
                device->state = DEVICE_CONNECTED;
                device->was_connected = true;
                device->events->connected(device->userdata, node);
                return;
        }

        if (failure != FAILURE_NONE && !device->was_connected && supervisor_link_is_up(device->supervisor)) {
                device->state = DEVICE_ABSENT;
                device->events->failed(device->userdata, failure, message);
                return;
        }
        want(device);
}

void device_link_disconnect(struct device_link *device) {
        int r;

        device->timer = sd_event_source_disable_unref(device->timer);
        if (!device->was_connected && device->state != DEVICE_CONNECTING) {
                device->state = DEVICE_ABSENT;
                device->events->disconnected(device->userdata, FAILURE_NONE, "");
                return;
        }

        device->state = DEVICE_DISCONNECTING;
        r = supervisor_link_disconnect_device(device->supervisor);
        if (r < 0)
                device->events->disconnected(
                        device->userdata, FAILURE_SYSTEM, supervisor_link_reason(device->supervisor));
}

void device_link_answer_disconnected(struct device_link *device, enum failure failure, const char *message) {
        if (device->state != DEVICE_DISCONNECTING)
                return;

        /* Nothing left to give back is what was asked for. */
        if (failure == FAILURE_NOT_ATTACHED)
                failure = FAILURE_NONE;
        device->state = failure == FAILURE_NONE ? DEVICE_ABSENT : DEVICE_CONNECTED;
        device->events->disconnected(device->userdata, failure, message);
}

enum device_state device_link_get_state(const struct device_link *device) {
        return device->state;
}
