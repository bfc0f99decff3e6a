/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where a proxy is: one spelling for each address, so that addresses can be compared as strings. Names are not looked up here. */

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include "config.h"
#include "ivbs.h"

#define ADDRESS_MAX 255U /* as in LIST_PROXIES */
#define HOST_MAX    (ADDRESS_MAX - sizeof(":65535") + 1)
#define LABEL_MAX   63U

bool address_is_tls(const char *text) {
        return strncmp(text, ADDRESS_TLS, strlen(ADDRESS_TLS)) == 0;
}

const char *address_without_scheme(const char *text) {
        return address_is_tls(text) ? text + strlen(ADDRESS_TLS) : text;
}

/* "1" - "65535"; text NULL: the default. */
static int parse_port(const char *text, bool tls, unsigned *ret) {
        unsigned port = 0;

        if (!text) {
                *ret = tls ? ADDRESS_TLS_PORT : IVBS_PORT;
                return 0;
        }

        if (*text < '1' || *text > '9')
                return -EINVAL;
        for (const char *p = text; *p; p++) {
                if (*p < '0' || *p > '9')
                        return -EINVAL;
                port = port * 10 + (unsigned) (*p - '0');
                if (port > UINT16_MAX)
                        return -EINVAL;
        }

        *ret = port;
        return 0;
}

static bool is_label_character(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Dot-separated labels of lower-case letters, digits, '-' and '_'; one dot at the end is allowed. */
static bool host_name_is_valid(const char *host) {
        size_t label = 0;

        for (const char *p = host; *p; p++) {
                if (*p == '.') {
                        if (label == 0)
                                return false;
                        label = 0;
                } else if (!is_label_character(*p) || (label == 0 && *p == '-') || ++label > LABEL_MAX)
                        return false;
        }

        return *host && *host != '.';
}

/* Takes a name or a dotted IPv4 address. What consists of digits and dots only is meant to be the latter. */
static int normalise_host(const char *host, size_t n, char ret[static HOST_MAX + 1]) {
        struct in_addr v4;

        if (n == 0 || n > HOST_MAX)
                return -EINVAL;

        for (size_t i = 0; i < n; i++)
                ret[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char) (host[i] - 'A' + 'a') : host[i];
        ret[n] = '\0';

        if (strspn(ret, "0123456789.") == n)
                return inet_pton(AF_INET, ret, &v4) == 1 ? 0 : -EINVAL;

        return host_name_is_valid(ret) ? 0 : -EINVAL;
}

/* Takes an IPv6 address, perhaps with "%INTERFACE", as it stands between brackets. */
static int normalise_v6(const char *text, size_t n, char ret[static INET6_ADDRSTRLEN + IF_NAMESIZE + 1]) {
        char address[INET6_ADDRSTRLEN], *p;
        const char *zone = memchr(text, '%', n);
        size_t address_length = zone ? (size_t) (zone - text) : n, zone_length = n - address_length;
        struct in6_addr v6;

        if (address_length >= sizeof(address))
                return -EINVAL;
        memcpy(address, text, address_length);
        address[address_length] = '\0';
        if (inet_pton(AF_INET6, address, &v6) != 1)
                return -EINVAL;
        if (!inet_ntop(AF_INET6, &v6, ret, INET6_ADDRSTRLEN))
                return -EINVAL;

        if (zone) {
                /* The sign and the interface, whose name is shorter than IF_NAMESIZE. */
                if (zone_length < 2 || zone_length > IF_NAMESIZE)
                        return -EINVAL;
                for (size_t i = 1; i < zone_length; i++)
                        if ((uint8_t) zone[i] <= ' ' || (uint8_t) zone[i] >= 0x7f || strchr("/%[]", zone[i]))
                                return -EINVAL;
                p = ret + strlen(ret);
                memcpy(p, zone, zone_length);
                p[zone_length] = '\0';
        }

        return 0;
}

/* Splits and normalises; ret_host has no brackets. */
static int parse_address(const char *text, char ret_host[static HOST_MAX + 1], unsigned *ret_port, bool *ret_v6) {
        const char *end, *port = NULL;
        bool tls = address_is_tls(text), v6;
        unsigned number;
        int r;

        text = address_without_scheme(text);
        v6 = text[0] == '[';

        if (v6) {
                text++;
                end = strchr(text, ']');
                if (!end || (end[1] && end[1] != ':'))
                        return -EINVAL;
                if (end[1] == ':')
                        port = end + 2;
                r = normalise_v6(text, (size_t) (end - text), ret_host);
        } else {
                end = strchrnul(text, ':');
                if (*end == ':')
                        port = end + 1;
                r = normalise_host(text, (size_t) (end - text), ret_host);
        }
        if (r < 0)
                return r;

        r = parse_port(port, tls, &number);
        if (r < 0)
                return r;

        *ret_port = number;
        *ret_v6 = v6;
        return 0;
}

int address_normalise(const char *text, char **ret) {
        char host[HOST_MAX + 1], *address;
        unsigned port;
        bool v6;
        int r;

        r = parse_address(text, host, &port, &v6);
        if (r < 0)
                return r;

        if (asprintf(&address, v6 ? "%s[%s]:%u" : "%s%s:%u", address_is_tls(text) ? ADDRESS_TLS : "", host, port) < 0)
                return -ENOMEM;
        if (strlen(address) > ADDRESS_MAX) {
                free(address);
                return -EINVAL;
        }

        *ret = address;
        return 0;
}

int address_split(const char *text, char **ret_host, uint16_t *ret_port) {
        char host[HOST_MAX + 1], *copy;
        unsigned port;
        bool v6;
        int r;

        r = parse_address(text, host, &port, &v6);
        if (r < 0)
                return r;

        copy = strdup(host);
        if (!copy)
                return -ENOMEM;

        *ret_host = copy;
        *ret_port = (uint16_t) port;
        return 0;
}
