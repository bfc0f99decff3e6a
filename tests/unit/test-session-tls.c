/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker's session over TLS: up to its login, which is bound to that very TLS connection; and what is not taken for the proxy. */

#include <semaphore.h>

#include "container-of.h"
#include "scram-server.h"
#include "scratch.h"
#include "session.h"
#include "tls-client.h"
#include "tls-files.h"
#include "worker-client.h"

#define HOUR 3600L

static struct tls_context *server_context;
static struct tls_relay *server_relay;

/* The server's side of the handshake is done by the test's thread, which has the ring, while the script waits. */
static struct secure {
        sem_t wanted, done;
        struct server *server;
        struct tls_handshake handshake;
        uint8_t binding[TLS_BINDING_SIZE];
        int error;
} secure;

static void server_secured(
        struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason) {
        secure.error = error;
        secure.server->fd = fd;
        if (error == 0) {
                memcpy(secure.binding, info->binding, sizeof(secure.binding));
                ASSERT_OK(fcntl(fd, F_SETFL, O_RDWR));
        }
        sem_post(&secure.done);
}

static bool serve(struct ring *ring) {
        if (sem_trywait(&secure.wanted) == 0)
                ASSERT_OK(tls_start(&secure.handshake, server_relay, ring, server_context, TAKE_FD(secure.server->fd),
                        NULL, PATIENCE_USEC, server_secured));
        return true;
}

static bool server_accept_tls(struct server *s) {
        server_accept(s);
        secure.server = s;
        sem_post(&secure.wanted);
        while (sem_wait(&secure.done) < 0)
                ;
        return secure.error == 0;
}

struct outcome {
        struct client client;
        struct proxies *proxies;
        struct session *session;
        unsigned n_ready, n_worn, n_ended;
        struct session_end end;
        char address[64];
        struct proxy_address configured;
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

static void on_worn(struct session *session) {
        ((struct outcome *) session->owner)->n_worn++;
}

static const struct session_ops session_ops = { .ready = on_ready, .worn = on_worn, .ended = on_ended };

static void use(const char *certificate) {
        _cleanup_free_ char *message = NULL;
        struct tls_files files = {};

        server_context = tls_context_unref(server_context);
        ASSERT_TRUE(asprintf(&files.certificate, "%s/%s.crt", scratch, certificate) > 0);
        ASSERT_TRUE(asprintf(&files.key, "%s/%s.key", scratch, certificate) > 0);
        ASSERT_OK(tls_context_new(&server_context, true, &files, &message));
        tls_files_done(&files);
}

static struct outcome *start(const struct server *server, const char *ca) {
        struct outcome *o = calloc(1, sizeof(*o));
        struct tls_files files = {};

        ASSERT_TRUE(o);
        client_init(&o->client, server, NULL);
        ASSERT_OK(login_keys_new(&o->client.credentials.keys, o->client.credentials.password));
        ASSERT_TRUE(asprintf(&files.ca, "%s/%s.crt", scratch, ca) > 0);
        ASSERT_OK(tls_client_new(&o->client.credentials.tls, &files));
        snprintf(o->address, sizeof(o->address), "tls://%s", server->address);
        o->configured.address = o->address;
        ASSERT_OK(proxies_new(&o->proxies, &o->configured, 1, 1));
        ASSERT_OK(session_new(&o->session, o->client.ring, &o->client.config, &o->client.credentials, NULL,
                proxies_get_writable(o->proxies, 0), false, &session_ops, o));
        return o;
}

static void finish(struct outcome *o) {
        if (o->session)
                session_close(o->session, SESSION_LOST, FAILURE_NONE, "stopped");
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        proxies_free(o->proxies);
        tls_client_free(o->client.credentials.tls);
        login_keys_free(o->client.credentials.keys);
        client_end(&o->client);
        free(o);
}

static void script_login(struct server *s) {
        uint8_t key[IVBS_TICKET_KEY_SIZE];
        struct ivbs_transcript transcript;
        struct scram_server scram;

        ASSERT_TRUE(server_accept_tls(s));
        introduce(s, &transcript, secure.binding);
        answer_first(s, &scram, NULL);
        answer_final(s, &scram, &transcript, key);
        server_expect_end(s);
}

static void login(void) {
        struct server *server = server_start(script_login, NULL);
        struct outcome *o;

        use("proxy");
        o = start(server, "ca");
        RUN_UNTIL(o->client.ring, serve(o->client.ring) && (o->n_ready > 0 || o->n_ended > 0));
        ASSERT_EQ(o->n_ended, 0U);
        ASSERT_TRUE(o->session->encrypted && session_is_secure(o->session));

        /* Keys last for so many bytes in one direction. */
        session_watch(o->session);
        ASSERT_EQ(o->n_worn, 0U);
        o->session->stream.bytes_out = (UINT64_C(1) << 37) + 1;
        o->session->n_in_flight = 1;
        session_watch(o->session);
        ASSERT_EQ(o->n_worn, 0U);
        o->session->n_in_flight = 0;
        session_watch(o->session);
        ASSERT_EQ(o->n_worn, 1U);
        o->session->encrypted = false;
        session_watch(o->session);
        ASSERT_EQ(o->n_worn, 1U);
        finish(o);
        server_join(server);
}

/* The worker's transcript is of one TLS connection, the server's of another: somebody sits between them. */
static void script_between(struct server *s) {
        uint8_t elsewhere[TLS_BINDING_SIZE] = "another connection";
        struct ivbs_transcript transcript;
        struct scram_server scram;
        char text[SCRAM_MESSAGE_MAX];

        ASSERT_TRUE(server_accept_tls(s));
        introduce(s, &transcript, elsewhere);
        answer_first(s, &scram, NULL);
        server_expect(s, IVBS_OP_SCRAM_FINAL);
        ASSERT_EQ(scram_server_check(&scram, transcript.digest, sizeof(transcript.digest), (char *) s->payload,
                          s->header.length, text),
                0);
        server_reply(s, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        server_expect_end(s);
}

static void between(void) {
        struct server *server = server_start(script_between, NULL);
        struct outcome *o;

        use("proxy");
        o = start(server, "ca");
        RUN_UNTIL(o->client.ring, serve(o->client.ring) && o->n_ended > 0);
        ASSERT_EQ(o->n_ready, 0U);
        finish(o);
        server_join(server);
}

static void script_refused(struct server *s) {
        (void) server_accept_tls(s);
        server_cut(s);
}

static void not_the_proxy(void) {
        static const struct {
                const char *certificate, *ca, *words;
        } cases[] = {
                { "elsewhere", "ca", "mismatch" },
                { "old", "ca", "expired" },
                { "proxy", "other-ca", "unable to get local issuer" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct server *server = server_start(script_refused, NULL);
                struct outcome *o;

                use(cases[i].certificate);
                o = start(server, cases[i].ca);
                RUN_UNTIL(o->client.ring, serve(o->client.ring) && o->n_ended > 0);
                ASSERT_EQ(o->n_ready, 0U);
                /* It may be renewed: no reason to give up for good. */
                ASSERT_EQ(o->end.verdict, SESSION_LOST);
                if (!strstr(o->end.message, cases[i].words))
                        TEST_FAIL("\"%s\" is not in \"%s\"", cases[i].words, o->end.message);
                RUN_UNTIL(o->client.ring, !secure.handshake.work);
                finish(o);
                server_join(server);
        }
}

/* The other side says nothing, and the session ends meanwhile. */
static void script_silent(struct server *s) {
        server_accept(s);
        while (recv(s->fd, s->payload, sizeof(s->payload), 0) > 0)
                ;
        server_cut(s);
}

static void silent(void) {
        struct server *server = server_start(script_silent, NULL);
        struct outcome *o = start(server, "ca");

        RUN_UNTIL(o->client.ring, o->session->tls.work != NULL);
        finish(o);
        server_join(server);
}

/* A list from the proxy does not lead away from TLS. */
static void lists(void) {
        struct proxy_address configured = { .address = (char *) "tls://a:11418" };
        struct ivbs_proxy announced[] = {
                { .address = "b:11417" },
                { .address = "c:11418", .flags = IVBS_PROXY_TLS },
                { .address = "tls://d:1" },
        };
        struct proxies *proxies;

        ASSERT_OK(proxies_new(&proxies, &configured, 1, 1));
        ASSERT_TRUE(proxies_merge(proxies, announced, ELEMENTSOF(announced)));
        ASSERT_EQ(proxies_count(proxies), 2U);
        ASSERT_STREQ(proxies_get(proxies, 1)->address, "tls://c:11418");
        proxies_free(proxies);
}

static const struct test tests[] = { TEST(login), TEST(between), TEST(not_the_proxy), TEST(silent), TEST(lists) };

int main(void) {
        struct authority ca, other;
        int r;

        scratch_make();
        authority_make(&ca, scratch, "ca");
        authority_make(&other, scratch, "other-ca");
        issue(&ca, "proxy", "IP:127.0.0.1", -HOUR, HOUR, NULL);
        issue(&ca, "elsewhere", "DNS:elsewhere", -HOUR, HOUR, NULL);
        issue(&ca, "old", "IP:127.0.0.1", -2 * HOUR, -HOUR, NULL);
        ASSERT_OK(tls_relay_new(&server_relay));
        sem_init(&secure.wanted, 0, 0);
        sem_init(&secure.done, 0, 0);
        r = test_run_all(tests, ELEMENTSOF(tests));
        tls_relay_free(server_relay);
        tls_context_unref(server_context);
        authority_done(&ca);
        authority_done(&other);
        scratch_remove();
        return r;
}
