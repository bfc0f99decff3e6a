/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a client's first byte to the moment in which it uses the image, or is refused. */

#include "frontend-fixture.h"

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
TEST_MAIN(TEST(handshake), TEST(handshake_has_a_deadline), TEST(export_name), TEST(aborted), TEST(too_many_options),
        TEST(broken_handshakes));
