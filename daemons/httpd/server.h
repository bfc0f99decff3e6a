/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libmicrohttpd inside sd-event, with bounds of our own. */

#include <systemd/sd-event.h>

#include "exchange.h"
#include "mhd-loop.h"

#define SERVER_CONNECTIONS_MAX 64U

struct server;

struct server_ops {
        /* The headers of a request are there, a body may follow: what answers here is not read any further. */
        void (*check)(struct exchange *exchange, void *userdata);
        /* The request is whole, at most BODY_MAX bytes of body. */
        void (*handle)(struct exchange *exchange, void *userdata);
};

/* tls: NULL for none. Returns 0 or a negative errno, those of mhd_loop_new(). */
int server_new(
        sd_event *event, const struct mhd_tls *tls, const struct server_ops *ops, void *userdata, struct server **ret);
/* Ends all connections. */
struct server *server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* Takes the descriptor, a listening stream socket: TCP or Unix. -EINVAL: there is no TLS. */
int server_listen(struct server *server, int fd, bool tls);
