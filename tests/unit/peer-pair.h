/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Two ends of a private bus in one process and one loop, for tests. */

#include <sys/socket.h>

#include "peer-bus.h"
#include "test.h"

struct peer_pair {
        sd_event *event;
        sd_bus *server, *client;
};

static inline void peer_pair_make(struct peer_pair *pair) {
        int fds[2];

        ASSERT_OK(sd_event_new(&pair->event));
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        ASSERT_OK(peer_bus_serve(fds[0], pair->event, true, &pair->server));
        ASSERT_OK(peer_bus_connect_fd(fds[1], pair->event, true, &pair->client));
}

static inline void peer_pair_end(struct peer_pair *pair) {
        sd_bus_close_unref(pair->client);
        sd_bus_close_unref(pair->server);
        sd_event_unref(pair->event);
}

/* Turns the loop until *flag, or fails after ten seconds without any event. */
static inline void turn_until(sd_event *event, const bool *flag) {
        while (!*flag)
                ASSERT_TRUE(sd_event_run(event, 10 * 1000 * 1000) > 0);
}
