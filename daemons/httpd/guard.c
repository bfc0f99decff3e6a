/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "guard.h"

#define HOST_MAX 255U

/* "HOST", "HOST:PORT", "[V6]", "[V6]:PORT" without port and brackets. */
static bool split_host(const char *header, char host[static HOST_MAX + 1], bool *ret_bracketed) {
        const char *end, *port;
        size_t n;

        if (header[0] == '[') {
                end = strchr(header, ']');
                if (!end)
                        return false;
                port = end + 1;
                header++;
                *ret_bracketed = true;
        } else {
                port = end = header + strcspn(header, ":");
                *ret_bracketed = false;
        }

        if (*port == ':') {
                size_t digits = strspn(++port, "0123456789");

                if (digits == 0 || digits > 5)
                        return false;
                port += digits;
        }
        n = (size_t) (end - header);
        if (*port || n == 0 || n > HOST_MAX)
                return false;

        memcpy(host, header, n);
        host[n] = 0;
        return true;
}

bool guard_host_is_allowed(const char *header, char *const *names, size_t n_names) {
        unsigned char address[sizeof(struct in6_addr)];
        char host[HOST_MAX + 1];
        bool bracketed;

        if (!header || !split_host(header, host, &bracketed))
                return false;
        if (bracketed)
                return inet_pton(AF_INET6, host, address) == 1;
        if (inet_pton(AF_INET, host, address) == 1 || strcasecmp(host, "localhost") == 0)
                return true;

        for (size_t i = 0; i < n_names; i++)
                if (strcasecmp(host, names[i]) == 0)
                        return true;
        return false;
}

bool guard_origin_matches(const char *origin, const char *host) {
        if (!origin)
                return true;
        if (!host)
                return false;

        if (strncasecmp(origin, "http://", 7) == 0)
                origin += 7;
        else if (strncasecmp(origin, "https://", 8) == 0)
                origin += 8;
        else
                return false; /* "null", too: a sandboxed frame, a file */
        return strcasecmp(origin, host) == 0;
}

bool guard_site_is_own(const char *site) {
        return !site || strcasecmp(site, "same-origin") == 0 || strcasecmp(site, "none") == 0;
}

bool guard_token_equals(const char *given, const char *expected) {
        volatile unsigned char difference = 0;
        size_t n_given, n_expected;

        if (!given || !expected || !*expected)
                return false;

        n_given = strlen(given);
        n_expected = strlen(expected);
        for (size_t i = 0; i < n_given; i++)
                difference |= (unsigned char) (given[i] ^ expected[i % n_expected]);
        return difference == 0 && n_given == n_expected;
}

const char *guard_bearer(const char *authorization) {
        if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
                return NULL;

        return authorization + 7;
}

bool guard_content_is_json(const char *content_type) {
        size_t n = strlen("application/json");

        if (!content_type || strncasecmp(content_type, "application/json", n) != 0)
                return false;

        return content_type[n] == 0 || content_type[n] == ';' || content_type[n] == ' ';
}
