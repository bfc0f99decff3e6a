/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which way packets to an address would take is asked of the kernel by connecting a datagram socket, which sends nothing. Names are not looked up. */

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <string.h>
#include <sys/socket.h>

#include "config.h"
#include "doctor.h"
#include "way.h"

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

enum way way_of(const char *address, char ret_interface[static WAY_INTERFACE_SIZE]) {
        _cleanup_close_ int fd = -EBADF;
        union address remote, local = {};
        socklen_t size, local_size = sizeof local;

        if (address_is_tls(address))
                return WAY_TLS;
        if (strncmp(address, "localhost:", strlen("localhost:")) == 0)
                return WAY_LOCAL;
        if (!parse(address, &remote, &size))
                return WAY_OPEN;

        fd = socket(remote.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, &remote.any, size) < 0 || getsockname(fd, &local.any, &local_size) < 0)
                return WAY_NONE;
        if (same_host(&remote, &local.any))
                return WAY_LOCAL;
        return goes_through_wireguard(&local, ret_interface) ? WAY_TUNNEL : WAY_OPEN;
}
