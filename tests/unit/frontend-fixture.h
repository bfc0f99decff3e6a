/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A frontend on one end of a socket pair, a client made of plain calls on the other, and a pool that only notes what it is given: the test answers. */

#include <stdlib.h>
#include <sys/socket.h>

#include "bytes.h"
#include "frontend-nbd.h"
#include "on-ring.h"

#define IMAGE_SIZE UINT64_C(1048576)
#define ALL_FLAGS                                                                            \
        (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | \
                NBD_FLAG_SEND_WRITE_ZEROES)

struct fixture {
        struct ring *ring;
        struct buffers *buffers;
        struct requests *requests;
        struct io_stats stats;
        struct frontend *frontend;
        struct nbd_export export;
        int client;

        struct request *submitted[600];
        unsigned n_submitted;
        unsigned n_asked, n_used, n_closed;
        int error;
};

static inline void on_open(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret) {
        struct fixture *x = userdata;

        *ret = x->export;
        x->n_asked++;
        x->n_used += use;
}

static inline void on_submit(void *userdata, struct request *request) {
        struct fixture *x = userdata;

        ASSERT_TRUE(x->n_submitted < ELEMENTSOF(x->submitted));
        x->submitted[x->n_submitted++] = request;
        /* As a session does when the answer comes. */
        if (request->op == REQUEST_READ)
                ASSERT_OK(request_take_buffer(request));
}

static inline void on_closed(void *userdata, struct frontend *frontend, int error) {
        struct fixture *x = userdata;

        ASSERT_TRUE(frontend == x->frontend);
        x->frontend = NULL;
        x->n_closed++;
        x->error = error;
}

static const struct frontend_ops frontend_ops = { .open = on_open, .submit = on_submit, .closed = on_closed };

static inline struct fixture *fixture_new(bool kernel, unsigned slots, uint16_t flags) {
        struct fixture *x = calloc(1, sizeof(*x));
        int fds[2];

        ASSERT_TRUE(x);
        x->ring = ring_with_watchman();
        x->export = (struct nbd_export){
                .size = IMAGE_SIZE,
                .flags = flags,
                .block_size_min = 1,
                .block_size_preferred = 4096,
                .payload_max = 256 * 1024,
        };
        ASSERT_OK(buffers_new(&x->buffers, 16 * 1024 * 1024));
        ASSERT_OK(requests_new(&x->requests, x->buffers, slots));
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        x->client = fds[1];
        ASSERT_OK(frontend_new(&x->frontend, x->ring, fds[0], kernel ? &x->export : NULL, "vm1", x->requests,
                &x->stats, &frontend_ops, x));
        return x;
}

/* Whatever happened before: nothing is left behind. */
static inline void fixture_free(struct fixture *x) {
        if (x->frontend)
                frontend_close(x->frontend);
        for (unsigned i = 0; i < x->n_submitted; i++)
                if (x->submitted[i])
                        x->submitted[i]->done(x->submitted[i], -ESHUTDOWN);
        RUN_UNTIL(x->ring, x->n_closed > 0);
        ASSERT_EQ(x->n_closed, 1U);
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        ASSERT_EQ(buffers_in_use(x->buffers), 0U);
        ASSERT_EQ(x->stats.in_flight, 0U);
        requests_free(x->requests);
        buffers_free(x->buffers);
        ring_free(x->ring);
        safe_close(x->client);
        free(x);
}

static inline void answer(struct fixture *x, unsigned i, int error) {
        struct request *request = TAKE_PTR(x->submitted[i]);

        ASSERT_TRUE(request);
        request->done(request, error);
}

static inline void client_send(struct fixture *x, const void *data, size_t n) {
        send_on_ring(x->ring, x->client, data, n);
}

static inline void client_read(struct fixture *x, void *ret, size_t n) {
        receive_on_ring(x->ring, x->client, ret, n);
}

static inline void client_reads_nothing(struct fixture *x) {
        uint8_t byte;

        run_what_is_due(x->ring);
        ASSERT_EQ(recv(x->client, &byte, 1, MSG_DONTWAIT), -1);
        ASSERT_EQ(errno, EAGAIN);
}

static inline void client_reads_end(struct fixture *x, int error) {
        uint8_t byte;

        RUN_UNTIL(x->ring, x->n_closed > 0);
        ASSERT_EQ(x->error, error);
        ASSERT_TRUE(recv(x->client, &byte, 1, MSG_DONTWAIT) <= 0);
}

/* What a client says and hears before it uses the image */

static inline void greet(struct fixture *x, uint32_t flags) {
        static const uint8_t expected[] = "NBDMAGICIHAVEOPT\0\3";
        uint8_t greeting[NBD_GREETING_SIZE], answer_flags[4];

        client_read(x, greeting, sizeof(greeting));
        ASSERT_MEMEQ(greeting, expected, sizeof(greeting));
        put_be32(answer_flags, flags);
        client_send(x, answer_flags, sizeof(answer_flags));
}

static inline void send_option(struct fixture *x, uint32_t option, const void *payload, uint32_t n) {
        uint8_t head[NBD_OPTION_SIZE];

        put_be64(head, NBD_OPTION_MAGIC);
        put_be32(head + 8, option);
        put_be32(head + 12, n);
        client_send(x, head, sizeof(head));
        if (n > 0)
                client_send(x, payload, n);
}

/* Returns the type of the reply. */
static inline uint32_t read_reply(struct fixture *x, uint32_t option, uint8_t ret[static 4096], uint32_t *ret_n) {
        uint8_t head[NBD_OPTION_REPLY_SIZE];

        client_read(x, head, sizeof(head));
        ASSERT_EQ(get_be64(head), NBD_OPTION_REPLY_MAGIC);
        ASSERT_EQ(get_be32(head + 8), option);
        *ret_n = get_be32(head + 16);
        ASSERT_TRUE(*ret_n < 4096);
        client_read(x, ret, *ret_n);
        ret[*ret_n] = 0;
        return get_be32(head + 12);
}

static inline void expect_reply(struct fixture *x, uint32_t option, uint32_t type) {
        uint8_t payload[4096];
        uint32_t n, r = read_reply(x, option, payload, &n);

        if (r != type)
                TEST_FAIL("option %u: reply %08x, expected %08x", option, r, type);
        if (type & 0x80000000U)
                ASSERT_TRUE(n > 0); /* an error has a sentence */
}

static inline uint32_t info_payload(const char *name, uint8_t ret[static 256]) {
        uint32_t n = (uint32_t) strlen(name);

        put_be32(ret, n);
        memcpy(ret + 4, name, n);
        put_be16(ret + 4 + n, 0);
        return n + 6;
}

static inline void send_info(struct fixture *x, uint32_t option, const char *name) {
        uint8_t payload[256];
        uint32_t n = info_payload(name, payload);

        send_option(x, option, payload, n);
}

static inline void expect_info(struct fixture *x, uint32_t option) {
        uint8_t payload[4096];
        uint32_t n;
        bool has_export = false;

        for (;;) {
                uint32_t type = read_reply(x, option, payload, &n);

                if (type == NBD_REP_ACK)
                        break;
                ASSERT_EQ(type, NBD_REP_INFO);
                if (get_be16(payload) == NBD_INFO_EXPORT) {
                        ASSERT_EQ(get_be64(payload + 2), IMAGE_SIZE);
                        ASSERT_EQ(get_be16(payload + 10), ALL_FLAGS);
                        has_export = true;
                }
        }
        ASSERT_TRUE(has_export);
}

/* ... and then */

static inline void send_request(
        struct fixture *x, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t length) {
        uint8_t bytes[NBD_REQUEST_SIZE];

        nbd_request_encode(
                &(struct nbd_request){
                        .type = type, .flags = flags, .cookie = cookie, .offset = offset, .length = length },
                bytes);
        client_send(x, bytes, sizeof(bytes));
}

static inline uint32_t read_simple(struct fixture *x, uint64_t cookie) {
        uint8_t bytes[NBD_SIMPLE_REPLY_SIZE];
        uint64_t got;
        uint32_t error;

        client_read(x, bytes, sizeof(bytes));
        ASSERT_OK(nbd_simple_reply_decode(bytes, &got, &error));
        ASSERT_EQ(got, cookie);
        return error;
}
