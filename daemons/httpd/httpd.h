/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The program as a whole, and its pages: each takes a request that guard has let through, and answers it. */

#include "events.h"
#include "exchange.h"
#include "model.h"
#include "server.h"
#include "settings.h"
#include "watch.h"

#define CSRF_TOKEN_SIZE 33U /* hexadecimal, with its 0 */

struct assets;

struct httpd {
        sd_event *event;
        sd_bus *bus;
        struct settings *settings;
        struct model *model;
        struct watch *watch;
        struct events *events;
        struct server *server;
        struct assets *assets;
        char csrf_token[CSRF_TOKEN_SIZE];
        unsigned n_changes; /* calls to the supervisor under way */
};

/* Sets everything up, with the sockets that systemd passed on. Returns 0, or a negative errno that has been logged. */
int httpd_new(struct httpd **ret);
struct httpd *httpd_free(struct httpd *httpd);
DEFINE_CLEANUP(struct httpd *, httpd_free);
int httpd_run(struct httpd *httpd);

/* sockets.c: listens on what systemd passes on. Returns 0, or a negative errno that has been logged: -EINVAL when it must not be served as it is. */
int sockets_take(struct httpd *httpd);

/* routes.c */
extern const struct server_ops httpd_server_ops;

/* pages.c: what is read. argument is what a route's address ends with, "" for none. */
void page_images(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_image(struct httpd *httpd, struct exchange *exchange, const char *name);
void page_proxies(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_jobs(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_job(struct httpd *httpd, struct exchange *exchange, const char *id);
void page_failovers(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_session(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_metrics(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_health(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_events(struct httpd *httpd, struct exchange *exchange, const char *argument);
/* assets.c */
void page_asset(struct httpd *httpd, struct exchange *exchange, const char *name);
void page_index(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_openapi(struct httpd *httpd, struct exchange *exchange, const char *argument);
/* changes.c */
void page_attach(struct httpd *httpd, struct exchange *exchange, const char *name);
void page_detach(struct httpd *httpd, struct exchange *exchange, const char *name);
void page_heat_map(struct httpd *httpd, struct exchange *exchange, const char *name);
void page_cancel(struct httpd *httpd, struct exchange *exchange, const char *id);
/* classic-pages.c */
void page_classic_command(struct httpd *httpd, struct exchange *exchange, const char *argument);
void page_classic_status(struct httpd *httpd, struct exchange *exchange, const char *rest);

int assets_load(struct assets **ret, char **ret_message);
struct assets *assets_free(struct assets *assets);

/* Has page called when the model is fresh, and with r < 0 when the supervisor does not answer; not at all when the exchange is gone before. */
void httpd_when_fresh(struct httpd *httpd, struct exchange *exchange,
        void (*page)(struct httpd *httpd, struct exchange *exchange, int r));
/* 503 with the reason. */
void httpd_fail_bus(struct exchange *exchange, int r);
