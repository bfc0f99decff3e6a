/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The sockets that systemd passes on. One whose name is "https" (FileDescriptorName=, as blockstore-httpd-tls.socket has it) is for TLS. What other hosts can reach is only served when something
 * keeps them out, or when it was said in so many words that nothing shall: this program runs as a unit that an administrator has enabled, and an address more in a drop-in is quickly written. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>

#include "httpd.h"
#include "log.h"

#define TLS_NAME "https"

/* Where it listens, for a message. Returns whether other hosts can reach it. */
static bool describe(int fd, char text[static 128]) {
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
                struct sockaddr_storage storage;
        } address = {};
        socklen_t n = sizeof address;
        char host[INET6_ADDRSTRLEN] = "?";

        if (getsockname(fd, &address.any, &n) < 0)
                address.any.sa_family = AF_UNSPEC;
        switch (address.any.sa_family) {
        case AF_UNIX:
                strcpy(text, "a Unix socket");
                return false;
        case AF_INET:
                (void) inet_ntop(AF_INET, &address.in.sin_addr, host, sizeof host);
                (void) snprintf(text, 128, "%s:%u", host, ntohs(address.in.sin_port));
                return ntohl(address.in.sin_addr.s_addr) >> 24 != 127;
        case AF_INET6:
                (void) inet_ntop(AF_INET6, &address.in6.sin6_addr, host, sizeof host);
                (void) snprintf(text, 128, "[%s]:%u", host, ntohs(address.in6.sin6_port));
                return !IN6_IS_ADDR_LOOPBACK(&address.in6.sin6_addr);
        default:
                strcpy(text, "a socket of an unknown kind");
                return true;
        }
}

static int take(struct httpd *httpd, int fd, bool tls) {
        const struct settings *settings = httpd->settings;
        char where[128];
        bool exposed = describe(fd, where);
        int r;

        if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
                log_event(LOG_ERR, NULL, "What systemd passes on is no listening stream socket: %s", where);
                return -EINVAL;
        }
        if (tls && !settings->certificate) {
                log_event(LOG_ERR, NULL,
                        "Cannot serve TLS at %s without a certificate: put it and its key into "
                        "/etc/credstore/blockstore-httpd.certificate and .key",
                        where);
                return -EINVAL;
        }
        if (exposed && !settings->token && !settings->anonymous_read && !(tls && settings->client_ca)) {
                log_event(LOG_ERR, NULL,
                        "Not listening at %s, which other hosts can reach: there is neither a token "
                        "(/etc/credstore/blockstore-httpd.token) nor, with TLS, a CA of clients "
                        "(/etc/credstore/blockstore-httpd.client-ca)",
                        where);
                return -EINVAL;
        }

        r = server_listen(httpd->server, fd, tls);
        if (r < 0)
                log_event(LOG_ERR, NULL, "Cannot listen at %s: %s", where, strerror(-r));
        return r;
}

static void free_names(char **names) {
        for (size_t i = 0; names && names[i]; i++)
                free(names[i]);
        free(names);
}

int sockets_take(struct httpd *httpd) {
        char **names = NULL;
        int n, r = 0;

        n = sd_listen_fds_with_names(1, &names);
        if (n <= 0) {
                log_event(LOG_ERR, NULL, "There are no sockets: blockstore-httpd.socket passes them on");
                return n < 0 ? n : -ENOENT;
        }
        for (int i = 0; i < n && r >= 0; i++)
                r = take(httpd, SD_LISTEN_FDS_START + i, strcmp(names[i], TLS_NAME) == 0);
        free_names(names);
        return r < 0 ? r : 0;
}
