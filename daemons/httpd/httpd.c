/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Puts the rooms together: bus and model on one side, HTTP on the other, and between them who has to wait for whom. Everything happens in one thread and one loop; nothing here blocks on the supervisor. */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#include <systemd/sd-daemon.h>

#include "httpd.h"
#include "log.h"

static void on_image_changed(struct json_object *image, void *userdata) {
        const struct httpd *httpd = userdata;

        events_send(httpd->events, "image", image);
}

static void send_gone(struct httpd *httpd, const char *event, const char *key, const char *value) {
        _cleanup_(json_object_putp) struct json_object *object = json_object_new_object();

        if (object && json_add(object, key, json_object_new_string(value)) >= 0)
                events_send(httpd->events, event, object);
}

static void on_image_removed(const char *name, void *userdata) {
        send_gone(userdata, "image-removed", "name", name);
}

static void on_job_changed(struct json_object *job, void *userdata) {
        const struct httpd *httpd = userdata;

        events_send(httpd->events, "job", job);
}

static void on_job_removed(const char *id, void *userdata) {
        send_gone(userdata, "job-removed", "id", id);
}

static void on_failed_over(struct json_object *failover, void *userdata) {
        const struct httpd *httpd = userdata;

        events_send(httpd->events, "failover", failover);
}

static const struct model_ops model_ops = {
        .image_changed = on_image_changed,
        .image_removed = on_image_removed,
        .job_changed = on_job_changed,
        .job_removed = on_job_removed,
        .failed_over = on_failed_over,
};

static void on_counters(int r, void *userdata) {
        struct httpd *httpd = userdata;
        _cleanup_(json_object_putp) struct json_object *counters = r < 0 ? NULL : model_counters(httpd->model);

        events_send(httpd->events, "counters", counters);
}

/* Once a second while somebody listens. With nothing attached there are no counters, and the supervisor shall be allowed to leave. */
static void on_tick(void *userdata) {
        struct httpd *httpd = userdata;
        struct watch_waiter *waiter;

        if (model_is_busy(httpd->model))
                (void) watch_ask(httpd->watch, on_counters, httpd, &waiter);
}

/* --- waiting for a fresh model --- */

struct waiting {
        struct httpd *httpd;
        struct exchange *exchange;
        struct watch_waiter *waiter;
        void (*page)(struct httpd *httpd, struct exchange *exchange, int r);
};

static void on_exchange_gone(struct exchange *exchange, void *userdata) {
        struct waiting *waiting = userdata;

        watch_waiter_free(waiting->waiter);
        free(waiting);
}

static void on_fresh(int r, void *userdata) {
        struct waiting *waiting = userdata;

        exchange_on_gone(waiting->exchange, NULL, NULL);
        waiting->page(waiting->httpd, waiting->exchange, r);
        free(waiting);
}

void httpd_fail_bus(struct exchange *exchange, int r) {
        (void) exchange_fail(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "org.blockstore.Error.SystemNotReady",
                "blockstored does not answer: %s. \"systemctl status blockstored\" may know more.", strerror(-r));
}

void httpd_when_fresh(struct httpd *httpd, struct exchange *exchange,
        void (*page)(struct httpd *httpd, struct exchange *exchange, int r)) {
        struct waiting *waiting = malloc(sizeof(*waiting));
        int r;

        if (!waiting) {
                page(httpd, exchange, -ENOMEM);
                return;
        }
        *waiting = (struct waiting){ .httpd = httpd, .exchange = exchange, .page = page };
        r = watch_ask(httpd->watch, on_fresh, waiting, &waiting->waiter);
        if (r < 0) {
                free(waiting);
                page(httpd, exchange, r);
                return;
        }
        exchange_on_gone(exchange, on_exchange_gone, waiting);
        exchange_wait(exchange);
}

/* --- beginning and end --- */

static int make_csrf_token(struct httpd *httpd) {
        unsigned char random[(CSRF_TOKEN_SIZE - 1) / 2];

        if (getrandom(random, sizeof random, 0) != (ssize_t) sizeof random)
                return -EIO;
        for (size_t i = 0; i < sizeof random; i++)
                (void) snprintf(httpd->csrf_token + 2 * i, 3, "%02x", random[i]);
        return 0;
}

static int open_bus(struct httpd *httpd) {
        int r;

        r = sd_bus_open_system(&httpd->bus);
        if (r < 0)
                return r;
        /* There is nothing to be shown without a bus; systemd starts us again for the next request. */
        r = sd_bus_set_exit_on_disconnect(httpd->bus, true);
        if (r < 0)
                return r;
        return sd_bus_attach_event(httpd->bus, httpd->event, 0);
}

static int load(struct httpd *httpd) {
        _cleanup_free_ char *message = NULL;
        int r;

        r = settings_load(&httpd->settings, &message);
        if (r >= 0)
                r = assets_load(&httpd->assets, &message);
        if (r < 0)
                log_event(LOG_ERR, NULL, "%s", message ?: strerror(-r));
        return r;
}

static int new_server(struct httpd *httpd, const char **ret_what) {
        const struct settings *settings = httpd->settings;
        const struct mhd_tls tls = {
                .certificate = settings->certificate,
                .key = settings->key,
                .client_ca = settings->client_ca,
        };
        int r;

        r = server_new(httpd->event, tls.certificate ? &tls : NULL, &httpd_server_ops, httpd, &httpd->server);
        if (r != -EKEYREJECTED)
                return r;
        *ret_what = "TLS with the credentials certificate, key and client-ca";
        return -EINVAL;
}

static int set_up(struct httpd *httpd, const char **ret_what) {
        int r;

        *ret_what = "the event loop";
        if ((r = sd_event_default(&httpd->event)) < 0 || (r = sd_event_set_watchdog(httpd->event, true)) < 0 ||
                (r = sd_event_add_signal(httpd->event, NULL, SIGTERM, NULL, NULL)) < 0 ||
                (r = sd_event_add_signal(httpd->event, NULL, SIGINT, NULL, NULL)) < 0 ||
                (r = make_csrf_token(httpd)) < 0)
                return r;
        *ret_what = "the system bus";
        r = open_bus(httpd);
        if (r < 0)
                return r;
        *ret_what = "the HTTP server";
        if ((r = model_new(&model_ops, httpd, &httpd->model)) < 0 ||
                (r = watch_new(httpd->bus, httpd->event, httpd->model, &httpd->watch)) < 0 ||
                (r = events_new(httpd->event, on_tick, httpd, &httpd->events)) < 0 ||
                (r = new_server(httpd, ret_what)) < 0)
                return r;
        *ret_what = NULL; /* they are named where it is known which of them it is */
        return sockets_take(httpd);
}

int httpd_new(struct httpd **ret) {
        _cleanup_(httpd_freep) struct httpd *httpd = calloc(1, sizeof(*httpd));
        const char *what;
        int r;

        if (!httpd)
                return -ENOMEM;
        r = load(httpd);
        if (r < 0)
                return r;
        r = set_up(httpd, &what);
        if (r < 0) {
                if (what)
                        log_event(LOG_ERR, NULL, "Cannot set up %s: %s", what, strerror(-r));
                return r;
        }

        *ret = TAKE_PTR(httpd);
        return 0;
}

struct httpd *httpd_free(struct httpd *httpd) {
        if (!httpd)
                return NULL;

        /* Exchanges first: they know the others. */
        server_free(httpd->server);
        events_free(httpd->events);
        watch_free(httpd->watch);
        model_free(httpd->model);
        assets_free(httpd->assets);
        settings_free(httpd->settings);
        sd_bus_flush_close_unref(httpd->bus);
        sd_event_unref(httpd->event);
        explicit_bzero(httpd->csrf_token, sizeof httpd->csrf_token);
        free(httpd);
        return NULL;
}

int httpd_run(struct httpd *httpd) {
        int r;

        /* So that failovers are seen from the beginning, and the first page has something to show. */
        watch_refresh(httpd->watch);
        (void) sd_notify(0, "READY=1\nSTATUS=Serving");
        r = sd_event_loop(httpd->event);
        (void) sd_notify(0, "STOPPING=1");
        return r;
}
