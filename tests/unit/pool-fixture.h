/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A pool with what is around it, and the servers' side of what it does most often. */

#include "pool.h"
#include "worker-client.h"

struct fixture {
        struct client client;
        struct pool *pool;
        unsigned n_attached, n_failed, n_stopped, n_resized;
        enum failure failure;
        char message[512];
        int stop_error;
};

static inline void on_attached(void *userdata) {
        ((struct fixture *) userdata)->n_attached++;
}

static inline void on_changed(void *userdata) {
}

static inline void on_resized(void *userdata) {
        ((struct fixture *) userdata)->n_resized++;
}

static inline void on_failed(void *userdata, enum failure failure, const char *message) {
        struct fixture *x = userdata;

        x->n_failed++;
        x->failure = failure;
        snprintf(x->message, sizeof(x->message), "%s", message);
}

static inline void on_stopped(void *userdata, int error) {
        struct fixture *x = userdata;

        x->n_stopped++;
        x->stop_error = error;
}

static const struct pool_ops pool_ops = {
        .attached = on_attached,
        .resized = on_resized,
        .changed = on_changed,
        .failed = on_failed,
        .stopped = on_stopped,
};

static inline void begin(struct fixture *x, const struct server *a, const struct server *b) {
        *x = (struct fixture){};
        client_init(&x->client, a, b);
}

static inline void go(struct fixture *x) {
        ASSERT_OK(pool_new(&x->pool, x->client.ring, x->client.buffers, x->client.requests, &x->client.config,
                &x->client.credentials, &x->client.attachment, &pool_ops, x));
}

static inline void go_and_attach(struct fixture *x) {
        go(x);
        RUN_UNTIL(x->client.ring, x->n_attached > 0);
}

static inline struct request *submit(struct fixture *x, enum request_op op, uint64_t offset, uint32_t length) {
        struct request *request = client_request(&x->client, op, offset, length);

        pool_submit(x->pool, request);
        return request;
}

/* From now on: a handshake takes the scripted server's thread what it takes. */
static inline void expect_life_within(struct fixture *x, uint64_t usec) {
        x->client.config.dead_time_usec = usec;
        session_watch(pool_get_session(x->pool));
}

static inline void wait_stopped(struct fixture *x) {
        RUN_UNTIL(x->client.ring, x->n_stopped > 0);
        run_what_is_due(x->client.ring);
        ASSERT_EQ(x->n_stopped, 1U);
        pool_free(x->pool);
        client_end(&x->client);
}

static inline void stop(struct fixture *x) {
        pool_stop(x->pool, true, PATIENCE_USEC);
        wait_stopped(x);
}

/* The end that pool_stop() leads to. */
static inline void expect_stop(struct server *s) {
        server_expect(s, IVBS_OP_FLUSH);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static inline void take_write(struct server *s, uint64_t offset) {
        server_expect(s, IVBS_OP_WRITE);
        ASSERT_EQ(ivbs_offset_decode(s->payload), offset);
        for (uint32_t i = 8; i < s->header.length; i++)
                ASSERT_EQ(s->payload[i], (uint8_t) (offset >> 12));
}

static inline void expect_fence(struct server *s) {
        uint8_t token[IVBS_UUID_SIZE];
        uint64_t generation;

        server_expect(s, IVBS_OP_FENCE);
        ASSERT_OK(ivbs_fence_decode(s->payload, s->header.length, token, &generation));
        ASSERT_MEMEQ(token, s->lease.token, sizeof(token));
        ASSERT_EQ(generation, s->lease.generation);
}

static inline void fence(struct server *s) {
        uint8_t payload[IVBS_FENCE_REPLY_SIZE];

        expect_fence(s);
        ivbs_fence_reply_encode(++s->lease.generation, payload);
        server_reply(s, 0, payload, sizeof(payload));
}

/* The connection that a script has is put aside, for another one. */
static inline int put_aside(struct server *s) {
        int fd = s->fd;

        s->fd = -EBADF;
        return fd;
}
