/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sessions and pools need around them in a test, with time-outs of tens of milliseconds. */

#include "on-ring.h"
#include "pool.h"
#include "scripted-server.h"

#define CLIENT_PROXIES 2U

struct client {
        struct ring *ring;
        struct buffers *buffers;
        struct requests *requests;
        struct host_config config;
        struct proxy_address addresses[CLIENT_PROXIES];
        struct credentials credentials;
        struct attachment attachment;

        unsigned n_done;
        struct request *order[64]; /* as they were done */
        int errors[64];
};

static inline void client_init(struct client *c, const struct server *a, const struct server *b) {
        *c = (struct client){};
        c->ring = ring_with_watchman();
        ASSERT_OK(buffers_new(&c->buffers, 64 * 1024 * 1024));
        ASSERT_OK(requests_new(&c->requests, c->buffers, REQUESTS_MAX));
        c->addresses[0] = (struct proxy_address){ (char *) a->address, 0 };
        if (b)
                c->addresses[1] = (struct proxy_address){ (char *) b->address, 1 };
        c->config = (struct host_config){
                .proxies = c->addresses,
                .n_proxies = b ? 2 : 1,
                .connect_timeout_usec = PATIENCE_USEC,
                .login_timeout_usec = PATIENCE_USEC,
                .dead_time_usec = PATIENCE_USEC,
                .io_timeout_usec = UINT64_MAX,
                .retain = RETAIN_ALWAYS,
                .retain_limit = 1024 * 1024,
                .classic_replay = true,
        };
        strcpy(c->credentials.user, SERVER_USER);
        ASSERT_OK(ivbs_hash_password(SERVER_PASSWORD, strlen(SERVER_PASSWORD), c->credentials.password));
        strcpy(c->attachment.name, SERVER_IMAGE);
}

static inline void client_end(struct client *c) {
        ASSERT_EQ(requests_in_use(c->requests), 0U);
        ASSERT_EQ(buffers_in_use(c->buffers), 0U);
        requests_free(c->requests);
        buffers_free(c->buffers);
        ring_free(c->ring);
}

static inline void client_done(struct request *request, int error) {
        struct client *c = request->owner;

        ASSERT_TRUE(c->n_done < ELEMENTSOF(c->order));
        c->order[c->n_done] = request;
        c->errors[c->n_done++] = error;
        requests_put(request);
}

static inline struct request *client_request(struct client *c, enum request_op op, uint64_t offset, uint32_t length) {
        struct request *request = requests_get(c->requests, op, length);

        ASSERT_TRUE(request);
        request->offset = offset;
        request->owner = c;
        request->done = client_done;
        if (op == REQUEST_WRITE)
                memset(request->data, (int) (offset >> 12), length);
        return request;
}
