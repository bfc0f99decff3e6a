/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A world without a kernel for the worker's data path: ring and streams are replaced at link time by ones that move bytes in memory, time goes on by a fixed step, and chance comes from a
 * fixed seed. The same program executes the same instructions each time, which is what is counted.
 *
 * One stream belongs to the NBD client (client.c), all others to the proxy (proxy.c). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"
#include "stream.h"

#define REPLAY_IMAGE_SIZE (UINT64_C(4) << 20)
#define REPLAY_REQUESTS   10000U

/* --- chance --- */

/* 0 ... n - 1; n > 0. */
uint64_t chance(uint64_t n);

/* --- ring.c --- */

/* One turn: time, timers, connections, what came, deferred work, what goes. */
void world_step(struct ring *ring);

/* --- stream.c --- */

/* The peer sends; the stream gets it in pieces, in the next steps. */
void peer_send(struct stream *stream, const void *data, size_t n);
void streams_deliver(void);
void streams_flush(void);

/* --- who is told: proxy.c and client.c --- */

struct peer {
        void (*opened)(struct stream *stream);
        void (*took)(struct stream *stream, const uint8_t *data, size_t n);
        void (*closed)(struct stream *stream);
};
/* Of the descriptor's stream. */
const struct peer *peer_of(int fd);

extern const struct peer client_peer, proxy_peer;
extern int client_fd;

/* Sends more requests when there is room. Returns whether all have been answered. */
bool client_step(void);
/* Answers some of what was asked, in an order of its own. */
void proxy_step(void);
/* The image as the proxy has it, and as the client expects it. */
const uint8_t *proxy_image(void);
const uint8_t *client_image(void);

/* --- replay.c --- */

/* All of it, from the first connection to the last; does not return when something is not as it should be. */
void replay(void);

#define REPLAY_FAIL(...)                                 \
        do {                                             \
                fprintf(stderr, "replay: " __VA_ARGS__); \
                fputc('\n', stderr);                     \
                abort();                                 \
        } while (0)
