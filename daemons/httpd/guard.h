/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a request has to show before anything is done for it: pure functions over its headers. A browser is the enemy's tool here as well as the operator's: it sends what any page on any site tells it to, from
 * the operator's own machine. */

#include <stdbool.h>
#include <stddef.h>

/* Whether a Host header names this server in a way that no name server has a say in: an address, localhost, or one of names ("example.org", without a port). Against DNS rebinding: a foreign page's own name that
 * suddenly resolves to 127.0.0.1 is not among them. NULL is refused. */
bool guard_host_is_allowed(const char *host, char *const *names, size_t n_names);

/* Whether an Origin header is of the very host that the request was sent to ("http://HOST" or "https://HOST"). NULL, no such header, is fine: what sends none is no browser's cross-site request. */
bool guard_origin_matches(const char *origin, const char *host);

/* Whether a Sec-Fetch-Site header tells of no other site. NULL is fine. */
bool guard_site_is_own(const char *site);

/* In time that does not depend on where they differ. NULL or "" equals nothing. */
bool guard_token_equals(const char *given, const char *expected);

/* What stands behind "Bearer " in an Authorization header, or NULL. */
const char *guard_bearer(const char *authorization);

/* Whether a Content-Type header says JSON: what a foreign page's form cannot say without asking first. */
bool guard_content_is_json(const char *content_type);
