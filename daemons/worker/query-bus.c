/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.blockstore.Store: a method call becomes one packet to the proxy, or several for a long list, and its answer the reply. */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "config.h"
#include "query-internal.h"
#include "query-options.h"

static void query_operation_free(struct query_operation *operation) {
        sd_bus_message_unref(operation->call);
        sd_bus_message_unref(operation->reply);
        free(operation);
}

void query_operationp(struct query_operation **operation) {
        if (*operation)
                query_operation_free(*operation);
}

int query_operation_new(struct query *q, sd_bus_message *m, struct query_operation **ret, sd_bus_error *error) {
        struct query_operation *operation;

        if (!q->engine || q->refused) {
                (void) peer_bus_error_set(error, q->refused, "%s", q->sentence);
                return -EIO; /* what was set is what the caller sees */
        }

        operation = calloc(1, sizeof(*operation));
        if (!operation)
                return -ENOMEM;
        operation->query = q;
        operation->call = sd_bus_message_ref(m);
        *ret = operation;
        return 0;
}

void query_reply_error(struct query_operation *operation, enum failure failure, const char *message) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        (void) peer_bus_error_set(&error, failure, "%s", message);
        (void) sd_bus_reply_method_error(operation->call, &error);
}

/* Whether the proxy said yes; answers the call when not. */
bool query_succeeded(struct query_operation *operation, int error, uint32_t status, const char *message) {
        struct query *q = operation->query;
        char text[512];

        if (error < 0) {
                if (q->refused)
                        query_reply_error(operation, q->refused, message[0] ? message : q->sentence);
                else if (error == -EACCES)
                        query_reply_error(operation, FAILURE_ACCESS_DENIED, message);
                else {
                        snprintf(text, sizeof(text), "No proxy could be asked: %s",
                                message[0] ? message : "none answers.");
                        query_reply_error(operation, error == -EOPNOTSUPP ? FAILURE_SYSTEM : FAILURE_NO_PROXY, text);
                }
                return false;
        }

        switch (status) {
        case IVBS_STATUS_OK:
                return true;
        case IVBS_STATUS_NOT_FOUND:
                snprintf(text, sizeof(text), "The store has no image \"%s\".", operation->name);
                query_reply_error(operation, FAILURE_NO_SUCH_IMAGE, text);
                return false;
        case IVBS_STATUS_ALREADY_EXISTS:
                snprintf(text, sizeof(text), "The store has an image \"%s\" already.", operation->name);
                query_reply_error(operation, FAILURE_ALREADY_EXISTS, text);
                return false;
        case IVBS_STATUS_PERMISSION_DENIED:
                snprintf(text, sizeof(text), "User \"%s\" may not do this at the store.", q->credentials->user);
                query_reply_error(operation, FAILURE_ACCESS_DENIED, text);
                return false;
        case IVBS_STATUS_IN_USE:
        case IVBS_STATUS_HELD:
                snprintf(text, sizeof(text), "Image \"%s\" is attached by a host. Detach it first.", operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return false;
        case IVBS_STATUS_HAS_SNAPSHOTS:
                snprintf(text, sizeof(text), "Image \"%s\" has snapshots: remove them first, or with it.",
                        operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return false;
        case IVBS_STATUS_NO_SPACE:
                query_reply_error(operation, FAILURE_IO, "The store has no space left.");
                return false;
        case IVBS_STATUS_INVALID_REQUEST:
                query_reply_error(operation, FAILURE_USAGE,
                        "The proxy does not accept the request: is the size a multiple of 512 bytes, and the name "
                        "without '@'?");
                return false;
        default:
                snprintf(text, sizeof(text), "The store failed: %s.", ivbs_status_to_string(status));
                query_reply_error(operation, FAILURE_IO, text);
                return false;
        }
}

static int append_image(sd_bus_message *reply, const uint8_t *payload, size_t n, size_t *offset,
        char ret_name[static IVBS_IMAGE_NAME_SIZE]) {
        char uuid[SD_ID128_UUID_STRING_MAX];
        struct ivbs_listed_image image;
        int r;

        r = ivbs_listed_image_decode(payload, n, offset, &image);
        if (r < 0)
                return r;
        memcpy(ret_name, image.name, sizeof(image.name));
        return sd_bus_message_append(reply, "(sttsb)", image.name, image.size, image.used,
                query_uuid_to_string(image.uuid, uuid), (int) ((image.flags & IVBS_LISTED_ATTACHED) != 0));
}

static int ask_list(struct query_operation *operation, const char *after);

static const struct query_list image_list = {
        .row = "(sttsb)",
        .nonsense = "The proxy's list of images makes no sense.",
        .ask = ask_list,
        .append = append_image,
};

static void on_list(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        query_list_answer(userdata, &image_list, error, status, payload, n, message);
}

static int ask_list(struct query_operation *operation, const char *after) {
        uint8_t payload[IVBS_LIST_IMAGES_SIZE];
        int r;

        r = ivbs_list_images_encode(after[0] ? after : NULL, IVBS_IMAGES_PER_LIST, payload);
        if (r < 0)
                return r;
        return engine_call(operation->query->engine, IVBS_OP_LIST_IMAGES, payload, sizeof(payload), QUERY_CALL_USEC,
                on_list, operation);
}

static int method_list_images(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        int r;

        r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;
        r = ask_list(operation, "");
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

int query_check_name(const char *name, sd_bus_error *error) {
        if (image_store_name_is_valid(name))
                return 0;
        return peer_bus_error_set(error, FAILURE_USAGE,
                "That cannot be an image's name: 1-255 bytes of UTF-8, without '/' and control characters, not "
                "beginning with '.'.");
}

int query_check_size(uint64_t size, sd_bus_error *error) {
        if (size > 0 && size <= IVBS_IMAGE_SIZE_MAX && size % 512 == 0)
                return 0;
        return peer_bus_error_set(
                error, FAILURE_USAGE, "An image's size is a multiple of 512 bytes, and not %" PRIu64 ".", size);
}

static void on_removed(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;

        if (query_succeeded(operation, error, status, message))
                (void) sd_bus_reply_method_return(operation->call, NULL);
}

static int method_remove_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const struct query_option options[] = {
                { "uuid", 0 },
                { "snapshots", IVBS_REMOVE_SNAPSHOTS_TOO },
                {},
        };
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        struct ivbs_remove_image remove = {};
        uint8_t payload[IVBS_REMOVE_IMAGE_SIZE];
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = query_check_name(name, error);
        if (r >= 0)
                r = query_read_options(m, options, &remove.flags, remove.uuid, error);
        if (r < 0)
                return r;
        strcpy(remove.name, name);

        r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;
        strcpy(operation->name, name);
        r = ivbs_remove_image_encode(&remove, payload);
        if (r >= 0)
                r = engine_call(operation->query->engine, IVBS_OP_REMOVE_IMAGE, payload, sizeof(payload),
                        QUERY_CALL_USEC, on_removed, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

/* The connections that the question itself goes by serve no image. Nor does one that is drained, which answers us all the same. */
static enum proxy_state state_of(const struct engine_proxy *proxy) {
        bool ours = proxy->state == PROXY_ACTIVE || proxy->state == PROXY_STANDBY;
        bool reachable = ours || proxy->state == PROXY_REACHABLE;

        if (!reachable)
                return proxy->state;
        return proxy->drained ? PROXY_DRAINING : PROXY_REACHABLE;
}

static const char *reason_of(const struct engine_proxy *proxy) {
        if (!proxy->reason[0] && state_of(proxy) == PROXY_DRAINING)
                return "it is drained: nothing can be attached there";
        return proxy->reason;
}

static void on_surveyed(void *userdata, const struct engine_status *status) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        bool probe = strcmp(sd_bus_message_get_member(operation->call), "ProbeProxies") == 0;
        const char *record = probe ? "sustsus" : "susts";
        char structure[16];
        int r;

        snprintf(structure, sizeof(structure), "(%s)", record);
        r = sd_bus_message_new_method_return(operation->call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', structure);
        for (size_t i = 0; r >= 0 && i < status->n_proxies; i++) {
                const struct engine_proxy *p = status->proxies + i;

                r = sd_bus_message_open_container(reply, 'r', record);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "susts", p->address, (uint32_t) p->priority,
                                proxy_state_to_string(state_of(p)), p->round_trip_usec,
                                p->announced ? "announced" : "configured");
                if (r >= 0 && probe)
                        r = sd_bus_message_append(reply, "us", (uint32_t) p->failures, reason_of(p));
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                (void) sd_bus_send(NULL, reply, NULL);
}

static int method_list_proxies(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        int r;

        r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;
        r = engine_survey(operation->query->engine, on_surveyed, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

static void on_drained(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        enum failure failure = FAILURE_NO_PROXY;
        char text[640];

        if (error == 0 && status == IVBS_STATUS_OK) {
                (void) sd_bus_reply_method_return(operation->call, NULL);
                return;
        }

        if (error == -ETIMEDOUT)
                failure = FAILURE_TIMEOUT;
        else if (error == -EACCES || (error == 0 && status == IVBS_STATUS_PERMISSION_DENIED))
                failure = FAILURE_ACCESS_DENIED;
        else if (error == -EOPNOTSUPP || (error == 0 && status == IVBS_STATUS_INVALID_REQUEST))
                failure = FAILURE_SYSTEM;
        else if (error == 0)
                failure = FAILURE_IO;

        if (error < 0)
                snprintf(text, sizeof(text), "Proxy %s could not be asked: %s.", operation->name, message);
        else if (failure == FAILURE_ACCESS_DENIED)
                snprintf(text, sizeof(text),
                        "User \"%s\" may not drain proxy %s: that is for administrators (--admin of \"blockstorectl "
                        "user "
                        "add\").",
                        operation->query->credentials->user, operation->name);
        else
                snprintf(text, sizeof(text), "Proxy %s did not do it: %s.", operation->name,
                        ivbs_status_to_string(status));
        query_reply_error(operation, failure, text);
}

static int method_drain_proxy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        _cleanup_free_ char *address = NULL;
        uint8_t payload[IVBS_DRAIN_SIZE];
        const char *text;
        int undo, r; /* sd-bus writes an int for "b" */

        r = sd_bus_message_read(m, "sb", &text, &undo);
        if (r < 0)
                return r;
        r = address_normalise(text, &address);
        if (r == -EINVAL)
                return peer_bus_error_set(error, FAILURE_USAGE,
                        "That is not a proxy's address: expected HOST, HOST:PORT or [IPV6]:PORT.");
        if (r < 0)
                return r;

        r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;
        snprintf(operation->name, sizeof(operation->name), "%s", address);
        ivbs_drain_encode(undo ? IVBS_DRAIN_UNDO : 0, payload);
        r = engine_call_proxy(operation->query->engine, address, IVBS_OP_DRAIN, payload, sizeof(payload),
                QUERY_CALL_USEC, on_drained, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

const sd_bus_vtable query_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("ListImages", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sttsb)", images), method_list_images,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
                SD_BUS_RESULT("s", uuid), query_create_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("PreallocateImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
                SD_BUS_RESULT("s", job), query_create_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ResizeImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
                SD_BUS_RESULT("t", size), query_resize_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveImage", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                method_remove_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RenameImage", SD_BUS_ARGS("s", name, "s", new_name, "a{sv}", options),
                SD_BUS_NO_RESULT, query_rename_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateSnapshot", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_RESULT("s", job), query_create_snapshot, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSnapshots", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a(stttsb)", snapshots),
                query_list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveSnapshot", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_NO_RESULT, query_remove_snapshot, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CloneImage", SD_BUS_ARGS("s", name, "s", snapshot, "s", new_name, "a{sv}", options),
                SD_BUS_RESULT("s", job), query_clone_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RollBackImage", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_RESULT("s", job), query_roll_back_image, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStoreJob", SD_BUS_ARGS("s", job),
                SD_BUS_RESULT("s", state, "t", done, "t", total, "t", elapsed, "s", failure, "s", message),
                query_get_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CancelStoreJob", SD_BUS_ARGS("s", job), SD_BUS_NO_RESULT, query_cancel_job,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStoreStatus", SD_BUS_NO_ARGS,
                SD_BUS_RESULT("t", total, "t", available, "u", clients, "a(ssssbbt)", sessions), query_store_status,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ScrubImage", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", job), query_scrub_image,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetImageCare", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a{sv}", care),
                query_get_image_care, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetImageLimits", SD_BUS_ARGS("s", name, "t", iops, "t", bandwidth, "t", burst),
                SD_BUS_NO_RESULT, query_set_image_limits, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListProxies", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(susts)", proxies), method_list_proxies,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ProbeProxies", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sustsus)", proxies),
                method_list_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DrainProxy", SD_BUS_ARGS("s", address, "b", undo), SD_BUS_NO_RESULT,
                method_drain_proxy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};
