/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Those who come by TLS: a connection is an *arrival* until its handshake is over, and a client then. It counts as a client from the beginning, and has the time that a login may take, so that handshakes that are
 * never finished cost no more than clients that say nothing. */

#include <string.h>

#include "client.h"
#include "log.h"
#include "server-internal.h"
#include "tcp-tune.h"

struct arrival {
        TAILQ_ENTRY(arrival) entry;
        struct server *server;
        struct tls_handshake handshake;
        struct sockaddr_storage peer, local;
};

static void arrived(
        struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason) {
        struct arrival *arrival = CONTAINER_OF(handshake, struct arrival, handshake);
        struct server *server = arrival->server;
        char address[CLIENT_ADDRESS_SIZE];

        TAILQ_REMOVE(&server->arrivals, arrival, entry);
        if (error < 0 || server->proxy.draining) {
                safe_close(fd);
                if (error < 0 && error != -ECANCELED) {
                        client_address_to_text((struct sockaddr *) &arrival->peer, address, sizeof(address));
                        log_event(LOG_INFO, LOG_FIELDS({ "CLIENT", address }), "%s has not come in by TLS: %s",
                                address, reason);
                }
                server_lost_client(server);
        } else
                server_greet(
                        server, fd, (struct sockaddr *) &arrival->peer, (struct sockaddr *) &arrival->local, info);
        free(arrival);
}

static size_t size_of(const struct sockaddr *sa) {
        return sa->sa_family == AF_INET6  ? sizeof(struct sockaddr_in6)
               : sa->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                          : sizeof(sa_family_t);
}

void server_accept_tls(struct server *server, int fd, const struct sockaddr *peer, const struct sockaddr *local) {
        struct arrival *arrival = calloc(1, sizeof(*arrival));
        uint64_t limit = server->settings->login_limit_usec;

        if (!arrival) {
                safe_close(fd);
                server_lost_client(server);
                return;
        }
        arrival->server = server;
        memcpy(&arrival->peer, peer, size_of(peer));
        memcpy(&arrival->local, local, size_of(local));
        tcp_tune(fd);
        TAILQ_INSERT_TAIL(&server->arrivals, arrival, entry);
        if (tls_start(&arrival->handshake, server->tls_relay, server->proxy.ring, server->tls_context, fd, NULL, limit,
                    arrived) < 0) {
                TAILQ_REMOVE(&server->arrivals, arrival, entry);
                free(arrival);
                server_lost_client(server);
        }
}

void server_give_up_arrivals(struct server *server) {
        struct arrival *arrival;

        TAILQ_FOREACH(arrival, &server->arrivals, entry)
                tls_cancel(&arrival->handshake, server->proxy.ring);
}

int server_start_tls(struct server *server, char **ret_message) {
        int r;

        r = tls_context_new(&server->tls_context, true, &server->settings->tls, ret_message);
        if (r < 0)
                return r;
        return tls_relay_new(&server->tls_relay);
}

void server_read_certificate(struct server *server) {
        if (server->tls_context)
                (void) tls_context_new(&server->reload_tls, true, &server->settings->tls, &server->reload_tls_message);
}

/* Connections that there are keep what they began with. */
void server_take_certificate(struct server *server) {
        if (server->reload_tls) {
                tls_context_unref(server->tls_context);
                server->tls_context = TAKE_PTR(server->reload_tls);
                log_event(LOG_INFO, NULL, "The certificate was read anew from %s", server->settings->tls.certificate);
        } else if (server->tls_context)
                log_event(LOG_ERR, NULL, "The certificate stays as it was: %s",
                        server->reload_tls_message ?: "out of memory");
        free(TAKE_PTR(server->reload_tls_message));
}

void server_free_tls(struct server *server) {
        struct arrival *arrival;

        tls_relay_free(server->tls_relay);
        while ((arrival = TAILQ_FIRST(&server->arrivals))) {
                TAILQ_REMOVE(&server->arrivals, arrival, entry);
                tls_abandon(&arrival->handshake);
                free(arrival);
        }
        tls_context_unref(server->tls_context);
        tls_context_unref(server->reload_tls);
        free(server->reload_tls_message);
}
