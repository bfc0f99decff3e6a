/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A pool against scripted servers: what happens to requests while connections come and go. */

#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool-fixture.h"

/* The C library's, in this program. */
static bool has_no_randomness;

ssize_t getrandom(void *buffer, size_t n, unsigned flags) {
        if (has_no_randomness) {
                errno = EAGAIN;
                return -1;
        }
        return syscall(SYS_getrandom, buffer, n, flags);
}

static void every_kind_script(struct server *s) {
        static uint8_t data[512];
        struct ivbs_zeroes zeroes;

        server_modern_up(s, false);
        server_expect(s, IVBS_OP_READ);
        memset(data, 0x42, sizeof(data));
        server_reply(s, 0, data, sizeof(data));
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_WRITE_FUA);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_TRIM);
        ASSERT_EQ(get_be64(s->payload + 8), 1U << 20);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_WRITE_ZEROES);
        ASSERT_OK(ivbs_zeroes_decode(s->payload, s->header.length, &zeroes));
        ASSERT_EQ(zeroes.flags, IVBS_ZEROES_FUA | IVBS_ZEROES_NO_HOLE);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_FLUSH);
        server_reply(s, IVBS_STATUS_NO_SPACE, NULL, 0);
        expect_stop(s);
}

static void every_kind(void) {
        struct server *s = server_start(every_kind_script, NULL);
        struct request *fua, *zeroes;
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        ASSERT_EQ(pool_get_state(x.pool), POOL_ATTACHED);
        ASSERT_STREQ(pool_get_active(x.pool)->address, s->address);
        submit(&x, REQUEST_READ, 0, 512);
        submit(&x, REQUEST_WRITE, 4096, 100000);
        fua = client_request(&x.client, REQUEST_WRITE, 0, 512);
        fua->fua = true;
        pool_submit(x.pool, fua);
        submit(&x, REQUEST_TRIM, 2 << 20, 1 << 20);
        zeroes = client_request(&x.client, REQUEST_WRITE_ZEROES, 4 << 20, 1 << 20);
        zeroes->fua = zeroes->no_hole = true;
        pool_submit(x.pool, zeroes);
        submit(&x, REQUEST_FLUSH, 0, 0);
        RUN_UNTIL(x.client.ring, x.client.n_done == 6);
        for (unsigned i = 0; i < 5; i++)
                ASSERT_EQ(x.client.errors[i], 0);
        ASSERT_EQ(x.client.errors[5], -ENOSPC);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

static void not_now_script(struct server *s) {
        static const uint32_t statuses[] = { IVBS_STATUS_TEMPORARY_ERROR, IVBS_STATUS_NOT_READY,
                IVBS_STATUS_TEMPORARY_ERROR, 0 };

        server_modern_up(s, false);
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++) {
                take_write(s, 4096);
                server_reply(s, statuses[i], NULL, 0);
        }
        expect_stop(s);
}

static void not_now_is_tried_again(void) {
        struct server *s = server_start(not_now_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        stop(&x);
        ASSERT_EQ(x.client.n_done, 1U);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* Another connection, by another proxy or the same. */

static void sends_away_script(struct server *s) {
        server_modern_up(s, false);
        take_write(s, 4096);
        server_reply(s, IVBS_STATUS_USE_ANOTHER_PROXY, NULL, 0);
        server_expect_end(s);
}

static void takes_over_script(struct server *s) {
        server_modern_up(s, true);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void use_another_proxy(void) {
        struct server *a = server_start(sends_away_script, NULL), *b = server_start(takes_over_script, NULL);
        struct fixture x;

        begin(&x, a, b);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_STREQ(pool_get_active(x.pool)->address, b->address);
        ASSERT_EQ(pool_get_failovers(x.pool), 1U);
        ASSERT_EQ(x.n_attached, 1U);
        stop(&x);
        server_join(a);
        server_join(b);
}

static void cut_with_requests_script(struct server *s) {
        server_modern_up(s, false);
        for (uint64_t i = 1; i <= 8; i++)
                take_write(s, i * 4096);
        /* One of them is answered, and is not to come again. */
        server_send(s, IVBS_OP_WRITE, 0, s->header.sequence - 4, NULL, 0);
        server_expect(s, IVBS_OP_READ);
        server_cut(s);

        server_modern_up(s, true);
        for (uint64_t i = 1; i <= 8; i++)
                if (i != 4) {
                        take_write(s, i * 4096);
                        server_reply(s, 0, NULL, 0);
                }
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        take_write(s, 9 * 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void replayed_in_order(void) {
        struct server *s = server_start(cut_with_requests_script, NULL);
        struct request *ninth;
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        for (uint64_t i = 1; i <= 8; i++)
                submit(&x, REQUEST_WRITE, i * 4096, 4096);
        RUN_UNTIL(x.client.ring, x.client.n_done == 1);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_PARKED);
        ASSERT_TRUE(strlen(pool_get_reason(x.pool)) > 0);
        ninth = submit(&x, REQUEST_WRITE, 9 * 4096, 512); /* newer, hence behind */
        RUN_UNTIL(x.client.ring, x.client.n_done == 10);
        for (unsigned i = 0; i < 10; i++)
                ASSERT_EQ(x.client.errors[i], 0);
        ASSERT_TRUE(x.client.order[9] == ninth);
        ASSERT_STREQ(pool_get_reason(x.pool), "");
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* Proxies that cannot go on with what is attached are passed over, and the next that can is taken. */

static void reattach(struct server *s, const struct ivbs_lease_reply *reply) {
        server_modern_login(s);
        server_expect_resume(s);
        server_reply_lease(s, reply);
        server_expect_end(s);
}

static void impostors_script(struct server *s) {
        struct ivbs_lease_reply reply = server_lease();

        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        /* A classic server: no password for it. */
        server_accept(s);
        server_greet_classic(s);
        server_expect_end(s);

        reply.size -= 4096;
        reattach(s, &reply);
        reply = server_lease();
        reply.uuid[15] ^= 1;
        reattach(s, &reply);

        /* Less than what the device was promised. */
        server_accept(s);
        server_greet_modern(s);
        server_hello(s, SERVER_CAPS & ~IVBS_CAP_TRIM);
        server_login(s);
        server_expect_resume(s);
        reply = server_lease();
        server_reply_lease(s, &reply);
        server_expect_end(s);

        /* A modern one without leases: as bad as a classic one. */
        server_accept(s);
        server_greet_modern(s);
        server_hello(s, SERVER_CAPS & ~IVBS_CAP_LEASE);
        server_login(s);
        server_expect_end(s);

        server_modern_up(s, true);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void impostors(void) {
        struct server *s = server_start(impostors_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        do { /* without the growing back-off, which test-proxies covers */
                proxies_get_writable(pool_get_proxies(x.pool), 0)->failures = 0;
                step_and_wait_a_little(x.client.ring);
        } while (x.client.n_done == 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.n_failed, 0U);
        ASSERT_EQ(x.client.attachment.size, SERVER_IMAGE_SIZE);
        stop(&x);
        server_join(s);
}

static void classic_again_script(struct server *s) {
        uint8_t payload[IVBS_ATTACH_REPLY_SIZE];

        server_classic_up(s);
        take_write(s, 4096);
        server_cut(s);

        /* It has been replaced by a modern one, where there is no lease of ours: nothing to resume. */
        server_modern_login(s);
        server_expect_classic_attach(s);
        ivbs_attach_reply_encode(SERVER_IMAGE, SERVER_IMAGE_SIZE, payload);
        server_reply(s, 0, payload, sizeof(payload));
        take_write(s, 4096);
        server_cut(s);

        server_classic_up(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void classic_stays_classic(void) {
        struct server *s = server_start(classic_again_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_FALSE(x.client.attachment.modern);
        ASSERT_EQ(x.n_failed, 0U);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* What is terminal. */

static void expired_script(struct server *s) {
        bool at_io = s->data;

        server_modern_up(s, false);
        take_write(s, 4096);
        if (at_io) {
                server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
                server_expect_end(s);
                return;
        }
        server_cut(s);
        server_modern_login(s);
        server_expect_resume(s);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        server_expect_end(s);
}

static void expired(void) {
        for (unsigned at_io = 0; at_io < 2; at_io++) {
                struct server *s = server_start(expired_script, at_io ? "" : NULL);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                RUN_UNTIL(x.client.ring, x.n_failed > 0);
                ASSERT_EQ(x.failure, FAILURE_HELD);
                ASSERT_TRUE(strstr(x.message, "attached by somebody else"));
                ASSERT_EQ(pool_get_state(x.pool), POOL_FAILED);
                ASSERT_EQ(x.client.errors[0], -EIO);
                submit(&x, REQUEST_READ, 0, 512);
                ASSERT_EQ(x.client.n_done, 2U);
                ASSERT_EQ(x.client.errors[1], -EIO);
                stop(&x);
                ASSERT_EQ(x.n_failed, 1U);
                ASSERT_TRUE(x.stop_error < 0); /* what was written last may not be there */
                server_join(s);
        }
}

static void refuses_script(struct server *s) {
        server_accept(s);
        server_greet_modern(s);
        server_hello(s, SERVER_CAPS);
        server_expect_login(s);
        server_reply(s, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        server_expect_end(s);
}

static void refused_by_all(void) {
        struct server *a = server_start(refuses_script, NULL), *b = server_start(refuses_script, NULL);
        struct fixture x;

        begin(&x, a, b);
        go(&x);
        RUN_UNTIL(x.client.ring, x.n_failed > 0);
        ASSERT_EQ(x.failure, FAILURE_ACCESS_DENIED);
        ASSERT_TRUE(strstr(x.message, "the login of user \"alice\" was refused"));
        stop(&x);
        ASSERT_EQ(x.stop_error, 0); /* nothing was ever written */
        server_join(a);
        server_join(b);
}

static void attaches_script(struct server *s) {
        server_modern_up(s, false);
        expect_stop(s);
}

static void refused_by_one(void) {
        struct server *a = server_start(refuses_script, NULL), *b = server_start(attaches_script, NULL);
        struct fixture x;

        begin(&x, a, b);
        go_and_attach(&x);
        ASSERT_STREQ(pool_get_active(x.pool)->address, b->address);
        ASSERT_EQ(proxies_get(pool_get_proxies(x.pool), 0)->state, PROXY_REFUSED);
        stop(&x);
        server_join(a);
        server_join(b);
}

/* Time */

static void absent_script(struct server *s) {
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_accept(s);
        server_cut(s);

        server_modern_up(s, true);
        take_write(s, 8192);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void io_timeout(void) {
        struct server *s = server_start(absent_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.io_timeout_usec = 20000;
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], -EIO);
        ASSERT_EQ(pool_get_state(x.pool), POOL_PARKED);
        submit(&x, REQUEST_READ, 0, 512); /* fails at once, until somebody is there */
        ASSERT_EQ(x.client.n_done, 2U);
        ASSERT_EQ(x.client.errors[1], -EIO);

        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_ATTACHED);
        submit(&x, REQUEST_WRITE, 8192, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 3);
        ASSERT_EQ(x.client.errors[2], 0);
        ASSERT_EQ(x.n_failed, 0U);
        stop(&x);
        server_join(s);
}

static void dead_script(struct server *s) {
        server_modern_up(s, false);
        take_write(s, 4096);
        server_expect_end(s); /* asked whether it is there, and silent */
        ASSERT_TRUE(s->n_keepalives > 0);

        server_modern_up(s, true);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void silence_is_death(void) {
        struct server *s = server_start(dead_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        expect_life_within(&x, 50000);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_PARKED);
        ASSERT_TRUE(strstr(pool_get_reason(x.pool), "silent for"));
        x.client.config.dead_time_usec = PATIENCE_USEC;
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        stop(&x);
        server_join(s);
}

/* Slow, but there: more than the dead time passes before the reply, and each question is answered. */
static void slow_script(struct server *s) {
        uint32_t sequence;

        server_modern_up(s, false);
        take_write(s, 4096);
        sequence = s->header.sequence;
        for (unsigned i = 0; i < 2; i++) {
                ASSERT_TRUE(server_take_any(s));
                ASSERT_EQ(s->header.op, IVBS_OP_KEEPALIVE);
                server_reply(s, 0, NULL, 0);
        }
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        expect_stop(s);
}

static void slowness_is_not_death(void) {
        struct server *s = server_start(slow_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        expect_life_within(&x, 3000000);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 0U);
        x.client.config.dead_time_usec = PATIENCE_USEC;
        stop(&x);
        server_join(s);
}

/* The loop is not run for longer than the dead time, so that the question whether the proxy is there is put late. It is not left for that. */
static void late_question_script(struct server *s) {
        uint32_t sequence;

        server_modern_up(s, false);
        take_write(s, 4096);
        sequence = s->header.sequence;
        ASSERT_TRUE(server_take_any(s));
        ASSERT_EQ(s->header.op, IVBS_OP_KEEPALIVE);
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        expect_stop(s);
}

static void who_was_not_asked_is_not_dead(void) {
        struct server *s = server_start(late_question_script, NULL);
        struct session *session;
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, pool_get_session(x.pool)->n_in_flight > 0);
        session = pool_get_session(x.pool);
        session->owed_usec -= 10000000;
        session->stream.last_input_usec -= 10000000;
        session->probe_usec = 0;
        /* More than half of it is more than this machine is slow. */
        expect_life_within(&x, 8000000);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 0U);
        x.client.config.dead_time_usec = PATIENCE_USEC;
        stop(&x);
        server_join(s);
}

/* A connection that was idle for long has been silent for long; that says nothing of the request that is sent now. The reply comes after two of the session's ticks. */
static void after_idleness_script(struct server *s) {
        uint32_t sequence;

        server_modern_up(s, false);
        take_write(s, 4096);
        sequence = s->header.sequence;
        ASSERT_EQ(poll(NULL, 0, 700), 0); /* the store is slow */
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        expect_stop(s);
}

static void idleness_is_not_death(void) {
        struct server *s = server_start(after_idleness_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        expect_life_within(&x, 3000000);
        /* As if the last word had come long ago. */
        pool_get_session(x.pool)->stream.last_input_usec -= 10000000;
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 0U);
        stop(&x);
        server_join(s);
}

/* Stopping */

static void stop_waits_script(struct server *s) {
        bool classic = s->data;

        if (classic)
                server_classic_up(s);
        else
                server_modern_up(s, false);
        take_write(s, 4096);
        ASSERT_EQ(poll(NULL, 0, 30), 0); /* a stop that does not wait hangs up meanwhile */
        server_reply(s, 0, NULL, 0);
        if (classic)
                server_expect_end(s);
        else
                expect_stop(s);
}

static void stop_waits_for_what_is_in_flight(void) {
        for (unsigned classic = 0; classic < 2; classic++) {
                struct server *s = server_start(stop_waits_script, classic ? "" : NULL);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                stop(&x);
                ASSERT_EQ(x.client.n_done, 1U);
                ASSERT_EQ(x.client.errors[0], 0);
                ASSERT_EQ(x.stop_error, 0);
                server_join(s);
        }
}

static void stop_fails_script(struct server *s) {
        unsigned way = *(const unsigned *) s->data;

        server_modern_up(s, false);
        take_write(s, 4096);
        if (way == 0) {
                server_cut(s); /* before the flush */
                return;
        }
        if (way == 1) {
                server_expect_end(s); /* the stop's time is over */
                return;
        }
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_FLUSH);
        if (way == 2) {
                server_cut(s);
                return;
        }
        server_reply(s, IVBS_STATUS_PERMANENT_ERROR, NULL, 0);
        server_expect(s, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

/* Whatever keeps the last flush from being done is said. */
static void stop_without_a_flush(void) {
        for (unsigned way = 0; way < 4; way++) {
                struct server *s = server_start(stop_fails_script, &way);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                if (way >= 2) /* its time is not for the answer, which may take as long on a slow machine */
                        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
                pool_stop(x.pool, true, way < 3 ? 200000 : PATIENCE_USEC);
                wait_stopped(&x);
                ASSERT_EQ(x.client.n_done, 1U);
                ASSERT_EQ(x.client.errors[0], way < 2 ? -ESHUTDOWN : 0);
                if (x.stop_error >= 0)
                        TEST_FAIL("way %u: stopped as if all were durable", way);
                server_join(s);
        }
}

static void stop_limit_script(struct server *s) {
        bool gone = s->data;

        server_modern_up(s, false);
        take_write(s, 4096);
        if (gone) {
                server_cut(s);
                return;
        }
        ASSERT_EQ(poll(NULL, 0, 300), 0);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

/* A stop waits for a proxy for so long and not for its whole time; for one that is there it does. */
static void stop_limits_the_wait(void) {
        for (unsigned gone = 0; gone < 2; gone++) {
                struct server *s = server_start(stop_limit_script, gone ? "" : NULL);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                pool_limit_wait(x.pool, 100000);
                pool_stop(x.pool, true, 10 * PATIENCE_USEC);
                wait_stopped(&x);
                ASSERT_EQ(x.client.n_done, 1U);
                ASSERT_EQ(x.client.errors[0], gone ? -ESHUTDOWN : 0);
                ASSERT_EQ(x.stop_error, gone ? -ETIMEDOUT : 0);
                server_join(s);
        }
}

static void nobody_script(struct server *s) {
}

static void stopped_before_it_began(void) {
        for (unsigned steps = 0; steps < 5; steps++) {
                struct server *s = server_start(nobody_script, NULL);
                struct fixture x;

                begin(&x, s, NULL);
                go(&x);
                for (unsigned i = 0; i < steps; i++)
                        ASSERT_OK(ring_step(x.client.ring, false));
                stop(&x);
                ASSERT_EQ(x.stop_error, 0);
                ASSERT_EQ(x.n_attached + x.n_failed, 0U);
                server_join(s);
        }
}

/* Of one that backs off seven times: the times, by which those that come up together keep apart. */
static void note_waits(uint64_t ret[static 7]) {
        struct server *s = server_start(nobody_script, NULL);
        struct proxies *proxies;
        struct fixture x;

        begin(&x, s, NULL);
        go(&x);
        proxies = pool_get_proxies(x.pool);
        for (unsigned i = 0; i < 7; i++) {
                struct proxy *proxy = proxies_get_writable(proxies, 0);
                uint64_t now = UINT64_C(10) * PROXY_BACKOFF_MAX_USEC * (i + 1);

                proxy_failed(proxies, proxy, now, PROXY_UNREACHABLE, "gone");
                ret[i] = proxy->not_before_usec - now;
        }
        stop(&x);
        server_join(s);
}

static void jitter_without_randomness(void) {
        uint64_t one[7], other[7];

        has_no_randomness = true;
        note_waits(one);
        note_waits(other);
        has_no_randomness = false;
        ASSERT_TRUE(memcmp(one, other, sizeof(one)) != 0);
}

static void names(void) {
        ASSERT_STREQ(pool_state_to_string(POOL_RECONNECTING), "reconnecting");
        ASSERT_STREQ(pool_state_to_string(_POOL_STATE_MAX), "unknown");
        ASSERT_TRUE(pool_free(NULL) == NULL);
}

TEST_MAIN(TEST(every_kind), TEST(not_now_is_tried_again), TEST(use_another_proxy), TEST(replayed_in_order),
        TEST(impostors), TEST(classic_stays_classic), TEST(expired), TEST(refused_by_all), TEST(refused_by_one),
        TEST(io_timeout), TEST(silence_is_death), TEST(slowness_is_not_death), TEST(who_was_not_asked_is_not_dead),
        TEST(idleness_is_not_death), TEST(stop_waits_for_what_is_in_flight), TEST(stop_without_a_flush),
        TEST(stop_limits_the_wait), TEST(stopped_before_it_began), TEST(jitter_without_randomness), TEST(names));
