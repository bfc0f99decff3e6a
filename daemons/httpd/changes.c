/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What takes a call of its own: attach, detach, cancel, and the heat map. Nothing is allowed or forbidden here beyond the switch "control": the supervisor asks polkit about the user that this process runs as. */

#include <errno.h>
#include <string.h>

#include "bus-json.h"
#include "host-config.h"
#include "supervisor-call.h"

struct option {
        const char *member, *bus_name;
        json_type type;
};

static const struct option attach_options[] = {
        { "read_only", "read-only", json_type_boolean },
        { "device", "device", json_type_string },
        { "image", "image", json_type_string },
        { "user", "user", json_type_string },
        { "steal", "steal", json_type_boolean },
        {},
};
static const struct option detach_options[] = {
        { "lazy", "lazy", json_type_boolean },
        { "cancel", "cancel", json_type_boolean },
        {},
};

static const struct option *find_option(const struct option *options, const char *member) {
        for (; options->member; options++)
                if (strcmp(options->member, member) == 0)
                        return options;
        return NULL;
}

/* Returns -EINVAL, with *ret_wrong the member, for what is no option or of another type. */
static int append_options(
        sd_bus_message *message, struct json_object *object, const struct option *options, const char **ret_wrong) {
        int r;

        json_object_object_foreach(object, member, value) {
                const struct option *option = find_option(options, member);

                *ret_wrong = member;
                if (!option || json_object_get_type(value) != option->type)
                        return -EINVAL;
                if (option->type == json_type_boolean)
                        r = sd_bus_message_append(
                                message, "{sv}", option->bus_name, "b", (int) json_object_get_boolean(value));
                else
                        r = sd_bus_message_append(
                                message, "{sv}", option->bus_name, "s", json_object_get_string(value));
                if (r < 0)
                        return r == -EINVAL ? -EIO : r;
        }
        return 0;
}

/* The body, an object; nothing is an empty one. Returns NULL when it is anything else. */
static struct json_object *parse_body(const struct exchange *exchange) {
        struct json_tokener *tokener;
        struct json_object *object;

        if (exchange->n_body == 0)
                return json_object_new_object();
        tokener = json_tokener_new_ex(8);
        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, exchange->body, (int) exchange->n_body + 1);
        if (json_tokener_get_error(tokener) != json_tokener_success ||
                json_tokener_get_parse_end(tokener) < exchange->n_body ||
                !json_object_is_type(object, json_type_object)) {
                json_object_put(object);
                object = NULL;
        }
        json_tokener_free(tokener);
        return object;
}

static void on_done(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        if (failure != FAILURE_NONE)
                (void) exchange_fail(exchange, supervisor_failure_status(failure), failure_lookup(failure)->bus_name,
                        "%s", message);
        else
                (void) exchange_reply(exchange, MHD_HTTP_OK, "application/json", "{}", 2);
}

/* Returns whether the page may go on. */
static bool control_is_on(const struct httpd *httpd, struct exchange *exchange) {
        if (httpd->settings->control)
                return true;
        (void) exchange_fail(exchange, MHD_HTTP_FORBIDDEN, failure_lookup(FAILURE_ACCESS_DENIED)->bus_name,
                "Changes are not switched on (\"control\" in httpd.json).");
        return false;
}

static void fail_errno(struct exchange *exchange, int r) {
        (void) exchange_fail(exchange, r == -EBUSY ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_INTERNAL_SERVER_ERROR,
                failure_lookup(r == -EBUSY ? FAILURE_BUSY : FAILURE_INTERNAL)->bus_name,
                "The supervisor cannot be called: %s", strerror(-r));
}

static void change_image(struct httpd *httpd, struct exchange *exchange, const char *member, const char *name,
        const struct option *options) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        const char *usage = failure_lookup(FAILURE_USAGE)->bus_name, *wrong = "";
        int r;

        if (!control_is_on(httpd, exchange))
                return;
        if (!image_local_name_is_valid(name)) {
                (void) exchange_fail(
                        exchange, MHD_HTTP_BAD_REQUEST, usage, "That cannot be an image's name on this host.");
                return;
        }
        object = parse_body(exchange);
        if (!object) {
                (void) exchange_fail(exchange, MHD_HTTP_BAD_REQUEST, usage, "The body is no JSON object.");
                return;
        }

        r = supervisor_call_new(httpd, member, name, &message);
        if (r >= 0)
                r = append_options(message, object, options, &wrong);
        if (r == -EINVAL) {
                (void) exchange_fail(exchange, MHD_HTTP_BAD_REQUEST, usage,
                        "\"%.64s\" is no option here, or has a value of another type.", wrong);
                return;
        }
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_done);
        if (r < 0)
                fail_errno(exchange, r);
}

void page_attach(struct httpd *httpd, struct exchange *exchange, const char *name) {
        change_image(httpd, exchange, "AttachImage", name, attach_options);
}

void page_detach(struct httpd *httpd, struct exchange *exchange, const char *name) {
        change_image(httpd, exchange, "DetachImage", name, detach_options);
}

void page_cancel(struct httpd *httpd, struct exchange *exchange, const char *id) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        char path[64];
        int r;

        if (!control_is_on(httpd, exchange))
                return;
        if (strlen(id) > 10 || id[strspn(id, "0123456789")] || !model_job(httpd->model, id)) {
                (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, "NotFound",
                        "There is no such job, or it ended more than a minute ago.");
                return;
        }

        (void) snprintf(path, sizeof path, JOB_PREFIX "/%s", id);
        r = sd_bus_message_new_method_call(httpd->bus, &message, BUS_NAME, path, BUS_JOB, "Cancel");
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_done);
        if (r < 0)
                fail_errno(exchange, r);
}

/* --- what is read by a call of its own --- */

static int add_heat(struct json_object *object, sd_bus_message *reply) {
        static const char *const keys[] = { "size", "half_life_usec", "reads", "writes" };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                struct json_object *value;
                int r;

                r = bus_json_read(reply, &value);
                if (r < 0)
                        return r;
                r = json_add(object, keys[i], value);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void on_heat(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

        if (failure != FAILURE_NONE)
                (void) exchange_fail(exchange, supervisor_failure_status(failure), failure_lookup(failure)->bus_name,
                        "%s", message);
        else if (!object || add_heat(object, reply) < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
        else
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, object);
}

void page_heat_map(struct httpd *httpd, struct exchange *exchange, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = sd_bus_path_encode(IMAGE_PREFIX, name, &path);
        if (r >= 0)
                r = sd_bus_message_new_method_call(httpd->bus, &message, BUS_NAME, path, BUS_IMAGE, "HeatMap");
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_heat);
        if (r < 0)
                fail_errno(exchange, r);
}
