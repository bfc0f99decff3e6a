/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "log.h"
#include "supervisor-call.h"

/* Below what an exchange may take; the supervisor answers an attach after 20 s at the latest. */
#define CALL_USEC   (40U * UINT64_C(1000000))
#define CHANGES_MAX 16U

struct pending {
        struct httpd *httpd;
        struct exchange *exchange; /* NULL: gone */
        supervisor_reply_t done;
};

unsigned supervisor_failure_status(enum failure failure) {
        switch (failure) {
        case FAILURE_USAGE:
                return MHD_HTTP_BAD_REQUEST;
        case FAILURE_ACCESS_DENIED:
                return MHD_HTTP_FORBIDDEN;
        case FAILURE_NO_SUCH_IMAGE:
                return MHD_HTTP_NOT_FOUND;
        case FAILURE_BUSY:
        case FAILURE_HELD:
        case FAILURE_NOT_ATTACHED:
        case FAILURE_ALREADY_EXISTS:
                return MHD_HTTP_CONFLICT;
        case FAILURE_NO_PROXY:
        case FAILURE_SYSTEM:
                return MHD_HTTP_SERVICE_UNAVAILABLE;
        case FAILURE_TIMEOUT:
                return MHD_HTTP_GATEWAY_TIMEOUT;
        case FAILURE_NONE:
        case FAILURE_PROTOCOL:
        case FAILURE_INTERNAL:
        case FAILURE_IO:
        case FAILURE_CONFIGURATION:
                break;
        }
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static void on_gone(struct exchange *exchange, void *userdata) {
        struct pending *pending = userdata;

        pending->exchange = NULL;
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct pending *pending = userdata;
        const sd_bus_error *failed = sd_bus_message_get_error(reply);
        struct exchange *exchange = pending->exchange;

        watch_note_change(pending->httpd->watch);
        if (exchange) {
                exchange_on_gone(exchange, NULL, NULL);
                pending->done(pending->httpd, exchange, failed ? failure_from_bus_name(failed->name) : FAILURE_NONE,
                        failed ? failed->message ?: failed->name : "", reply);
        }
        return 0;
}

static void on_slot_gone(void *userdata) {
        struct pending *pending = userdata;

        pending->httpd->n_changes--;
        free(pending);
}

int supervisor_call(struct httpd *httpd, struct exchange *exchange, sd_bus_message *message, supervisor_reply_t done) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = message;
        sd_bus_slot *slot = NULL;
        struct pending *pending;
        int r;

        if (httpd->n_changes >= CHANGES_MAX)
                return -EBUSY;
        pending = malloc(sizeof(*pending));
        if (!pending)
                return -ENOMEM;
        *pending = (struct pending){ .httpd = httpd, .exchange = exchange, .done = done };

        r = sd_bus_call_async(httpd->bus, &slot, owned, on_reply, pending, CALL_USEC);
        if (r < 0) {
                free(pending);
                return r;
        }
        httpd->n_changes++;
        (void) sd_bus_slot_set_destroy_callback(slot, on_slot_gone);
        (void) sd_bus_slot_set_floating(slot, true);
        sd_bus_slot_unref(slot);
        exchange_on_gone(exchange, on_gone, pending);
        exchange_wait(exchange);
        return 0;
}

int supervisor_call_new(struct httpd *httpd, const char *member, const char *name, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        if ((r = sd_bus_message_new_method_call(httpd->bus, &message, BUS_NAME, BUS_PATH, BUS_MANAGER, member)) < 0 ||
                (r = sd_bus_message_append(message, "s", name)) < 0 ||
                (r = sd_bus_message_open_container(message, SD_BUS_TYPE_ARRAY, "{sv}")) < 0)
                return r;

        *ret = TAKE_PTR(message);
        return 0;
}
