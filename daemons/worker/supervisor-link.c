/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The supervisor may come and go (it is restarted, upgraded, or leaves when idle, and is started again by our connecting): the link is simply made anew, and whoever uses it
 * hears of it by up(). A call that was under way when the link broke is answered with an error; whether it took effect is then not known, and ConnectDevice may be repeated. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link-status.h"
#include "peer-bus.h"
#include "supervisor-link.h"

#define RECONNECT_USEC      (500U * 1000U)
#define CALL_TIMEOUT_USEC   (10U * 1000U * 1000U)
#define DEVICE_TIMEOUT_USEC (60U * 1000U * 1000U) /* above the supervisor's own deadlines */

/* The kernel's logical block size. It is part of what a partition table or a file system on the image means, so it may not depend on which proxy or store serves it, and 512 is
 * what images from elsewhere were made with. */
#define DEVICE_BLOCK_SIZE 512U

struct supervisor_link {
        sd_event *event;
        const struct supervisor_link_events *events;
        void *userdata;
        sd_bus *bus;
        sd_event_source *timer;
        bool up;
        uint32_t version;
        char reason[256];
};

static int schedule(struct supervisor_link *link);

static void drop(struct supervisor_link *link, const char *reason) {
        link->up = false;
        snprintf(link->reason, sizeof(link->reason), "%s", reason);
        /* Pending calls are answered with an error by the closing. */
        sd_bus_close(link->bus);
        link->bus = sd_bus_unref(link->bus);
        (void) schedule(link);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct supervisor_link *link = userdata;

        if (link->bus)
                drop(link, "the supervisor closed the link");
        return 0;
}

static int on_hello(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        const char *name;
        int r;

        if (!link->bus)
                return 0;
        if (sd_bus_message_is_method_error(m, NULL)) {
                drop(link, sd_bus_message_get_error(m)->message ?: "the supervisor refused the link");
                return 0;
        }
        r = sd_bus_message_read(m, "us", &link->version, &name);
        if (r < 0) {
                drop(link, "the supervisor's answer makes no sense");
                return 0;
        }

        link->up = true;
        link->reason[0] = 0;
        link->events->up(link->userdata);
        return 0;
}

static int try_connect(struct supervisor_link *link) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = peer_bus_path(SUPERVISOR_SOCKET, &path);
        if (r < 0)
                return r;

        r = peer_bus_connect(path, link->event, true, &link->bus);
        if (r < 0) {
                snprintf(link->reason, sizeof(link->reason), "%s: %s", path, strerror(-r));
                return r;
        }

        r = sd_bus_match_signal_async(link->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, link);
        if (r >= 0)
                r = sd_bus_call_method_async(link->bus, NULL, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Hello",
                        on_hello, link, "u", SUPERVISOR_LINK_VERSION);
        if (r < 0) {
                snprintf(link->reason, sizeof(link->reason), "%s: %s", path, strerror(-r));
                link->bus = sd_bus_close_unref(link->bus);
        }
        return r;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct supervisor_link *link = userdata;

        if (!link->bus && try_connect(link) < 0)
                (void) schedule(link);
        return 0;
}

static int schedule(struct supervisor_link *link) {
        link->timer = sd_event_source_disable_unref(link->timer);
        return sd_event_add_time_relative(
                link->event, &link->timer, CLOCK_MONOTONIC, RECONNECT_USEC, 0, on_timer, link);
}

int supervisor_link_new(
        struct supervisor_link **ret, sd_event *event, const struct supervisor_link_events *events, void *userdata) {
        _cleanup_(supervisor_link_freep) struct supervisor_link *link = NULL;
        int r;

        link = calloc(1, sizeof(*link));
        if (!link)
                return -ENOMEM;

        link->event = sd_event_ref(event);
        link->events = events;
        link->userdata = userdata;

        if (try_connect(link) < 0) {
                r = schedule(link);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(link);
        return 0;
}

struct supervisor_link *supervisor_link_free(struct supervisor_link *link) {
        if (!link)
                return NULL;

        sd_event_source_disable_unref(link->timer);
        sd_bus_close_unref(link->bus);
        sd_event_unref(link->event);
        free(link);
        return NULL;
}

bool supervisor_link_is_up(const struct supervisor_link *link) {
        /* A bus that has lost its peer ends the calls that are under way before anything else is told. */
        return link->up && sd_bus_is_open(link->bus) > 0;
}

const char *supervisor_link_reason(const struct supervisor_link *link) {
        return link->reason;
}

/* Failure and sentence of an error reply; FAILURE_NONE for a proper one. */
static enum failure reply_failure(sd_bus_message *m, const char **ret_message) {
        const sd_bus_error *error = sd_bus_message_get_error(m);

        *ret_message = "";
        if (!error)
                return FAILURE_NONE;

        *ret_message = error->message ?: error->name;
        /* The link's own end is none of the table's errors. */
        return strncmp(error->name, "org.blockstore.", 15) == 0 ? failure_from_bus_name(error->name) : FAILURE_SYSTEM;
}

static int on_device_connected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        const char *message, *node = "";
        enum failure failure;

        failure = reply_failure(m, &message);
        if (failure == FAILURE_NONE && sd_bus_message_read(m, "s", &node) < 0) {
                failure = FAILURE_PROTOCOL;
                message = "the supervisor's answer makes no sense";
        }
        link->events->device_connected(link->userdata, failure, message, node);
        return 0;
}

static int on_device_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        enum failure failure;
        const char *message;

        failure = reply_failure(m, &message);
        link->events->device_disconnected(link->userdata, failure, message);
        return 0;
}

/* Asks for something that the supervisor does to the device, which may take it a while. */
static int call_device(
        struct supervisor_link *link, const char *method, sd_bus_message_handler_t answered, const char *types, ...) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        va_list ap;
        int r;

        if (!link->up)
                return -ENOTCONN;

        r = sd_bus_message_new_method_call(link->bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, method);
        if (r >= 0) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
        }
        if (r >= 0)
                r = sd_bus_call_async(link->bus, NULL, m, answered, link, DEVICE_TIMEOUT_USEC);
        return r < 0 ? r : 0;
}

int supervisor_link_connect_device(
        struct supervisor_link *link, int kernel_fd, const struct attachment *a, uint16_t flags) {
        char uuid[SD_ID128_UUID_STRING_MAX];
        sd_id128_t id;

        memcpy(id.bytes, a->uuid, sizeof(id.bytes));
        return call_device(link, "ConnectDevice", on_device_connected, "htuus", kernel_fd, a->size, DEVICE_BLOCK_SIZE,
                (uint32_t) flags, sd_id128_to_uuid_string(id, uuid));
}

int supervisor_link_disconnect_device(struct supervisor_link *link) {
        return call_device(link, "DisconnectDevice", on_device_disconnected, "");
}

static int on_device_told(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        enum failure failure;
        const char *message;

        failure = reply_failure(m, &message);
        link->events->device_told(link->userdata, failure, message);
        return 0;
}

int supervisor_link_set_device_waiting(struct supervisor_link *link, bool waiting) {
        return call_device(link, "SetDeviceWaiting", on_device_told, "b", (int) waiting);
}

static int on_device_resized(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        enum failure failure;
        const char *message;

        failure = reply_failure(m, &message);
        link->events->device_resized(link->userdata, failure, message);
        return 0;
}

int supervisor_link_resize_device(struct supervisor_link *link, uint64_t size) {
        return call_device(link, "ResizeDevice", on_device_resized, "t", size);
}

static int on_unit_job(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        const char *type = "";

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "s", &type) < 0)
                type = "";
        link->events->unit_job(link->userdata, type);
        return 0;
}

static int on_device_known(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        struct supervisor_link *link = userdata;
        const char *node;

        if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "s", &node) >= 0)
                link->events->device_known(link->userdata, node);
        return 0;
}

static int ask(struct supervisor_link *link, const char *method, sd_bus_message_handler_t answered) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (!link->up)
                return -ENOTCONN;
        if (link->version < SUPERVISOR_LINK_VERSION_QUESTIONS)
                return -EOPNOTSUPP;

        r = sd_bus_message_new_method_call(link->bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, method);
        if (r >= 0)
                r = sd_bus_call_async(link->bus, NULL, m, answered, link, CALL_TIMEOUT_USEC);
        return r < 0 ? r : 0;
}

int supervisor_link_ask_job(struct supervisor_link *link) {
        return ask(link, "GetUnitJob", on_unit_job);
}

int supervisor_link_ask_device(struct supervisor_link *link) {
        return ask(link, "GetDevice", on_device_known);
}

int supervisor_link_share_heat(struct supervisor_link *link, int fd) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (!link->up)
                return -ENOTCONN;
        if (link->version < SUPERVISOR_LINK_VERSION_HEAT)
                return -EOPNOTSUPP;

        r = sd_bus_message_new_method_call(link->bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "ShareHeatMap");
        if (r >= 0)
                r = sd_bus_message_append(m, "h", fd);
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(m, false);
        if (r >= 0)
                r = sd_bus_send(link->bus, m, NULL);
        return r < 0 ? r : 0;
}

void supervisor_link_update(struct supervisor_link *link, const struct engine_status *status,
        const struct attachment *attachment, const char *state, uint64_t since_usec, const char *reason,
        enum failure failure) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (!link->up)
                return;

        r = sd_bus_message_new_method_call(link->bus, &m, NULL, SUPERVISOR_PATH, SUPERVISOR_INTERFACE, "Update");
        if (r < 0)
                return;
        (void) sd_bus_message_set_expect_reply(m, 0);

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}{sv}{sv}", "State", "s", state, "StateSince", "t", since_usec,
                        "StateReason", "s", reason);
        if (r >= 0 && status)
                r = link_status_append(m, status);
        if (r >= 0 && attachment)
                r = link_status_append_attachment(m, attachment);
        if (r >= 0 && failure != FAILURE_NONE)
                r = sd_bus_message_append(m, "{sv}", "Failure", "u", (uint32_t) failure);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                (void) sd_bus_send(link->bus, m, NULL);
}

void supervisor_link_flush(struct supervisor_link *link) {
        if (link->up)
                (void) sd_bus_flush(link->bus);
}
