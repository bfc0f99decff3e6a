/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What can be read. Every page that shows the model waits until it is fresh; members are named as `blockstorectl --json` names them, because both come from the same properties. */

#include <errno.h>
#include <string.h>

#include "bus-json.h"
#include "error-table.h"
#include "httpd.h"
#include "metrics.h"
#include "supervisor-call.h"

/* {key: value}; takes value. */
static void reply_with(struct exchange *exchange, const char *key, struct json_object *value) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

        if (!object) {
                json_object_put(value);
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
                return;
        }
        if (json_add(object, key, value) < 0) {
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
                return;
        }
        (void) exchange_reply_json(exchange, MHD_HTTP_OK, object);
}

static void show_images(struct httpd *httpd, struct exchange *exchange, int r) {
        if (r < 0)
                httpd_fail_bus(exchange, r);
        else
                reply_with(exchange, "images", model_images(httpd->model));
}

void page_images(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_images);
}

/* The name is looked for again: what was parsed of the address is gone by now. */
static void show_image(struct httpd *httpd, struct exchange *exchange, int r) {
        const char *name = strrchr(exchange->path, '/') + 1;
        struct json_object *image;

        if (r < 0) {
                httpd_fail_bus(exchange, r);
                return;
        }
        image = model_image(httpd->model, name);
        if (!image)
                (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, failure_lookup(FAILURE_NO_SUCH_IMAGE)->bus_name,
                        "This host knows no image of that name.");
        else
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, image);
}

void page_image(struct httpd *httpd, struct exchange *exchange, const char *name) {
        httpd_when_fresh(httpd, exchange, show_image);
}

/* As those of model_proxies() without an image. */
static int read_listed(sd_bus_message *reply, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *proxies = NULL;
        int r;

        r = bus_json_read_records(reply, proxy_fields, &proxies);
        for (size_t i = 0; r >= 0 && i < json_object_array_length(proxies); i++)
                r = json_add(json_object_array_get_idx(proxies, i), "images", json_object_new_array());
        if (r < 0)
                return r;
        *ret = TAKE_PTR(proxies);
        return 0;
}

static void on_listed(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        struct json_object *proxies = NULL;

        if (failure != FAILURE_NONE)
                (void) exchange_fail(exchange, supervisor_failure_status(failure), failure_lookup(failure)->bus_name,
                        "%s", message);
        else if (read_listed(reply, &proxies) < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
        else
                reply_with(exchange, "proxies", proxies);
}

/* Workers know best. Where there is none, the supervisor has the configured proxies asked. */
static void show_proxies(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(json_object_putp) struct json_object *proxies = r < 0 ? NULL : model_proxies(httpd->model);
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;

        if (proxies && json_object_array_length(proxies) > 0) {
                reply_with(exchange, "proxies", TAKE_PTR(proxies));
                return;
        }
        if (r >= 0)
                r = sd_bus_message_new_method_call(
                        httpd->bus, &message, BUS_NAME, BUS_PATH, BUS_MANAGER, "ListProxies");
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_listed);
        if (r < 0)
                httpd_fail_bus(exchange, r);
}

void page_proxies(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_proxies);
}

static void show_jobs(struct httpd *httpd, struct exchange *exchange, int r) {
        if (r < 0)
                httpd_fail_bus(exchange, r);
        else
                reply_with(exchange, "jobs", model_jobs(httpd->model));
}

void page_jobs(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_jobs);
}

static void show_job(struct httpd *httpd, struct exchange *exchange, int r) {
        struct json_object *job;

        if (r < 0) {
                httpd_fail_bus(exchange, r);
                return;
        }
        job = model_job(httpd->model, strrchr(exchange->path, '/') + 1);
        if (!job)
                (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, "NotFound",
                        "There is no such job, or it ended more than a minute ago.");
        else
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, job);
}

void page_job(struct httpd *httpd, struct exchange *exchange, const char *id) {
        httpd_when_fresh(httpd, exchange, show_job);
}

void page_failovers(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        reply_with(exchange, "failovers", json_object_get(model_failovers(httpd->model)));
}

void page_session(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

        if (!object || json_add(object, "version", json_object_new_string(BLOCKSTORE_VERSION)) < 0 ||
                json_add(object, "control", json_object_new_boolean(httpd->settings->control)) < 0 ||
                json_add(object, "token_needed",
                        json_object_new_boolean(
                                !exchange->certified && (!exchange->local || httpd->settings->local_token))) < 0 ||
                json_add(object, "csrf_token", json_object_new_string(httpd->csrf_token)) < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
        else
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, object);
}

static void show_metrics(struct httpd *httpd, struct exchange *exchange, int r) {
        enum metrics_format format = metrics_negotiate(exchange_header(exchange, "Accept"));
        _cleanup_free_ char *text = NULL;
        size_t n;

        /* That the supervisor does not answer is a measurement like others. */
        if (metrics_render(httpd->model, r >= 0, format, &text, &n) < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
        else
                (void) exchange_reply(exchange, MHD_HTTP_OK, metrics_content_type(format), text, n);
}

void page_metrics(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_metrics);
}

/* What an image suffers from, or NULL. Reconnecting is how a failover looks, and attaching how a boot does. */
static const char *complaint(struct json_object *image) {
        const char *state = json_string(image, "state");

        return strcmp(state, "failed") == 0 || strcmp(state, "parked") == 0 ? state : NULL;
}

static int add_problem(struct json_object *problems, const char *image, const char *state, const char *reason) {
        struct json_object *problem = json_object_new_object();
        int r;

        r = json_append(problems, problem);
        if (r >= 0 && image)
                r = json_add(problem, "image", json_object_new_string(image));
        if (r >= 0)
                r = json_add(problem, "state", json_object_new_string(state));
        if (r >= 0)
                r = json_add(problem, "reason", json_object_new_string(reason));
        return r;
}

/* Names of images are for those who may read; others get the verdict. */
static int health(struct httpd *httpd, bool up, bool details, struct json_object *object, bool *ret_healthy) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(httpd->model);
        struct json_object *problems = json_object_new_array();
        int r = 0;

        if (!images || !problems) {
                json_object_put(problems);
                return -ENOMEM;
        }
        *ret_healthy = up;
        if (!up)
                r = add_problem(problems, NULL, "no-supervisor", "blockstored does not answer");
        for (size_t i = 0; r >= 0 && up && i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);
                const char *state = complaint(image);

                if (!state)
                        continue;
                *ret_healthy = false;
                r = add_problem(problems, json_string(image, "name"), state, json_string(image, "state_reason"));
        }
        if (r < 0 || !details) {
                json_object_put(problems);
                problems = NULL;
        }
        if (r < 0)
                return r;
        r = json_add(object, "status", json_object_new_string(*ret_healthy ? "healthy" : "unhealthy"));
        if (problems) {
                int k = json_add(object, "problems", problems);

                r = r < 0 ? r : k;
        }
        return r;
}

static void show_health(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();
        bool healthy = false;

        if (!object || health(httpd, r >= 0, exchange->local || exchange->certified || httpd->settings->anonymous_read,
                               object, &healthy) < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
        else
                (void) exchange_reply_json(exchange, healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, object);
}

void page_health(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_health);
}

static void show_events(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(json_object_putp) struct json_object *snapshot = json_object_new_object();

        if (r < 0) {
                httpd_fail_bus(exchange, r);
                return;
        }
        if (!snapshot || json_add(snapshot, "images", model_images(httpd->model)) < 0 ||
                json_add(snapshot, "jobs", model_jobs(httpd->model)) < 0 ||
                json_add(snapshot, "failovers", json_object_get(model_failovers(httpd->model))) < 0)
                r = -ENOMEM;
        else
                r = events_listen(httpd->events, exchange, snapshot);
        if (r == -EBUSY)
                (void) exchange_fail(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Busy",
                        "%u listen already, and there are no more than that.", EVENTS_LISTENERS_MAX);
        else if (r < 0)
                (void) exchange_reply_json(exchange, MHD_HTTP_OK, NULL);
}

void page_events(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        httpd_when_fresh(httpd, exchange, show_events);
}
