/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Congestion control is the administrator's choice, and a good one for a network need not be one for a socket between two processes. BBR, above all, sends at the pace of
 * a path that it measures, by a timer: over the loopback there is nothing to be measured but the scheduler, and the timer costs a fourth of the CPU time of a megabyte
 * sent. So a connection both ends of which have the same address uses Reno, which is in every kernel and allowed to everybody. Whatever leaves the machine is left to
 * the system's setting. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "tcp-tune.h"

#define UNPACED "reno"

bool tcp_is_within_machine(int fd) {
        struct sockaddr_storage own = {}, peer = {};
        socklen_t own_size = sizeof(own), peer_size = sizeof(peer);

        if (getsockname(fd, (struct sockaddr *) &own, &own_size) < 0 ||
                getpeername(fd, (struct sockaddr *) &peer, &peer_size) < 0 || own.ss_family != peer.ss_family)
                return false;

        if (own.ss_family == AF_INET) {
                const struct sockaddr_in *a = (const struct sockaddr_in *) &own;
                const struct sockaddr_in *b = (const struct sockaddr_in *) &peer;

                return a->sin_addr.s_addr == b->sin_addr.s_addr ||
                       (ntohl(b->sin_addr.s_addr) >> IN_CLASSA_NSHIFT) == IN_LOOPBACKNET;
        }
        if (own.ss_family == AF_INET6) {
                const struct sockaddr_in6 *a = (const struct sockaddr_in6 *) &own;
                const struct sockaddr_in6 *b = (const struct sockaddr_in6 *) &peer;

                return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
        }
        return false;
}

void tcp_tune(int fd) {
        /* Nagle would only hold back what is complete. */
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        if (tcp_is_within_machine(fd))
                (void) setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, UNPACED, strlen(UNPACED));
}
