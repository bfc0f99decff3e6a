/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pair of sockets is made here; our end goes to the engine, the kernel's end by way of the supervisor to the kernel, and no copy of it stays with us: then a hang-up on our end says
 * that the kernel has let go, or that nobody ever took it, and the way back is always the same: a new pair, and asking again.
 *
 * While no proxy can be had the kernel would log every request that waits, over and over, so after a moment it is told to take them back (see SetDeviceWaiting in the interface's XML): it hangs up, and
 * the next pair is made when I/O goes on. Its requests lose nothing by that: what we have of them in hand goes out first, and in order. One device call is under way at a time; step() begins the next.
 *
 * Before the device was there once, failure is final (a user waits for the answer), unless it is only that the supervisor is not there: it may be starting. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "device-link.h"
#include "host-config.h"

#define RETRY_USEC      (200U * 1000U)
#define WAITING_USEC    (250U * 1000U) /* a failover is over by then; the kernel's first timer comes after 500 ms */
#define TELL_AGAIN_USEC (1000U * 1000U)
#define SIZE_AGAIN_USEC (5U * 1000U * 1000U)
/* A request waits for a new connection for a day at most, then it fails (DEVICE_NBD_DEAD_CONNECTION_SEC): long before that it is handed over once. */
#define REFRESH_USEC (UINT64_C(6) * 3600U * 1000U * 1000U)

/* What the kernel's device is set to, as far as we know. */
enum told {
        TOLD_UNKNOWN, /* another worker may have left it waiting, or telling failed */
        TOLD_WAIT,
        TOLD_GO_ON,
};

struct device_link {
        sd_event *event;
        struct engine *engine;
        struct supervisor_link *supervisor;
        const struct device_link_events *events;
        void *userdata;
        enum device_state state;
        bool was_connected;
        bool expected;       /* ... by a former worker, perhaps */
        bool lost;           /* while connecting: the kernel's end is closed already */
        bool waits, settled; /* I/O does; and has for a moment */
        enum told told;
        bool telling; /* ... telling_value */
        enum told telling_value;
        bool ending; /* to be given back as soon as nothing is under way */
        struct attachment attachment;
        uint64_t size_told;  /* the size that the device has, bytes; 0: not known */
        uint64_t size_asked; /* ... that it is about to get */
        bool sizing;         /* ... under way */
        bool size_put_off;   /* it failed, and a moment is to pass */
        sd_event_source *timer, *waiting_timer, *size_timer;
};

const char *device_state_to_string(enum device_state state) {
        static const char *const names[_DEVICE_STATE_MAX] = {
                [DEVICE_ABSENT] = "absent",
                [DEVICE_WANTED] = "wanted",
                [DEVICE_CONNECTING] = "connecting",
                [DEVICE_CONNECTED] = "connected",
                [DEVICE_WAITING] = "waiting",
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
        sd_event_source_disable_unref(device->waiting_timer);
        sd_event_source_disable_unref(device->size_timer);
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
        /* As in frontend_new(), for the way here. */
        (void) setsockopt(kernel, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int));

        r = supervisor_link_connect_device(
                device->supervisor, kernel, &device->attachment, engine_nbd_flags(&device->attachment));
        if (r < 0) {
                safe_close(fds[0]);
                return r;
        }

        /* Served from now on: udev reads the device before the supervisor's answer comes. */
        device->lost = false;
        device->size_asked = device->attachment.size;
        device->state = DEVICE_CONNECTING;
        return engine_serve_kernel(device->engine, fds[0]);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_link *device = userdata;

        if (device->state == DEVICE_WAITING)
                device->state = DEVICE_WANTED;
        if (device->state == DEVICE_WANTED)
                device_link_supervisor_up(device);
        return 0;
}

static void want_after(struct device_link *device, uint64_t usec) {
        device->timer = sd_event_source_disable_unref(device->timer);
        (void) sd_event_add_time_relative(device->event, &device->timer, CLOCK_MONOTONIC, usec, 0, on_timer, device);
}

static void want(struct device_link *device) {
        device->state = DEVICE_WANTED;
        want_after(device, RETRY_USEC);
}

static void give_back(struct device_link *device) {
        int r;

        device->ending = false;
        device->state = DEVICE_DISCONNECTING;
        r = supervisor_link_disconnect_device(device->supervisor);
        if (r < 0)
                device->events->disconnected(
                        device->userdata, FAILURE_SYSTEM, supervisor_link_reason(device->supervisor));
}

/* Begins what is to be done next, if nothing is under way. */
static void step(struct device_link *device) {
        enum told wanted = device->waits && device->settled ? TOLD_WAIT : TOLD_GO_ON;

        if (device->telling || device->sizing)
                return;

        if (device->state == DEVICE_WAITING && !device->waits) {
                want(device);
                device_link_supervisor_up(device);
                return;
        }
        if (device->state != DEVICE_CONNECTED)
                return;

        if (device->told != wanted &&
                supervisor_link_set_device_waiting(device->supervisor, wanted == TOLD_WAIT) >= 0) {
                device->telling = true;
                device->telling_value = wanted;
        } else if (device->size_told != device->attachment.size && !device->size_put_off &&
                   supervisor_link_resize_device(device->supervisor, device->attachment.size) >= 0) {
                device->sizing = true;
                device->size_asked = device->attachment.size;
        } else if (device->ending)
                give_back(device);
}

static int on_waiting_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_link *device = userdata;

        device->settled = true;
        step(device);
        return 0;
}

static void step_after(struct device_link *device, uint64_t usec) {
        device->waiting_timer = sd_event_source_disable_unref(device->waiting_timer);
        (void) sd_event_add_time_relative(
                device->event, &device->waiting_timer, CLOCK_MONOTONIC, usec, 0, on_waiting_timer, device);
}

void device_link_set_waiting(struct device_link *device, bool waits, bool for_long) {
        bool settle = waits && for_long && !device->settled;

        if (device->ending || (device->waits == waits && !settle))
                return;

        device->waits = waits;
        device->settled = settle;
        device->waiting_timer = sd_event_source_disable_unref(device->waiting_timer);
        if (waits && !settle)
                step_after(device, WAITING_USEC);
        else
                step(device);
}

void device_link_answer_told(struct device_link *device, enum failure failure) {
        device->telling = false;
        device->told = failure == FAILURE_NONE ? device->telling_value : TOLD_UNKNOWN;

        if (device->state == DEVICE_WANTED)
                device_link_supervisor_up(device);
        else if (failure == FAILURE_NONE || device->state != DEVICE_CONNECTED)
                step(device);
        else if (device->ending)
                give_back(device);
        else
                step_after(device, TELL_AGAIN_USEC);
}

static int on_size_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device_link *device = userdata;

        device->size_put_off = false;
        step(device);
        return 0;
}

void device_link_answer_resized(struct device_link *device, enum failure failure) {
        if (!device->sizing)
                return;

        device->sizing = false;
        if (failure == FAILURE_NONE) {
                device->size_told = device->size_asked;
                device->events->resized(device->userdata, device->size_told);
        } else {
                device->size_put_off = true;
                device->size_timer = sd_event_source_disable_unref(device->size_timer);
                (void) sd_event_add_time_relative(device->event, &device->size_timer, CLOCK_MONOTONIC, SIZE_AGAIN_USEC,
                        0, on_size_timer, device);
        }

        if (device->state == DEVICE_WANTED)
                device_link_supervisor_up(device);
        else
                step(device);
}

void device_link_resize(struct device_link *device, uint64_t size) {
        device->attachment.size = size;
        device->size_put_off = false;
        step(device);
}

void device_link_supervisor_up(struct device_link *device) {
        int r;

        if (device->state == DEVICE_CONNECTED) {
                /* It may have ended while it gave the device another size. */
                device->size_told = 0;
                device->size_put_off = false;
                step(device);
                return;
        }
        if (device->state != DEVICE_WANTED || device->telling || device->sizing ||
                !supervisor_link_is_up(device->supervisor))
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

void device_link_adopt(struct device_link *device, const struct attachment *attachment, const char *node) {
        device->attachment = *attachment;
        device->state = DEVICE_CONNECTED;
        device->was_connected = true;
        device->events->connected(device->userdata, node);
        step(device);
}

void device_link_expect(struct device_link *device) {
        if (device)
                device->expected = true;
}

void device_link_kernel_lost(struct device_link *device) {
        if (device->state == DEVICE_CONNECTING)
                device->lost = true;
        else if (device->state == DEVICE_CONNECTED) {
                bool asked_for = device->told == TOLD_WAIT || (device->telling && device->telling_value == TOLD_WAIT);

                if (!asked_for || !device->waits) {
                        want(device);
                        return;
                }
                device->state = DEVICE_WAITING;
                want_after(device, REFRESH_USEC);
        }
}

void device_link_answer_connected(
        struct device_link *device, enum failure failure, const char *message, const char *node) {
        if (device->state != DEVICE_CONNECTING)
                return;

        if (failure == FAILURE_NONE && !device->lost) {
                device->state = DEVICE_CONNECTED;
                device->was_connected = true;
                device->size_told = device->size_asked;
                device->events->connected(device->userdata, node);
                step(device);
                return;
        }

        if (device->ending) {
                give_back(device);
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
        if (!device->was_connected && !device->expected && device->state != DEVICE_CONNECTING) {
                device->timer = sd_event_source_disable_unref(device->timer);
                device->state = DEVICE_ABSENT;
                device->events->disconnected(device->userdata, FAILURE_NONE, "");
                return;
        }

        /* The last flush needs the connection: it ends, one way or the other, by what becomes of it here. */
        device_link_set_waiting(device, false, false);
        device->ending = true;
        if (!supervisor_link_is_up(device->supervisor) || device->state == DEVICE_WANTED ||
                device->state == DEVICE_ABSENT)
                give_back(device);
        else
                step(device);
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
