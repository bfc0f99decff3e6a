/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker's session that logs in with SCRAM, against a server that is honest, or is not. */

#include "scram-server.h"
#include "session.h"
#include "worker-client.h"

struct outcome {
        struct client client;
        struct proxies *proxies;
        struct session *session;
        unsigned n_ready, n_ended;
        struct session_end end;
};

static void on_ready(struct session *session) {
        ((struct outcome *) session->owner)->n_ready++;
}

static void on_ended(struct session *session, const struct session_end *end, struct request_list *unanswered) {
        struct outcome *o = session->owner;

        o->n_ended++;
        o->end = *end;
        o->session = NULL;
}

static const struct session_ops session_ops = { .ready = on_ready, .ended = on_ended };

static struct outcome *start(const struct server *server) {
        struct outcome *o = calloc(1, sizeof(*o));

        ASSERT_TRUE(o);
        client_init(&o->client, server, NULL);
        ASSERT_OK(login_keys_new(&o->client.credentials.keys, o->client.credentials.password));
        ASSERT_OK(proxies_new(&o->proxies, o->client.config.proxies, 1, 1));
        return o;
}

static struct proxy *proxy_of(struct outcome *o) {
        return proxies_get_writable(o->proxies, 0);
}

/* Without an attachment: ready as soon as it is logged in. */
static void go(struct outcome *o) {
        o->n_ended = 0;
        ASSERT_OK(session_new(&o->session, o->client.ring, &o->client.config, &o->client.credentials, NULL,
                proxy_of(o), false, &session_ops, o));
}

static void end(struct outcome *o) {
        if (o->session)
                session_close(o->session, SESSION_LOST, FAILURE_NONE, "stopped");
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
}

static void finish(struct outcome *o) {
        end(o);
        proxies_free(o->proxies);
        login_keys_free(o->client.credentials.keys);
        client_end(&o->client);
        free(o);
}

/* --- honest --- */

/* A password, the ticket that it gives, the next one, and a password again when that is refused. */
static void script_honest(struct server *s) {
        uint8_t key[IVBS_TICKET_KEY_SIZE];
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, NULL);
        answer_final(s, &scram, &transcript, key);
        server_expect_end(s);
        for (unsigned i = 0; i < 2; i++) {
                server_accept(s);
                introduce(s, &transcript, NULL);
                answer_ticket(s, &transcript, key, true);
                server_expect_end(s);
        }
        server_accept(s);
        introduce(s, &transcript, NULL);
        server_expect(s, IVBS_OP_SCRAM_TICKET);
        server_reply(s, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        answer_first(s, &scram, NULL);
        answer_final(s, &scram, &transcript, key);
        server_expect_end(s);
}

static void honest(void) {
        struct server *server;
        struct outcome *o;

        server = server_start(script_honest, NULL);
        o = start(server);
        for (unsigned i = 0; i < 4; i++) {
                go(o);
                RUN_UNTIL(o->client.ring, o->n_ready > i || o->n_ended > 0);
                ASSERT_EQ(o->n_ended, 0U);
                ASSERT_TRUE(proxy_of(o)->n_ticket == 8 && proxy_of(o)->ticket_is_proved);
                end(o);
        }
        finish(o);
        server_join(server);
}

/* --- not honest --- */

static void expect_end(void (*script)(struct server *s), const void *data, enum session_verdict verdict,
        enum failure failure, const char *words) {
        struct server *server;
        struct outcome *o;

        server = server_start(script, data);
        o = start(server);
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->n_ready, 0U);
        ASSERT_EQ(o->end.verdict, verdict);
        ASSERT_EQ(o->end.failure, failure);
        if (!strstr(o->end.message, words))
                TEST_FAIL("\"%s\" is not in \"%s\"", words, o->end.message);
        ASSERT_EQ(proxy_of(o)->n_ticket, 0U);
        finish(o);
        server_join(server);
}

/* It knows the password's hash, perhaps, but does not prove it. */
static void script_unproved(struct server *s) {
        uint8_t key[IVBS_TICKET_KEY_SIZE];
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, NULL);
        answer_final(s, &scram, &transcript, key);
        server_expect_end(s);
}

static void unproved(void) {
        expect_end(script_unproved, "dishonest", SESSION_REFUSED, FAILURE_ACCESS_DENIED, "could not prove");
}

static void script_challenge(struct server *s) {
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, s->data);
        server_expect_end(s);
}

/* Who asks for few iterations wants to guess the password from the proof. */
static void cheap_challenge(void) {
        expect_end(script_challenge, "s=c2FsdA==,i=1", SESSION_REFUSED, FAILURE_PROTOCOL, "iterations");
        expect_end(script_challenge, "s=c2FsdA==,i=100000000", SESSION_REFUSED, FAILURE_PROTOCOL, "iterations");
        expect_end(script_challenge, "s=!", SESSION_LOST, FAILURE_PROTOCOL, "broke the protocol");
}

/* The last answer comes before anything was asked of it. */
static void script_early(struct server *s) {
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, NULL);
        server_send(s, IVBS_OP_SCRAM_FINAL, 0, s->header.sequence, "\0\0\0\2\0\0\0\0v=", 10);
        while (server_take(s))
                ;
        server_cut(s);
}

static void early(void) {
        expect_end(script_early, NULL, SESSION_LOST, FAILURE_PROTOCOL, "broke the protocol");
}

static void script_false_ticket(struct server *s) {
        uint8_t key[IVBS_TICKET_KEY_SIZE];
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, NULL);
        answer_final(s, &scram, &transcript, key);
        server_expect_end(s);
        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_ticket(s, &transcript, key, false);
        server_expect_end(s);
}

static void false_ticket(void) {
        struct server *server;
        struct outcome *o;

        server = server_start(script_false_ticket, NULL);
        o = start(server);
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ready == 1);
        end(o);
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->n_ready, 1U);
        ASSERT_EQ(o->end.verdict, SESSION_REFUSED);
        ASSERT_TRUE(strstr(o->end.message, "could not prove"));
        finish(o);
        server_join(server);
}

/* A status instead of an answer. With "never", nobody gets the classic login, not even on the loopback. */
static void script_no_scram(struct server *s) {
        struct ivbs_transcript transcript;

        server_accept(s);
        introduce(s, &transcript, NULL);
        server_expect(s, IVBS_OP_SCRAM_FIRST);
        server_reply(s, IVBS_STATUS_NO_SCRAM, NULL, 0);
        if (s->data)
                server_login(s);
        server_expect_end(s);
}

static void fallback(void) {
        struct server *server;
        struct outcome *o;

        server = server_start(script_no_scram, "with the classic login");
        o = start(server);
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ready == 1);
        finish(o);
        server_join(server);

        server = server_start(script_no_scram, NULL);
        o = start(server);
        o->client.config.classic_login = HOST_CLASSIC_LOGIN_NEVER;
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->end.verdict, SESSION_REFUSED);
        ASSERT_TRUE(strstr(o->end.message, "blockstorectl user passwd"));
        finish(o);
        server_join(server);
}

static void script_classic(struct server *s) {
        server_accept(s);
        server_greet_classic(s);
        server_expect_end(s);
}

static void classic_server(void) {
        struct server *server;
        struct outcome *o;

        server = server_start(script_classic, NULL);
        o = start(server);
        o->client.config.classic_login = HOST_CLASSIC_LOGIN_NEVER;
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->end.verdict, SESSION_REFUSED);
        ASSERT_TRUE(strstr(o->end.message, "does not know SCRAM"));
        finish(o);
        server_join(server);
}

/* The session ends while its key is being derived: that is waited for by nobody. */
static void script_slow(struct server *s) {
        struct ivbs_transcript transcript;
        struct scram_server scram;

        server_accept(s);
        introduce(s, &transcript, NULL);
        answer_first(s, &scram, "s=c2FsdA==,i=2000000");
        while (server_take(s))
                ;
        server_cut(s);
}

static void ended_meanwhile(void) {
        struct server *server;
        struct outcome *o;

        server = server_start(script_slow, NULL);
        o = start(server);
        go(o);
        RUN_UNTIL(o->client.ring, session_scram_is_busy(o->session));
        finish(o);
        server_join(server);
}

/* Two that come with one salt, and one that comes later. */
static struct scram_secret derived_secret;
static unsigned n_derived;

static void on_derived(struct derivation *derivation, int error, const struct scram_secret *secret) {
        ASSERT_EQ(error, 0);
        if (n_derived++ > 0)
                ASSERT_MEMEQ(secret, &derived_secret, sizeof(*secret));
        derived_secret = *secret;
}

static void derived_once(void) {
        struct scram_salt salt = { .mechanism = SCRAM_SHA_256, .iterations = 4096, .n = 4, .salt = "salt" };
        char password[IVBS_PASSWORD_SIZE];
        struct ring *ring = ring_with_watchman();
        struct derivation one, two;
        struct scram_secret secret, expected;
        struct login_keys *keys;

        ASSERT_OK(ivbs_hash_password("secret", 6, password));
        ASSERT_OK(login_keys_new(&keys, password));
        ASSERT_EQ(derivation_start(&one, ring, keys, &salt, on_derived, &secret), 0);
        ASSERT_EQ(derivation_start(&two, ring, keys, &salt, on_derived, &secret), 0);
        RUN_UNTIL(ring, n_derived == 2);
        ASSERT_EQ(derivation_start(&one, ring, keys, &salt, on_derived, &secret), 1);
        ASSERT_OK(scram_derive(&salt, password, sizeof(password), &expected));
        ASSERT_MEMEQ(&secret, &expected, sizeof(secret));
        ASSERT_MEMEQ(&secret, &derived_secret, sizeof(secret));
        salt.iterations = 4095;
        ASSERT_ERROR(derivation_start(&one, ring, keys, &salt, on_derived, &secret), EINVAL);
        ASSERT_TRUE(login_keys_free(keys) == NULL);
        ring_free(ring);
}

TEST_MAIN(TEST(honest), TEST(unproved), TEST(cheap_challenge), TEST(early), TEST(false_ticket), TEST(fallback),
        TEST(classic_server), TEST(ended_meanwhile), TEST(derived_once));
