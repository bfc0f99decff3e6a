/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which address is whose, and what has to be shown before it is served. The order of the questions is that of their harm: first those that a browser can be made to violate by a foreign page, then who asks.
 *
 *  - Host names this server (DNS rebinding).
 *  - What changes something comes from no foreign page: Origin, Sec-Fetch-Site, the content type that no form can send, and the token of /api/v1/session, which only a page of ours can read.
 *  - From beyond this host: the token of the configuration, or a certificate of the client CA. Who has neither can only ask for health, and read where that is allowed. A browser shows its certificate to
 *    whatever asks in its name, so unlike the token it proves nothing against the first two. */

#include <string.h>

#include "guard.h"
#include "httpd.h"

enum need {
        NEED_NOTHING, /* health, and the page's own files, which are public anyway */
        NEED_READ,
        NEED_CHANGE,
        NEED_CLASSIC,        /* reads; only where the old protocol is on */
        NEED_CLASSIC_CHANGE, /* the same, and may change something */
};

struct route {
        const char *method, *path; /* one "*" at the end, or before a last word, stands for one name */
        enum need need;
        void (*page)(struct httpd *httpd, struct exchange *exchange, const char *argument);
};

static const struct route routes[] = {
        { "GET", "/", NEED_NOTHING, page_index },
        { "GET", "/assets/*", NEED_NOTHING, page_asset },
        { "GET", "/check-health", NEED_NOTHING, page_health },
        { "GET", "/metrics", NEED_READ, page_metrics },
        { "GET", "/api/v1/openapi.json", NEED_NOTHING, page_openapi },
        { "GET", "/api/v1/session", NEED_READ, page_session },
        { "GET", "/api/v1/images", NEED_READ, page_images },
        { "GET", "/api/v1/images/*", NEED_READ, page_image },
        { "GET", "/api/v1/images/*/heatmap", NEED_READ, page_heat_map },
        { "POST", "/api/v1/images/*/attach", NEED_CHANGE, page_attach },
        { "POST", "/api/v1/images/*/detach", NEED_CHANGE, page_detach },
        { "GET", "/api/v1/proxies", NEED_READ, page_proxies },
        { "GET", "/api/v1/failovers", NEED_READ, page_failovers },
        { "GET", "/api/v1/jobs", NEED_READ, page_jobs },
        { "GET", "/api/v1/jobs/*", NEED_READ, page_job },
        { "POST", "/api/v1/jobs/*/cancel", NEED_CHANGE, page_cancel },
        { "GET", "/api/v1/events", NEED_READ, page_events },
        { "POST", "/", NEED_CLASSIC_CHANGE, page_classic_command },
        { "GET", "/status", NEED_CLASSIC, page_classic_status },
        { "GET", "/status/", NEED_CLASSIC, page_classic_status },
        { "GET", "/status/*", NEED_CLASSIC, page_classic_status },
};

#define ARGUMENT_MAX 128U

/* Whether path is of that pattern; argument gets what the star stands for. */
static bool matches(const char *pattern, const char *path, char argument[static ARGUMENT_MAX]) {
        const char *star = strchr(pattern, '*');
        size_t before = star ? (size_t) (star - pattern) : 0, n;

        argument[0] = 0;
        if (!star)
                return strcmp(pattern, path) == 0;
        if (strncmp(pattern, path, before) != 0)
                return false;

        path += before;
        n = strcspn(path, "/");
        if (n == 0 || n >= ARGUMENT_MAX || strcmp(path + n, star + 1) != 0)
                return false;
        memcpy(argument, path, n);
        argument[n] = 0;
        return true;
}

/* NULL: there is none. *ret_allowed: the methods that the address has, when it is not this one. */
static const struct route *find(
        const struct exchange *exchange, char argument[static ARGUMENT_MAX], const char **ret_allowed) {
        bool get = false, post = false;

        for (size_t i = 0; i < ELEMENTSOF(routes); i++) {
                if (!matches(routes[i].path, exchange->path, argument))
                        continue;
                if (strcmp(routes[i].method, exchange->method) == 0)
                        return routes + i;
                get = get || routes[i].method[0] == 'G';
                post = post || routes[i].method[0] == 'P';
        }
        *ret_allowed = get && post ? "GET, HEAD, POST" : get ? "GET, HEAD" : post ? "POST" : NULL;
        return NULL;
}

/* An API's request proves by a header that no foreign page can add that it is none of theirs; a classic client knows no such header, so there it is only refused what comes from a browser at all. */
static bool is_forged(
        const struct httpd *httpd, const struct exchange *exchange, const struct route *route, bool has_token) {
        const char *origin = exchange_header(exchange, "Origin"), *site = exchange_header(exchange, "Sec-Fetch-Site");

        if (!guard_origin_matches(origin, exchange_header(exchange, "Host")) || !guard_site_is_own(site))
                return true;
        if (route->need == NEED_CLASSIC_CHANGE)
                return origin || site;
        return !has_token && !guard_token_equals(exchange_header(exchange, "X-Blockstore-CSRF"), httpd->csrf_token);
}

static void refuse_token(struct exchange *exchange, const struct httpd *httpd) {
        const struct settings *settings = httpd->settings;

        (void) exchange_fail(exchange, settings->token ? MHD_HTTP_UNAUTHORIZED : MHD_HTTP_FORBIDDEN,
                "org.blockstore.Error.AccessDenied",
                settings->token && settings->client_ca
                        ? "This needs the token, as \"Authorization: Bearer TOKEN\", or a client certificate."
                : settings->token ? "This needs the token, as \"Authorization: Bearer TOKEN\"."
                : settings->client_ca
                        ? "This needs a client certificate that the client CA of this host has signed."
                        : "Not without a token, and none is set on this host (blockstore-httpd(8), ACCESS).");
}

/* Returns whether the request may go on; else it has been answered. */
static bool admit(const struct httpd *httpd, struct exchange *exchange, const struct route *route) {
        const struct settings *settings = httpd->settings;
        bool has_token = guard_token_equals(guard_bearer(exchange_header(exchange, "Authorization")), settings->token);
        bool change = route->need == NEED_CHANGE || route->need == NEED_CLASSIC_CHANGE;
        bool classic = route->need == NEED_CLASSIC || route->need == NEED_CLASSIC_CHANGE;
        const char *content_type = exchange_header(exchange, "Content-Type");

        if (classic && !settings->classic) {
                (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, "NotFound",
                        "The classic control protocol is not switched on (\"classic\" in httpd.json).");
                return false;
        }
        if (change && is_forged(httpd, exchange, route, has_token)) {
                (void) exchange_fail(exchange, MHD_HTTP_FORBIDDEN, "Forged",
                        "This request seems to come from a page of another site, or lacks X-Blockstore-CSRF.");
                return false;
        }
        if (route->need == NEED_CHANGE && content_type && !guard_content_is_json(content_type)) {
                (void) exchange_fail(exchange, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "InvalidArgument",
                        "Only application/json is understood here.");
                return false;
        }

        if (has_token || exchange->certified || route->need == NEED_NOTHING)
                return true;
        if (!exchange->local && !(route->need == NEED_READ && settings->anonymous_read)) {
                refuse_token(exchange, httpd);
                return false;
        }
        if (exchange->local && change && settings->local_token) {
                refuse_token(exchange, httpd);
                return false;
        }
        return true;
}

static const struct route *look_up(
        const struct httpd *httpd, struct exchange *exchange, char argument[static ARGUMENT_MAX]) {
        const char *allowed = NULL;
        const struct route *route;

        if (!guard_host_is_allowed(
                    exchange_header(exchange, "Host"), httpd->settings->hosts, httpd->settings->n_hosts)) {
                (void) exchange_fail(exchange, MHD_HTTP_MISDIRECTED_REQUEST, "Misdirected",
                        "This server is not known by the name in the Host header; \"hosts\" in httpd.json can add "
                        "it.");
                return NULL;
        }
        route = find(exchange, argument, &allowed);
        if (!route && allowed)
                (void) exchange_refuse_method(exchange, allowed);
        else if (!route)
                (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, "NotFound",
                        "There is nothing at this address; /api/v1/openapi.json tells what there is.");
        return route;
}

/* Before a body is read, so that whoever may not send one is told at once. */
static void check(struct exchange *exchange, void *userdata) {
        const struct httpd *httpd = userdata;
        char argument[ARGUMENT_MAX];
        const struct route *route;
        const char *length = exchange_header(exchange, "Content-Length");

        route = look_up(httpd, exchange, argument);
        if (!route || !admit(httpd, exchange, route))
                return;
        if (length && strtoull(length, NULL, 10) > BODY_MAX)
                (void) exchange_fail(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "InvalidArgument",
                        "The body is larger than %u bytes.", BODY_MAX);
}

static void handle(struct exchange *exchange, void *userdata) {
        struct httpd *httpd = userdata;
        char argument[ARGUMENT_MAX];
        const struct route *route = look_up(httpd, exchange, argument);

        if (route)
                route->page(httpd, exchange, argument);
}

const struct server_ops httpd_server_ops = { .check = check, .handle = handle };
