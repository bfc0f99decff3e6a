/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Connections are accepted here and handed to the library, because there may be several sockets (TCP and Unix, in the clear and with TLS), and because here it is known where a connection comes from.
 *
 * The library's own time-out is about silence, and a client that sends a byte now and then is never silent. So each connection has a deadline for the whole of what it is at, too: to send a request (also the next one,
 * on a connection that is kept), and to take an answer. Whoever misses it is hung up on. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "mhd-loop.h"
#include "server-internal.h"

#define LISTENERS_MAX      16U
#define REQUEST_MAX_USEC   (15U * UINT64_C(1000000))
#define ANSWER_MAX_USEC    (60U * UINT64_C(1000000))
#define LOOK_AT_PEERS_USEC (1U * UINT64_C(1000000))
#define PATH_LENGTH_MAX    512U

/* The other end of a connection. */
struct peer {
        int fd; /* the library's */
        struct mhd_loop *loop;
        bool local;
        uint64_t deadline_usec; /* CLOCK_MONOTONIC; UINT64_MAX: none */
        LIST_ENTRY(peer) entry;
};

struct listener {
        struct server *server;
        sd_event_source *source;
        bool tls;
};

struct server {
        sd_event *event;
        const struct server_ops *ops;
        void *userdata;
        struct mhd_loop *plain, *tls; /* tls: NULL without a certificate */
        sd_event_source *look;
        struct listener listeners[LISTENERS_MAX];
        unsigned n_listeners, n_peers;
        struct peer *accepting; /* is being handed over */
        LIST_HEAD(peer_list, peer) peers;
        LIST_HEAD(exchange_list, exchange) exchanges;
        bool stopping;
};

static uint64_t now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

void server_wake(struct exchange *exchange) {
        MHD_resume_connection(exchange->connection);
        mhd_loop_kick(exchange->peer->loop);
}

void server_hang_up(struct exchange *exchange) {
        (void) shutdown(exchange->peer->fd, SHUT_RDWR);
}

static void exchange_free(struct exchange *exchange) {
        if (exchange->on_gone)
                exchange->on_gone(exchange, exchange->on_gone_userdata);
        LIST_REMOVE(exchange, entry);
        if (exchange->response)
                MHD_destroy_response(exchange->response);
        free(exchange->path);
        free(exchange->method);
        if (exchange->body)
                explicit_bzero(exchange->body, exchange->n_body); /* a password may be in it */
        free(exchange->body);
        free(exchange->stream_queue);
        free(exchange);
}

/* Returns NULL without memory: the connection is closed then. */
static struct exchange *exchange_new(
        struct server *server, struct MHD_Connection *connection, const char *url, const char *method) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct exchange *exchange;

        if (!info || !info->socket_context)
                return NULL;
        exchange = calloc(1, sizeof(*exchange));
        if (!exchange)
                return NULL;

        exchange->server = server;
        exchange->connection = connection;
        exchange->peer = info->socket_context;
        exchange->local = exchange->peer->local;
        exchange->certified = mhd_peer_is_certified(connection);
        exchange->path = strdup(url);
        exchange->method = strdup(strcmp(method, "HEAD") == 0 ? "GET" : method);
        LIST_INSERT_HEAD(&server->exchanges, exchange, entry);
        if (!exchange->path || !exchange->method) {
                exchange_free(exchange);
                return NULL;
        }
        return exchange;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t *n) {
        char *body;

        if (*n > BODY_MAX - exchange->n_body) {
                /* Told when it is whole; but nobody is listened to for ever. */
                if (exchange->too_large)
                        return MHD_NO;
                exchange->too_large = true;
                *n = 0;
                return MHD_YES;
        }
        if (!exchange->body) {
                exchange->body = calloc(1, BODY_MAX + 1);
                if (!exchange->body)
                        return MHD_NO;
        }
        body = exchange->body + exchange->n_body;
        memcpy(body, data, *n);
        body[*n] = 0;
        exchange->n_body += *n;
        *n = 0;
        return MHD_YES;
}

/* What is to be done now that somebody has had the exchange. */
static enum MHD_Result follow_up(struct exchange *exchange) {
        switch (exchange->state) {
        case EXCHANGE_WAITING:
                MHD_suspend_connection(exchange->connection);
                return MHD_YES;
        case EXCHANGE_ANSWERED:
                if (!exchange->response)
                        return MHD_NO;
                exchange->peer->deadline_usec = exchange->streaming ? UINT64_MAX : now_usec() + ANSWER_MAX_USEC;
                return MHD_queue_response(exchange->connection, exchange->status, exchange->response);
        case EXCHANGE_RECEIVING:
        case EXCHANGE_HANDLED:
                break;
        }
        /* A handler that forgot to answer is a defect of ours. */
        return exchange_fail(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "Internal", "Nobody answered this request.") >=
                               0
                       ? MHD_queue_response(exchange->connection, exchange->status, exchange->response)
                       : MHD_NO;
}

/* Called with the headers, then for each part of the body, then at its end, and again after a wait. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url,
        const char *method, const char *version, const char *data, size_t *n_data, void **context) {
        struct server *server = userdata;
        struct exchange *exchange = *context;

        if (!exchange) {
                exchange = exchange_new(server, connection, url, method);
                if (!exchange)
                        return MHD_NO;
                *context = exchange;

                if (strlen(url) > PATH_LENGTH_MAX)
                        (void) exchange_fail(
                                exchange, MHD_HTTP_URI_TOO_LONG, "InvalidArgument", "The address is too long.");
                else
                        server->ops->check(exchange, server->userdata);
                return exchange->state == EXCHANGE_ANSWERED ? follow_up(exchange) : MHD_YES;
        }

        if (*n_data > 0)
                return take_body(exchange, data, n_data);

        if (exchange->state == EXCHANGE_RECEIVING) {
                exchange->state = EXCHANGE_HANDLED;
                exchange->peer->deadline_usec = now_usec() + ANSWER_MAX_USEC;
                if (exchange->too_large)
                        (void) exchange_fail(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "InvalidArgument",
                                "The body is larger than %u bytes.", BODY_MAX);
                else
                        server->ops->handle(exchange, server->userdata);
        }
        return follow_up(exchange);
}

static void on_completed(
        void *userdata, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code) {
        struct exchange *exchange = *context;

        if (!exchange)
                return;
        exchange->peer->deadline_usec = now_usec() + REQUEST_MAX_USEC;
        *context = NULL;
        exchange_free(exchange);
}

static void peer_free(struct server *server, struct peer *peer) {
        LIST_REMOVE(peer, entry);
        if (--server->n_peers == 0 && server->look)
                (void) sd_event_source_set_enabled(server->look, SD_EVENT_OFF);
        free(peer);
}

static void on_connection(void *userdata, struct MHD_Connection *connection, void **socket_context,
        enum MHD_ConnectionNotificationCode code) {
        struct server *server = userdata;

        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                *socket_context = server->accepting;
                server->accepting = NULL;
        } else if (*socket_context) {
                peer_free(server, *socket_context);
                *socket_context = NULL;
        }
}

static bool is_local(const struct sockaddr_storage *address) {
        if (address->ss_family == AF_UNIX)
                return true;
        if (address->ss_family == AF_INET)
                return ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr) >> 24 == 127;
        if (address->ss_family == AF_INET6) {
                const struct in6_addr *a = &((const struct sockaddr_in6 *) address)->sin6_addr;

                return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
        }
        return false;
}

static int on_accept(sd_event_source *source, int socket, uint32_t events, void *userdata) {
        const struct listener *listener = userdata;
        struct server *server = listener->server;
        struct mhd_loop *loop = listener->tls ? server->tls : server->plain;
        struct sockaddr_storage address = {};
        socklen_t length = sizeof address;
        struct peer *peer;
        int fd;

        fd = accept4(socket, (struct sockaddr *) &address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
                return 0; /* gone again, or no descriptors: the socket stays readable */

        peer = server->n_peers < SERVER_CONNECTIONS_MAX ? calloc(1, sizeof(*peer)) : NULL;
        if (!peer) {
                safe_close(fd);
                return 0;
        }
        if (length < sizeof(sa_family_t))
                address.ss_family = AF_UNIX;
        *peer = (struct peer){
                .fd = fd,
                .loop = loop,
                .local = is_local(&address),
                .deadline_usec = now_usec() + REQUEST_MAX_USEC,
        };
        LIST_INSERT_HEAD(&server->peers, peer, entry);
        if (server->n_peers++ == 0 && sd_event_source_set_time_relative(server->look, LOOK_AT_PEERS_USEC) >= 0)
                (void) sd_event_source_set_enabled(server->look, SD_EVENT_ONESHOT);

        server->accepting = peer;
        mhd_loop_add(loop, fd, (struct sockaddr *) &address, length);
        if (server->accepting) {
                peer_free(server, server->accepting);
                server->accepting = NULL;
        }
        return 0;
}

/* A stream with nothing to send does not notice that nobody is there any more. */
static void look_at_streams(struct server *server) {
        struct exchange *exchange;

        LIST_FOREACH(exchange, &server->exchanges, entry) {
                struct pollfd peer = { .fd = exchange->peer->fd, .events = POLLRDHUP };

                /* With TLS there may be a farewell to be read before the end. */
                if (exchange->streaming && exchange->stream_asleep && poll(&peer, 1, 0) > 0)
                        exchange_stream_end(exchange);
        }
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;
        struct peer *peer;

        LIST_FOREACH(peer, &server->peers, entry) {
                if (peer->deadline_usec > now_usec())
                        continue;
                peer->deadline_usec = UINT64_MAX;
                (void) shutdown(peer->fd, SHUT_RDWR);
        }
        look_at_streams(server);
        if (server->n_peers > 0 && sd_event_source_set_time_relative(source, LOOK_AT_PEERS_USEC) >= 0)
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static int add_look(struct server *server) {
        int r;

        r = sd_event_add_time(server->event, &server->look, CLOCK_MONOTONIC, 0, 100000, on_look, server);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(server->look, SD_EVENT_OFF);
}

int server_new(sd_event *event, const struct mhd_tls *tls, const struct server_ops *ops, void *userdata,
        struct server **ret) {
        static const struct mhd_loop_ops loop_ops = {
                .request = on_request,
                .completed = on_completed,
                .connection = on_connection,
        };
        _cleanup_(server_freep) struct server *server = calloc(1, sizeof(*server));
        int r;

        if (!server)
                return -ENOMEM;
        LIST_INIT(&server->peers);
        LIST_INIT(&server->exchanges);
        server->event = sd_event_ref(event);
        server->ops = ops;
        server->userdata = userdata;
        r = mhd_loop_new(event, NULL, SERVER_CONNECTIONS_MAX, &loop_ops, server, &server->plain);
        if (r >= 0 && tls)
                r = mhd_loop_new(event, tls, SERVER_CONNECTIONS_MAX, &loop_ops, server, &server->tls);
        if (r >= 0)
                r = add_look(server);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(server);
        return 0;
}

int server_listen(struct server *server, int fd, bool tls) {
        struct listener *listener = server->listeners + server->n_listeners;
        int r;

        if (server->n_listeners >= LISTENERS_MAX)
                return -E2BIG;
        if (tls && !server->tls)
                return -EINVAL;
        *listener = (struct listener){ .server = server, .tls = tls };
        r = sd_event_add_io(server->event, &listener->source, fd, EPOLLIN, on_accept, listener);
        if (r < 0)
                return r;
        server->n_listeners++;
        return sd_event_source_set_io_fd_own(listener->source, true);
}

struct server *server_free(struct server *server) {
        struct exchange *exchange, *next;

        if (!server)
                return NULL;

        for (unsigned i = 0; i < server->n_listeners; i++)
                sd_event_source_disable_unref(server->listeners[i].source);

        /* The library does not stop while a connection sleeps. */
        for (exchange = LIST_FIRST(&server->exchanges); exchange; exchange = next) {
                next = LIST_NEXT(exchange, entry);
                if (exchange->state == EXCHANGE_WAITING)
                        (void) exchange_fail(
                                exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Stopping", "The service is being stopped.");
                else if (exchange->streaming)
                        exchange_stream_end(exchange);
        }
        mhd_loop_free(server->plain);
        mhd_loop_free(server->tls);
        sd_event_source_disable_unref(server->look);
        sd_event_unref(server->event);
        free(server);
        return NULL;
}
