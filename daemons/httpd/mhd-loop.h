/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One daemon of libmicrohttpd as a source of an sd-event loop, in the clear or with TLS. It has no listening socket: connections are handed to it. */

#include <microhttpd.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "cleanup.h"

struct mhd_loop;

/* All PEM, which the daemon's owner keeps for as long as the daemon. */
struct mhd_tls {
        const char *certificate, *key;
        const char *client_ca; /* clients are asked for a certificate of these; NULL: for none */
};

struct mhd_loop_ops {
        MHD_AccessHandlerCallback request;
        MHD_RequestCompletedCallback completed;
        MHD_NotifyConnectionCallback connection;
};

/* tls: NULL for none. Returns 0, -EKEYREJECTED when the library will not have what tls says, or another negative errno. */
int mhd_loop_new(sd_event *event, const struct mhd_tls *tls, unsigned connections_max, const struct mhd_loop_ops *ops,
        void *userdata, struct mhd_loop **ret);
/* Connections must not sleep any more. */
struct mhd_loop *mhd_loop_free(struct mhd_loop *loop);
DEFINE_CLEANUP(struct mhd_loop *, mhd_loop_free);

/* Takes fd, also on failure. */
void mhd_loop_add(struct mhd_loop *loop, int fd, const struct sockaddr *address, socklen_t length);
/* Makes the daemon look at its connections, soon. */
void mhd_loop_kick(struct mhd_loop *loop);

/* Whether the other end of a connection has shown a certificate of the client CA that is good for a client now. Always false without TLS. */
bool mhd_peer_is_certified(struct MHD_Connection *connection);
