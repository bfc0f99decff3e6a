/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What server.c (running) and server-start.c (until then) share. */

#include <sys/signalfd.h>
#include <sys/socket.h>

#include "client.h"
#include "listen.h"
#include "server.h"

#define SERVER_LISTENERS_MAX (LISTEN_SYSTEMD_MAX > SETTINGS_LISTEN_MAX ? LISTEN_SYSTEMD_MAX : SETTINGS_LISTEN_MAX)

struct listener {
        struct server *server;
        struct ring_op op;
        struct ring_timer retry;
        struct sockaddr_storage peer;
        socklen_t peer_size;
        char *address;
        int fd;
        bool systemd_owns; /* the socket outlives us */
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
};

/* server-reload.c: reads configuration and users anew, as SIGHUP asks for. */
void server_reload(struct server *server);
/* Fills in what the ring will call. */
void server_init(struct server *server);
void server_init_timers(struct server *server);
void server_init_listener(struct server *server, struct listener *listener);
/* From here on clients are taken; tells systemd. */
void server_start_serving(struct server *server);
