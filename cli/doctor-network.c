/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether somebody on the way could read along: the protocol has no encryption, so what counts is the way. Which way packets to an address would take is asked of the kernel by connecting a datagram
 * socket, which sends nothing. Names are not looked up: whether they mean this machine today says little about tomorrow. */

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "doctor.h"
#include "host-config.h"

#define ADVICE                                                                                                      \
        "data, names and the login travel in the clear. Let them go through WireGuard or IPsec, or over a network " \
        "of "                                                                                                       \
        "their own."

union address {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
};

/* "192.0.2.1:11417", "[fd00::1%eth0]:11417"; false for a name. */
static bool parse(const char *text, union address *ret, socklen_t *ret_size) {
        char host[256], *zone;

        *ret = (union address){};
        if (*text == '[') {
                snprintf(host, sizeof host, "%.*s", (int) strcspn(text + 1, "]"), text + 1);
                zone = strchr(host, '%');
                if (zone) {
                        *zone = '\0';
                        ret->v6.sin6_scope_id = if_nametoindex(zone + 1);
                }
                ret->v6.sin6_family = AF_INET6;
                ret->v6.sin6_port = htons(1);
                *ret_size = sizeof ret->v6;
                return inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1;
        }

        snprintf(host, sizeof host, "%.*s", (int) strcspn(text, ":"), text);
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(1);
        *ret_size = sizeof ret->v4;
        return inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1;
}

static bool same_host(const union address *a, const struct sockaddr *other) {
        const union address *b = (const union address *) other;

        if (!b || a->any.sa_family != b->any.sa_family)
                return false;
        if (a->any.sa_family == AF_INET)
                return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

/* Whether the interface with that address is a WireGuard tunnel: its uevent file says so. */
static bool goes_through_wireguard(const union address *local, char interface[static IF_NAMESIZE]) {
        struct ifaddrs *all;
        bool found_one = false;

        if (getifaddrs(&all) < 0)
                return false;
        for (struct ifaddrs *i = all; i && !found_one; i = i->ifa_next) {
                char path[128], line[128];

                if (!same_host(local, i->ifa_addr))
                        continue;
                snprintf(interface, IF_NAMESIZE, "%s", i->ifa_name);
                snprintf(path, sizeof path, "/sys/class/net/%s/uevent", i->ifa_name);
                found_one = doctor_read_line(path, line, sizeof line) == 0 && strcmp(line, "DEVTYPE=wireguard") == 0;
        }
        freeifaddrs(all);
        return found_one;
}

static void look_at_way(struct doctor *d, const char *address) {
        _cleanup_close_ int fd = -EBADF;
        char interface[IF_NAMESIZE] = "";
        union address remote, local = {};
        socklen_t size, local_size = sizeof local;

        if (strncmp(address, "localhost:", strlen("localhost:")) == 0) {
                found(d, FINDING_OK, address, NULL, "On this machine.");
                return;
        }
        if (!parse(address, &remote, &size)) {
                found(d, FINDING_WARNING, address, NULL, "Not encrypted: " ADVICE);
                return;
        }

        fd = socket(remote.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, &remote.any, size) < 0 || getsockname(fd, &local.any, &local_size) < 0)
                found(d, FINDING_WARNING, address, NULL,
                        "There is no way to the proxy (%s); and not encrypted: " ADVICE, strerror(errno));
        else if (same_host(&remote, &local.any))
                found(d, FINDING_OK, address, NULL, "On this machine.");
        else if (goes_through_wireguard(&local, interface))
                found(d, FINDING_OK, address, NULL, "Through the WireGuard tunnel %s.", interface);
        else
                found(d, FINDING_WARNING, address, NULL, "Not encrypted: " ADVICE);
}

static void look_at_image(struct doctor *d, const char *name) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;

        /* What is wrong with it is said elsewhere. */
        if (host_config_load(name, &config, &message) < 0)
                return;
        for (size_t i = 0; i < config->n_proxies; i++)
                look_at_way(d, config->proxies[i].address);
}

void check_encryption(struct doctor *d) {
        size_t before = json_object_array_length(d->findings);

        look_at_image(d, NULL);
        for (char **name = d->images; *name; name++)
                look_at_image(d, *name);
        if (json_object_array_length(d->findings) == before)
                found(d, FINDING_SKIPPED, NULL, NULL, "No proxy is configured.");
}
