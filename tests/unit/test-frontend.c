/* SPDX-License-Identifier: LGPL-2.1-or-later */

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

static void on_open(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret) {
        struct fixture *x = userdata;

        *ret = x->export;
        x->n_asked++;
        x->n_used += use;
}

static void on_submit(void *userdata, struct request *request) {
        struct fixture *x = userdata;

        ASSERT_TRUE(x->n_submitted < ELEMENTSOF(x->submitted));
        x->submitted[x->n_submitted++] = request;
        /* As a session does when the answer comes. */
        if (request->op == REQUEST_READ)
                ASSERT_OK(request_take_buffer(request));
}

static void on_closed(void *userdata, struct frontend *frontend, int error) {
        struct fixture *x = userdata;

        ASSERT_TRUE(frontend == x->frontend);
        x->frontend = NULL;
        x->n_closed++;
        x->error = error;
}

static const struct frontend_ops frontend_ops = { .open = on_open, .submit = on_submit, .closed = on_closed };

static struct fixture *fixture_new(bool kernel, unsigned slots, uint16_t flags) {
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
static void fixture_free(struct fixture *x) {
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

static void answer(struct fixture *x, unsigned i, int error) {
        struct request *request = TAKE_PTR(x->submitted[i]);

        ASSERT_TRUE(request);
        request->done(request, error);
}

static void client_send(struct fixture *x, const void *data, size_t n) {
        const uint8_t *p = data;

        while (n > 0) {
                ssize_t r = send(x->client, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (r < 0) {
                        ASSERT_EQ(errno, EAGAIN);
                        step_and_wait_a_little(x->ring);
                        continue;
                }
                p += r;
                n -= (size_t) r;
        }
}

static void client_read(struct fixture *x, void *ret, size_t n) {
        uint8_t *p = ret;

        while (n > 0) {
                ssize_t r = recv(x->client, p, n, MSG_DONTWAIT);

                ASSERT_TRUE(r != 0);
                if (r < 0) {
                        ASSERT_EQ(errno, EAGAIN);
                        step_and_wait_a_little(x->ring);
                        continue;
                }
                p += r;
                n -= (size_t) r;
        }
}

static void client_reads_nothing(struct fixture *x) {
        uint8_t byte;

        run_what_is_due(x->ring);
        ASSERT_EQ(recv(x->client, &byte, 1, MSG_DONTWAIT), -1);
        ASSERT_EQ(errno, EAGAIN);
}

static void client_reads_end(struct fixture *x, int error) {
        uint8_t byte;

        RUN_UNTIL(x->ring, x->n_closed > 0);
        ASSERT_EQ(x->error, error);
        ASSERT_TRUE(recv(x->client, &byte, 1, MSG_DONTWAIT) <= 0);
}

/* Handshake */

static void greet(struct fixture *x, uint32_t flags) {
        static const uint8_t expected[] = "NBDMAGICIHAVEOPT\0\3";
        uint8_t greeting[NBD_GREETING_SIZE], answer_flags[4];

        client_read(x, greeting, sizeof(greeting));
        ASSERT_MEMEQ(greeting, expected, sizeof(greeting));
        put_be32(answer_flags, flags);
        client_send(x, answer_flags, sizeof(answer_flags));
}

static void send_option(struct fixture *x, uint32_t option, const void *payload, uint32_t n) {
        uint8_t head[NBD_OPTION_SIZE];

        put_be64(head, NBD_OPTION_MAGIC);
        put_be32(head + 8, option);
        put_be32(head + 12, n);
        client_send(x, head, sizeof(head));
        if (n > 0)
                client_send(x, payload, n);
}

/* Returns the type of the reply. */
static uint32_t read_reply(struct fixture *x, uint32_t option, uint8_t ret[static 4096], uint32_t *ret_n) {
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

static void expect_reply(struct fixture *x, uint32_t option, uint32_t type) {
        uint8_t payload[4096];
        uint32_t n, r = read_reply(x, option, payload, &n);

        if (r != type)
                TEST_FAIL("option %u: reply %08x, expected %08x", option, r, type);
        if (type & 0x80000000U)
                ASSERT_TRUE(n > 0); /* an error has a sentence */
}

static uint32_t info_payload(const char *name, uint8_t ret[static 256]) {
        uint32_t n = (uint32_t) strlen(name);

        put_be32(ret, n);
        memcpy(ret + 4, name, n);
        put_be16(ret + 4 + n, 0);
        return n + 6;
}

static void send_info(struct fixture *x, uint32_t option, const char *name) {
        uint8_t payload[256];
        uint32_t n = info_payload(name, payload);

        send_option(x, option, payload, n);
}

static void expect_info(struct fixture *x, uint32_t option) {
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

static void handshake(void) {
        struct fixture *x = fixture_new(false, 8, ALL_FLAGS);
        uint8_t payload[4096];
        uint32_t n;

        greet(x, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);

        send_info(x, NBD_OPT_INFO, "");
        expect_info(x, NBD_OPT_INFO);
        send_info(x, NBD_OPT_INFO, "vm1");
        expect_info(x, NBD_OPT_INFO);
        ASSERT_TRUE(x->n_asked == 2 && x->n_used == 0);

        send_info(x, NBD_OPT_INFO, "vm2");
        expect_reply(x, NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN);
        send_info(x, NBD_OPT_GO, "vm");
        expect_reply(x, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);
        send_option(x, NBD_OPT_GO, "\0\0\0\377", 4); /* a name that goes beyond the payload */
        expect_reply(x, NBD_OPT_GO, NBD_REP_ERR_INVALID);
        send_option(x, NBD_OPT_INFO, NULL, 0);
        expect_reply(x, NBD_OPT_INFO, NBD_REP_ERR_INVALID);
        ASSERT_EQ(x->n_used, 0U);

        send_option(x, NBD_OPT_LIST, NULL, 0);
        ASSERT_EQ(read_reply(x, NBD_OPT_LIST, payload, &n), NBD_REP_SERVER);
        ASSERT_EQ(get_be32(payload), 3U);
        ASSERT_STREQ((char *) payload + 4, "vm1");
        expect_reply(x, NBD_OPT_LIST, NBD_REP_ACK);
        send_option(x, NBD_OPT_LIST, "x", 1);
        expect_reply(x, NBD_OPT_LIST, NBD_REP_ERR_INVALID);

        send_option(x, NBD_OPT_STARTTLS, NULL, 0);
        expect_reply(x, NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP);
        send_option(x, 4711, payload, 3000);
        expect_reply(x, 4711, NBD_REP_ERR_UNSUP);
        send_option(x, NBD_OPT_STRUCTURED_REPLY, "x", 1);
        expect_reply(x, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID);
        ASSERT_FALSE(x->frontend->structured);
        send_option(x, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        expect_reply(x, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
        ASSERT_TRUE(x->frontend->structured);

        ASSERT_FALSE(x->frontend->writes);
        send_info(x, NBD_OPT_GO, "vm1");
        expect_info(x, NBD_OPT_GO);
        ASSERT_EQ(x->n_used, 1U);
        ASSERT_TRUE(x->frontend->writes);
        ASSERT_EQ(x->frontend->phase, FRONTEND_TRANSMISSION);
        fixture_free(x);
}

/* A client that never comes to use the image does not keep a place for ever, whatever it says meanwhile. */
static void handshake_has_a_deadline(void) {
        for (unsigned stage = 0; stage < 4; stage++) {
                struct fixture *x = fixture_new(false, 8, ALL_FLAGS);
                uint64_t deadline = x->frontend->handshake_timer.deadline_usec;

                ASSERT_TRUE(x->frontend->handshake_timer.armed);
                if (stage >= 1)
                        greet(x, NBD_FLAG_FIXED_NEWSTYLE);
                if (stage >= 2) {
                        send_info(x, NBD_OPT_INFO, "");
                        expect_info(x, NBD_OPT_INFO);
                }
                if (stage < 3) {
                        ASSERT_EQ(x->frontend->handshake_timer.deadline_usec, deadline);
                        ring_timer_set(&x->frontend->handshake_timer, 0); /* as if it had come */
                        RUN_UNTIL(x->ring, x->n_closed > 0);
                        ASSERT_EQ(x->error, -ETIMEDOUT);
                } else {
                        send_info(x, NBD_OPT_GO, "");
                        expect_info(x, NBD_OPT_GO);
                        RUN_UNTIL(x->ring, ring_timer_is_idle(&x->frontend->handshake_timer));
                        ASSERT_EQ(x->n_closed, 0U);
                }
                fixture_free(x);
        }
}

static void export_name(void) {
        static const struct {
                const char *name;
                uint32_t flags;
                size_t size; /* 0: hung up */
        } cases[] = {
                { "vm1", NBD_FLAG_FIXED_NEWSTYLE, 134 },
                { "", NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 10 },
                { "other", NBD_FLAG_FIXED_NEWSTYLE, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct fixture *x = fixture_new(false, 8, ALL_FLAGS);
                uint8_t reply[134];

                greet(x, cases[i].flags);
                send_option(x, NBD_OPT_EXPORT_NAME, cases[i].name, (uint32_t) strlen(cases[i].name));
                if (cases[i].size > 0) {
                        client_read(x, reply, cases[i].size);
                        ASSERT_EQ(get_be64(reply), IMAGE_SIZE);
                        ASSERT_EQ(get_be16(reply + 8), ALL_FLAGS);
                        client_reads_nothing(x);
                        ASSERT_EQ(x->n_used, 1U);
                } else {
                        client_reads_end(x, -ENOENT);
                        ASSERT_EQ(x->n_used, 0U);
                }
                fixture_free(x);
        }
}

static void aborted(void) {
        struct fixture *x = fixture_new(false, 8, ALL_FLAGS);

        greet(x, NBD_FLAG_FIXED_NEWSTYLE);
        send_option(x, NBD_OPT_ABORT, NULL, 0);
        expect_reply(x, NBD_OPT_ABORT, NBD_REP_ACK);
        client_reads_end(x, 0);
        fixture_free(x);
}

static void too_many_options(void) {
        struct fixture *x = fixture_new(false, 8, ALL_FLAGS);

        greet(x, NBD_FLAG_FIXED_NEWSTYLE);
        for (unsigned i = 0; i < 64; i++) {
                send_option(x, 4711, NULL, 0);
                expect_reply(x, 4711, NBD_REP_ERR_UNSUP);
        }
        send_option(x, 4711, NULL, 0);
        client_reads_end(x, -EPROTO);
        fixture_free(x);
}

static void broken_handshakes(void) {
        static const struct {
                uint8_t bytes[24];
                size_t n;
                int error;
        } cases[] = {
                { { 0, 0, 0, 0 }, 4, -EPROTO },    /* not fixed newstyle */
                { { 0x80, 0, 0, 1 }, 4, -EPROTO }, /* a flag that was not offered */
                { "\0\0\0\1IHAVEOPX\0\0\0\7\0\0\0\0", 20, -EBADMSG },
                { "\0\0\0\1IHAVEOPT\0\0\0\7\377\377\377\377", 20, -EMSGSIZE },
                { "\0\0\0\1IHAVEOPT\0\0\0\7\0\0\100\1", 20, -EMSGSIZE },
                { "\0\0\0\1IHAVEOPT\0\0\0\7\0\0\0\4\0\0", 22, -ECONNRESET }, /* cut */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct fixture *x = fixture_new(false, 8, ALL_FLAGS);
                uint8_t greeting[NBD_GREETING_SIZE];

                client_read(x, greeting, sizeof(greeting));
                client_send(x, cases[i].bytes, cases[i].n);
                if (cases[i].error == -ECONNRESET)
                        ASSERT_OK(shutdown(x->client, SHUT_WR));
                client_reads_end(x, cases[i].error);
                fixture_free(x);
        }
}

/* Transmission */

static void send_request(
        struct fixture *x, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t length) {
        uint8_t bytes[NBD_REQUEST_SIZE];

        nbd_request_encode(
                &(struct nbd_request){
                        .type = type, .flags = flags, .cookie = cookie, .offset = offset, .length = length },
                bytes);
        client_send(x, bytes, sizeof(bytes));
}

static uint32_t read_simple(struct fixture *x, uint64_t cookie) {
        uint8_t bytes[NBD_SIMPLE_REPLY_SIZE];
        uint64_t got;
        uint32_t error;

        client_read(x, bytes, sizeof(bytes));
        ASSERT_OK(nbd_simple_reply_decode(bytes, &got, &error));
        ASSERT_EQ(got, cookie);
        return error;
}

static uint8_t *data_of(uint8_t seed, size_t n) {
        uint8_t *p = malloc(n);

        ASSERT_TRUE(p);
        for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t) (seed + i * 3 + i / 256);
        return p;
}

static uint64_t counted(const struct io_latency *latency) {
        uint64_t n = 0;

        for (unsigned i = 0; i < IO_LATENCY_BUCKETS; i++)
                n += latency->counts[i];
        return n;
}

static void every_kind(void) {
        static const struct {
                uint16_t type, flags;
                uint64_t offset;
                uint32_t length;
                enum request_op op;
                bool fua, no_hole;
        } cases[] = {
                { NBD_CMD_READ, 0, 0, 1, REQUEST_READ, false, false },
                { NBD_CMD_READ, NBD_CMD_FLAG_FUA, IMAGE_SIZE - 4096, 4096, REQUEST_READ, false, false },
                { NBD_CMD_READ, 0, 4096, 256 * 1024, REQUEST_READ, false, false },
                { NBD_CMD_WRITE, 0, 512, 256 * 1024, REQUEST_WRITE, false, false },
                { NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, IMAGE_SIZE - 1, 1, REQUEST_WRITE, true, false },
                { NBD_CMD_FLUSH, 0, 0, 0, REQUEST_FLUSH, false, false },
                { NBD_CMD_TRIM, 0, 0, (uint32_t) IMAGE_SIZE, REQUEST_TRIM, false, false },
                { NBD_CMD_WRITE_ZEROES, 0, 4096, 4096, REQUEST_WRITE_ZEROES, false, false },
                { NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, 0, (uint32_t) IMAGE_SIZE,
                        REQUEST_WRITE_ZEROES, true, true },
        };
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t *data = data_of((uint8_t) i, 256 * 1024), *got = malloc(256 * 1024);
                struct request *request;

                ASSERT_TRUE(got);
                send_request(x, cases[i].type, cases[i].flags, 1000 + i, cases[i].offset, cases[i].length);
                if (cases[i].type == NBD_CMD_WRITE)
                        client_send(x, data, cases[i].length);
                RUN_UNTIL(x->ring, x->n_submitted == i + 1);
                ASSERT_EQ(x->stats.in_flight, 1U);

                request = x->submitted[i];
                ASSERT_EQ(request->op, cases[i].op);
                ASSERT_EQ(request->offset, cases[i].offset);
                ASSERT_EQ(request->length, cases[i].length);
                ASSERT_EQ(request->fua, cases[i].fua);
                ASSERT_EQ(request->no_hole, cases[i].no_hole);
                if (cases[i].type == NBD_CMD_WRITE)
                        ASSERT_MEMEQ(request->data, data, request->length);
                client_reads_nothing(x);

                if (cases[i].type == NBD_CMD_READ)
                        memcpy(request->data, data, request->length);
                answer(x, i, 0);
                ASSERT_EQ(read_simple(x, 1000 + i), NBD_SUCCESS);
                if (cases[i].type == NBD_CMD_READ) {
                        client_read(x, got, cases[i].length);
                        ASSERT_MEMEQ(got, data, cases[i].length);
                }
                free(data);
                free(got);
        }
        ASSERT_EQ(x->stats.read_operations, 3U);
        ASSERT_EQ(x->stats.read_bytes, 1U + 4096U + 256U * 1024U);
        ASSERT_EQ(x->stats.written_bytes, 256U * 1024U + 1U);
        ASSERT_EQ(x->stats.flush_operations, 1U);
        ASSERT_EQ(x->stats.completed, ELEMENTSOF(cases));
        ASSERT_EQ(x->stats.errors, 0U);
        ASSERT_EQ(counted(x->stats.latency + IO_READ), x->stats.read_operations);
        ASSERT_EQ(counted(x->stats.latency + IO_WRITE), x->stats.write_operations);
        ASSERT_EQ(counted(x->stats.latency + IO_FLUSH), x->stats.flush_operations);
        fixture_free(x);
}

/* IVBS has no durable TRIM: the client hears of it when the FLUSH behind it is done. */
static void durable_trim(void) {
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);

        send_request(x, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 1, 0, 4096);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        ASSERT_EQ(x->submitted[0]->op, REQUEST_TRIM);
        answer(x, 0, 0);
        client_reads_nothing(x);
        ASSERT_EQ(x->n_submitted, 2U);
        ASSERT_EQ(x->submitted[1]->op, REQUEST_FLUSH);
        answer(x, 1, 0);
        ASSERT_EQ(read_simple(x, 1), NBD_SUCCESS);
        client_reads_nothing(x);

        send_request(x, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 2, 0, 4096);
        RUN_UNTIL(x->ring, x->n_submitted == 3);
        answer(x, 2, -EIO);
        ASSERT_EQ(read_simple(x, 2), NBD_EIO);
        ASSERT_EQ(x->n_submitted, 3U);
        fixture_free(x);
}

/* Costs only itself: the data of a refused write is not taken for the next request. */
static void refused(void) {
        static const struct {
                uint16_t flags_offered, type, flags;
                uint64_t offset;
                uint32_t length, error;
        } cases[] = {
                { ALL_FLAGS | NBD_FLAG_READ_ONLY, NBD_CMD_WRITE, 0, 0, 200000, NBD_EPERM },
                { ALL_FLAGS | NBD_FLAG_READ_ONLY, NBD_CMD_TRIM, 0, 0, 4096, NBD_EPERM },
                { ALL_FLAGS | NBD_FLAG_READ_ONLY, NBD_CMD_WRITE_ZEROES, 0, 0, 4096, NBD_EPERM },
                { ALL_FLAGS, NBD_CMD_WRITE, 0, IMAGE_SIZE - 10, 11, NBD_ENOSPC },
                { ALL_FLAGS, NBD_CMD_WRITE, 0, UINT64_MAX - 1, 2, NBD_ENOSPC },
                { ALL_FLAGS, NBD_CMD_WRITE, 0, 0, 256 * 1024 + 1, NBD_EOVERFLOW },
                { ALL_FLAGS, NBD_CMD_WRITE, 0, 0, NBD_PAYLOAD_MAX, NBD_EOVERFLOW },
                { ALL_FLAGS, NBD_CMD_WRITE, 0x8000, 0, 5000, NBD_EINVAL },
                { ALL_FLAGS, NBD_CMD_WRITE, 0, 0, 0, NBD_EINVAL },
                { ALL_FLAGS, NBD_CMD_READ, 0, 0, 0, NBD_EINVAL },
                { ALL_FLAGS, NBD_CMD_READ, 0, IMAGE_SIZE, 1, NBD_EINVAL },
                { ALL_FLAGS, NBD_CMD_READ, 0, 1, UINT32_MAX, NBD_EOVERFLOW },
                { ALL_FLAGS, NBD_CMD_TRIM, 0, 0, UINT32_MAX, NBD_EINVAL },
                { NBD_FLAG_HAS_FLAGS, NBD_CMD_FLUSH, 0, 0, 0, NBD_EINVAL },
                { NBD_FLAG_HAS_FLAGS, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 512, NBD_EINVAL },
                { ALL_FLAGS, NBD_CMD_RESIZE, 0, 0, 0, NBD_EINVAL },
                { ALL_FLAGS, 4711, 0, 0, 0, NBD_EINVAL },
        };

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                struct fixture *x = fixture_new(true, 8, cases[i].flags_offered);
                uint32_t error;

                send_request(x, cases[i].type, cases[i].flags, i, cases[i].offset, cases[i].length);
                if (cases[i].type == NBD_CMD_WRITE) {
                        uint8_t *data = data_of(0x25, cases[i].length ?: 1);

                        client_send(x, data, cases[i].length);
                        free(data);
                }
                error = read_simple(x, i);
                if (error != cases[i].error)
                        TEST_FAIL("case %u: error %u, expected %u", i, error, cases[i].error);

                send_request(x, NBD_CMD_READ, 0, 4711, 0, 512);
                RUN_UNTIL(x->ring, x->n_submitted == 1);
                ASSERT_EQ(x->submitted[0]->cookie, 4711U);
                ASSERT_EQ(x->stats.errors, 1U);
                fixture_free(x);
        }
}

static void beyond_repair(void) {
        static const uint8_t garbage[NBD_REQUEST_SIZE] = "no request at all";

        for (unsigned i = 0; i < 2; i++) {
                struct fixture *x = fixture_new(true, 8, ALL_FLAGS);

                send_request(x, NBD_CMD_READ, 0, 1, 0, 512);
                if (i == 0)
                        client_send(x, garbage, sizeof(garbage));
                else
                        send_request(x, NBD_CMD_WRITE, 0, 2, 0, NBD_PAYLOAD_MAX + 1);
                client_reads_end(x, i == 0 ? -EBADMSG : -EMSGSIZE);
                ASSERT_EQ(x->n_submitted, 1U);
                ASSERT_EQ(x->stats.in_flight, 0U);
                ASSERT_EQ(requests_in_use(x->requests), 1U); /* the pool has it still */
                fixture_free(x);
        }
}

static void errors_are_never_success(void) {
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);
        unsigned n = 0;

        for (int error = 1; error < 134; error++) {
                send_request(x, error % 2 ? NBD_CMD_READ : NBD_CMD_FLUSH, 0, (uint64_t) error, 0, error % 2 ? 512 : 0);
                RUN_UNTIL(x->ring, x->n_submitted == n + 1);
                answer(x, n++, -error);
                ASSERT_TRUE(read_simple(x, (uint64_t) error) != NBD_SUCCESS);
        }
        client_reads_nothing(x);
        ASSERT_EQ(x->stats.errors, 133U);
        ASSERT_EQ(x->stats.read_bytes, 0U);
        fixture_free(x);
}

static void structured(void) {
        struct fixture *x = fixture_new(false, 8, ALL_FLAGS);
        uint8_t chunk[4096], *data = data_of(9, 2048);

        greet(x, NBD_FLAG_FIXED_NEWSTYLE);
        send_option(x, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        expect_reply(x, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
        send_info(x, NBD_OPT_GO, "");
        expect_info(x, NBD_OPT_GO);

        send_request(x, NBD_CMD_READ, 0, 77, 8192, 2048);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        memcpy(x->submitted[0]->data, data, 2048);
        answer(x, 0, 0);
        client_read(x, chunk, NBD_DATA_CHUNK_SIZE + 2048);
        ASSERT_EQ(get_be32(chunk), NBD_STRUCTURED_MAGIC);
        ASSERT_EQ(get_be16(chunk + 4), NBD_REPLY_FLAG_DONE);
        ASSERT_EQ(get_be16(chunk + 6), NBD_REPLY_TYPE_OFFSET_DATA);
        ASSERT_EQ(get_be64(chunk + 8), 77U);
        ASSERT_EQ(get_be32(chunk + 16), 8U + 2048U);
        ASSERT_EQ(get_be64(chunk + 20), 8192U);
        ASSERT_MEMEQ(chunk + 28, data, 2048);

        /* One that failed in the pool, and one that was refused. */
        for (unsigned i = 0; i < 2; i++) {
                uint32_t length;

                send_request(x, NBD_CMD_READ, 0, 78 + i, i ? IMAGE_SIZE : 0, 512);
                if (i == 0) {
                        RUN_UNTIL(x->ring, x->n_submitted == 2);
                        answer(x, 1, -EIO);
                }
                client_read(x, chunk, NBD_CHUNK_SIZE);
                ASSERT_EQ(get_be32(chunk), NBD_STRUCTURED_MAGIC);
                ASSERT_EQ(get_be16(chunk + 6), NBD_REPLY_TYPE_ERROR);
                ASSERT_EQ(get_be64(chunk + 8), 78U + i);
                length = get_be32(chunk + 16);
                ASSERT_TRUE(length >= 6 && length < 1000);
                client_read(x, chunk, length);
                ASSERT_EQ(get_be32(chunk), i ? NBD_EINVAL : NBD_EIO);
        }

        send_request(x, NBD_CMD_FLUSH, 0, 90, 0, 0);
        RUN_UNTIL(x->ring, x->n_submitted == 3);
        answer(x, 2, 0);
        ASSERT_EQ(read_simple(x, 90), NBD_SUCCESS);
        free(data);
        fixture_free(x);
}

static void disconnected_with_requests_in_flight(void) {
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);
        uint8_t data[512];

        send_request(x, NBD_CMD_READ, 0, 1, 0, 512);
        send_request(x, NBD_CMD_FLUSH, 0, 2, 0, 0);
        send_request(x, NBD_CMD_DISC, 0, 3, 0, 0);
        send_request(x, NBD_CMD_FLUSH, 0, 4, 0, 0); /* nobody listens any more */
        RUN_UNTIL(x->ring, x->n_submitted == 2);
        client_reads_nothing(x);
        ASSERT_EQ(x->n_submitted, 2U);

        answer(x, 1, 0);
        ASSERT_EQ(read_simple(x, 2), NBD_SUCCESS);
        run_what_is_due(x->ring);
        ASSERT_EQ(x->n_closed, 0U);
        answer(x, 0, 0);
        ASSERT_EQ(read_simple(x, 1), NBD_SUCCESS);
        client_read(x, data, sizeof(data));
        client_reads_end(x, 0);
        fixture_free(x);

        /* With none, at once. */
        x = fixture_new(true, 8, ALL_FLAGS);
        send_request(x, NBD_CMD_DISC, 0, 3, 0, 0);
        client_reads_end(x, 0);
        fixture_free(x);
}

static void killed_in_the_middle(void) {
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);

        send_request(x, NBD_CMD_WRITE, 0, 1, 0, 100000);
        client_send(x, &x->stats, sizeof(x->stats));
        RUN_UNTIL(x->ring, requests_in_use(x->requests) == 1);
        x->client = safe_close(x->client);
        RUN_UNTIL(x->ring, x->n_closed > 0);
        ASSERT_EQ(x->error, -ECONNRESET);
        ASSERT_EQ(x->n_submitted, 0U);
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        ASSERT_EQ(buffers_in_use(x->buffers), 0U);
        fixture_free(x);

        /* With requests in the pool: they are finished there, and nobody is told. */
        x = fixture_new(true, 8, ALL_FLAGS);
        send_request(x, NBD_CMD_READ, 0, 1, 0, 4096);
        send_request(x, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 2, 0, 4096);
        RUN_UNTIL(x->ring, x->n_submitted == 2);
        x->client = safe_close(x->client);
        RUN_UNTIL(x->ring, x->n_closed > 0);
        ASSERT_EQ(requests_in_use(x->requests), 2U);
        answer(x, 0, 0);
        answer(x, 1, 0);
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        ASSERT_EQ(x->stats.in_flight, 0U);
        fixture_free(x);
}

static void slots_used_up(void) {
        struct fixture *x = fixture_new(true, 2, ALL_FLAGS);
        uint8_t data[600];

        for (unsigned i = 0; i < 6; i++) {
                send_request(x, i % 2 ? NBD_CMD_WRITE : NBD_CMD_FLUSH, 0, i, 0, i % 2 ? sizeof(data) : 0);
                memset(data, (int) i, sizeof(data));
                if (i % 2)
                        client_send(x, data, sizeof(data));
        }
        for (unsigned i = 0; i < 6; i++) {
                unsigned expected = i + 2 < 6 ? i + 2 : 6;

                RUN_UNTIL(x->ring, x->n_submitted == expected);
                run_what_is_due(x->ring);
                ASSERT_EQ(x->n_submitted, expected);
                ASSERT_EQ(x->submitted[i]->cookie, i);
                if (i % 2)
                        ASSERT_EQ(x->submitted[i]->data[599], i);
                answer(x, i, 0);
                ASSERT_EQ(read_simple(x, i), NBD_SUCCESS);
        }
        fixture_free(x);
}

/* One that asks and never reads must not make the worker keep an answer for each question. */
static void answers_nobody_reads(void) {
        struct fixture *x = fixture_new(true, 8, ALL_FLAGS);
        uint8_t bytes[NBD_REQUEST_SIZE], reply[NBD_SIMPLE_REPLY_SIZE];
        unsigned n_sent = 0, stuck = 0, most = 0;

        nbd_request_encode(&(struct nbd_request){ .type = NBD_CMD_READ, .length = 0 }, bytes);
        while (stuck < 20 && n_sent < 300000) {
                ssize_t n = send(x->client, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n == (ssize_t) sizeof(bytes)) {
                        n_sent++;
                        stuck = 0;
                        if (n_sent % 100 != 0)
                                continue;
                } else {
                        ASSERT_EQ(n, -1);
                        stuck++;
                }
                ASSERT_OK(ring_step(x->ring, false));
                if (x->frontend->stream.n_out > most)
                        most = x->frontend->stream.n_out;
        }
        printf("%u questions, at most %u answers waited\n", n_sent, most);
        ASSERT_TRUE(most <= 2048);
        ASSERT_EQ(stuck, 20U); /* its own socket holds it back */

        for (unsigned i = 0; i < n_sent; i++)
                client_read(x, reply, sizeof(reply));
        client_reads_nothing(x);
        send_request(x, NBD_CMD_FLUSH, 0, 1, 0, 0);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        fixture_free(x);
}

/* Slots are shared with the kernel device: a client gets a part of them, and more only when answers have gone. */
static void a_client_has_its_share(void) {
        const unsigned share = REQUESTS_MAX / 4;
        struct fixture *x = fixture_new(false, REQUESTS_MAX, ALL_FLAGS);

        greet(x, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
        send_info(x, NBD_OPT_GO, "");
        expect_info(x, NBD_OPT_GO);

        for (unsigned i = 0; i < share + 2; i++)
                send_request(x, NBD_CMD_FLUSH, 0, i, 0, 0);
        RUN_UNTIL(x->ring, x->n_submitted == share);
        run_what_is_due(x->ring);
        ASSERT_EQ(x->n_submitted, share);

        for (unsigned i = 0; i < share + 2; i++) {
                RUN_UNTIL(x->ring, x->n_submitted > i);
                answer(x, i, 0);
                ASSERT_EQ(read_simple(x, i), NBD_SUCCESS);
        }
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        fixture_free(x);
}

TEST_MAIN(TEST(handshake), TEST(handshake_has_a_deadline), TEST(export_name), TEST(aborted), TEST(too_many_options),
        TEST(broken_handshakes), TEST(every_kind), TEST(durable_trim), TEST(refused), TEST(beyond_repair),
        TEST(errors_are_never_success), TEST(structured), TEST(disconnected_with_requests_in_flight),
        TEST(killed_in_the_middle), TEST(slots_used_up), TEST(answers_nobody_reads), TEST(a_client_has_its_share));
