/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What server.c (running) and server-start.c (until then) share. */

#include <sys/signalfd.h>
#include <sys/socket.h>

#include "client.h"
#include "listen.h"
#include "server.h"

#define SERVER_LISTENERS_MAX (LISTEN_SYSTEMD_MAX + 2 * SETTINGS_LISTEN_MAX)

struct arrival;

struct listener {
        struct server *server;
        struct ring_op op;
        struct ring_timer retry;
        struct sockaddr_storage peer;
        socklen_t peer_size;
        char *address;
        int fd;
        bool systemd_owns; /* the socket outlives us */
        bool tls;
};

struct server {
        struct proxy proxy;
        struct settings *settings;
        struct listener listeners[SERVER_LISTENERS_MAX];
        unsigned n_listeners, n_clients;

        int signal_fd;
        struct signalfd_siginfo signal;
        struct ring_op signal_op;

        struct ring_timer push_timer, status_timer, drain_timer, watchdog_timer, pressure_timer, trim_timer;
        uint64_t watchdog_usec;
        bool full_was_logged;

        char *config_path;
        struct job reload_job;
        struct settings *reload_settings;
        struct users *reload_users;
        char *reload_message, *reload_users_message;
        bool reloading;

        /* See server-tls.c. */
        struct tls_relay *tls_relay;
        struct tls_context *tls_context, *reload_tls;
        char *reload_tls_message;
        TAILQ_HEAD(, arrival) arrivals;
};

/* server-reload.c: reads configuration and users anew, as SIGHUP asks for. */
void server_reload(struct server *server);
/* Fills in what the ring will call. */
void server_init(struct server *server);
void server_init_timers(struct server *server);
void server_init_listener(struct server *server, struct listener *listener);
/* A connection is there, and there is room for it: n_clients counts it. Takes fd. */
void server_greet(struct server *server, int fd, const struct sockaddr *peer, const struct sockaddr *local,
        const struct tls_info *tls);
/* It came to nothing. */
void server_lost_client(struct server *server);
/* server-tls.c. Returns 0 or a negative errno with a sentence. */
int server_start_tls(struct server *server, char **ret_message);
void server_accept_tls(struct server *server, int fd, const struct sockaddr *peer, const struct sockaddr *local);
/* For server-reload.c: on the thread, and back on the ring's. */
void server_read_certificate(struct server *server);
void server_take_certificate(struct server *server);
/* Of a server that stops: nobody is to come in any more. */
void server_give_up_arrivals(struct server *server);
void server_free_tls(struct server *server);
/* From here on clients are taken; tells systemd. */
void server_start_serving(struct server *server);
