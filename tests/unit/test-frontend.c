/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests of a client that uses the image: each kind, what is refused, and what is bounded. */

#include "frontend-fixture.h"

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
TEST_MAIN(TEST(every_kind), TEST(durable_trim), TEST(refused), TEST(beyond_repair), TEST(errors_are_never_success),
        TEST(structured), TEST(disconnected_with_requests_in_flight), TEST(killed_in_the_middle), TEST(slots_used_up),
        TEST(answers_nobody_reads), TEST(a_client_has_its_share));
