/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The worker's data path, from the bytes of an NBD client to those of a proxy and back, without a kernel under it: frontend, codecs, ordering, log of retained writes, pool,
 * sessions. tests/replay/run counts its instructions. What it does is checked as well: every request is answered, and the image is in the end what the client has written. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend-nbd.h"
#include "heat.h"
#include "pool.h"
#include "world.h"

#define STEPS_MAX 1000000U

static struct ring *ring;
static struct buffers *buffers;
static struct requests *requests;
static struct pool *pool;
static struct io_stats stats;
static struct heat *heat;
static bool attached, stopped, frontend_is_closed;

const struct peer *peer_of(int fd) {
        return fd == client_fd ? &client_peer : &proxy_peer;
}

static void on_attached(void *userdata) {
        attached = true;
}

static void on_changed(void *userdata) {
}

static void on_failed(void *userdata, enum failure failure, const char *message) {
        REPLAY_FAIL("the pool failed: %s", message);
}

static void on_stopped(void *userdata, int error) {
        if (error < 0)
                REPLAY_FAIL("the pool stopped with %s", strerror(-error));
        stopped = true;
}

static void on_open(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret) {
        REPLAY_FAIL("a handshake");
}

/* As the engine does. */
static void on_submit(void *userdata, struct request *request) {
        if (request->op != REQUEST_FLUSH)
                heat_count(heat, request->op != REQUEST_READ, request->offset, request->length, ring_now_usec(ring));
        pool_submit(pool, request);
}

static void on_closed(void *userdata, struct frontend *frontend, int error) {
        frontend_is_closed = true;
}

static void step(void) {
        static unsigned n;

        world_step(ring);
        proxy_step();
        if (++n > STEPS_MAX)
                REPLAY_FAIL("it does not end");
}

void replay(void) {
        static const struct pool_ops pool_ops = {
                .attached = on_attached,
                .changed = on_changed,
                .failed = on_failed,
                .stopped = on_stopped,
        };
        static const struct frontend_ops frontend_ops = { .open = on_open, .submit = on_submit, .closed = on_closed };
        struct proxy_address address = { .address = (char *) "127.0.0.1:11417" };
        struct host_config config = {
                .proxies = &address,
                .n_proxies = 1,
                .connections = 4,
                .connect_timeout_usec = 5000000,
                .login_timeout_usec = 10000000,
                .dead_time_usec = 10000000,
                .io_timeout_usec = UINT64_MAX,
                .retain = RETAIN_ALWAYS,
                .retain_limit = 16U << 20,
        };
        struct credentials credentials = { .user = "replay" };
        struct attachment attachment = { .name = "replay" };
        struct nbd_export export = {
                .size = REPLAY_IMAGE_SIZE,
                .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
                         NBD_FLAG_SEND_WRITE_ZEROES,
                .block_size_min = 1,
                .block_size_preferred = 4096,
                .payload_max = NBD_PAYLOAD_MAX,
        };
        struct frontend *frontend;

        if (ivbs_hash_password("replay", 6, credentials.password) < 0 || ring_new(&ring, 64) < 0 ||
                buffers_new(&buffers, 64U << 20) < 0 || requests_new(&requests, buffers, REQUESTS_MAX) < 0 ||
                pool_new(&pool, ring, buffers, requests, &config, &credentials, &attachment, &pool_ops, NULL) < 0)
                REPLAY_FAIL("cannot begin");
        while (!attached || pool_get_sessions(pool) < config.connections)
                step();

        if (heat_new(&heat) < 0)
                REPLAY_FAIL("cannot count");
        heat_set_size(heat, REPLAY_IMAGE_SIZE, ring_now_usec(ring));
        if (frontend_new(&frontend, ring, client_fd, &export, "replay", requests, &stats, &frontend_ops, NULL) < 0)
                REPLAY_FAIL("cannot begin");
        while (!client_step())
                step();
        if (memcmp(client_image(), proxy_image(), REPLAY_IMAGE_SIZE) != 0)
                REPLAY_FAIL("the image is not what was written");

        frontend_close(frontend);
        pool_stop(pool, true, 10000000);
        while (!stopped || !frontend_is_closed)
                step();
        step();
        pool_free(pool);
        if (requests_in_use(requests) != 0 || buffers_in_use(buffers) != 0 || stats.in_flight != 0)
                REPLAY_FAIL("something was left");
        requests_free(requests);
        buffers_free(buffers);
        ring_free(ring);
}
