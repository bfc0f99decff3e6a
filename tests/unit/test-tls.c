/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Both ends of a TLS connection through relays, over the loopback: who is believed, what comes through, and how it ends. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "container-of.h"
#include "on-ring.h"
#include "scratch.h"
#include "tls-files.h"
#include "tls.h"

#define HOUR 3600L

static const char *directory;

static struct tls_context *context(bool server, const char *ca, const char *own) {
        _cleanup_free_ char *message = NULL;
        struct tls_context *made = NULL;
        struct tls_files files = {};

        if (ca)
                ASSERT_TRUE(asprintf(&files.ca, "%s/%s.crt", directory, ca) > 0);
        if (own) {
                ASSERT_TRUE(asprintf(&files.certificate, "%s/%s.crt", directory, own) > 0);
                ASSERT_TRUE(asprintf(&files.key, "%s/%s.key", directory, own) > 0);
        }
        if (tls_context_new(&made, server, &files, &message) < 0)
                TEST_FAIL("%s", message);
        tls_files_done(&files);
        return made;
}

static void connect_pair(int ret[static 2]) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &address, size), 0);
        ASSERT_EQ(listen(fd, 1), 0);
        ASSERT_EQ(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_TRUE(ret[0] >= 0);
        ASSERT_EQ(connect(ret[0], (struct sockaddr *) &address, size), 0);
        ret[1] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ASSERT_TRUE(ret[1] >= 0);
        safe_close(fd);
}

struct side {
        struct tls_handshake handshake;
        struct tls_info info;
        bool over;
        int error, fd;
        char reason[TLS_ERROR_MAX];
};

static void on_done(
        struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason) {
        struct side *side = CONTAINER_OF(handshake, struct side, handshake);

        side->over = true;
        side->error = error;
        side->fd = fd;
        if (info)
                side->info = *info;
        snprintf(side->reason, sizeof(side->reason), "%s", reason);
}

struct rig {
        struct ring *ring;
        struct tls_relay *relay;
        struct side client, server;
};

static void rig_init(struct rig *rig) {
        *rig = (struct rig){ .ring = ring_with_watchman(), .client.fd = -EBADF, .server.fd = -EBADF };
        ASSERT_OK(tls_relay_new(&rig->relay));
}

static void rig_done(struct rig *rig) {
        safe_close(rig->client.fd);
        safe_close(rig->server.fd);
        ASSERT_TRUE(tls_relay_free(rig->relay) == NULL);
        ring_free(rig->ring);
}

/* Takes the contexts. */
static void shake(struct rig *rig, struct tls_context *client, struct tls_context *server, const char *name) {
        int fds[2];

        connect_pair(fds);
        ASSERT_OK(tls_start(
                &rig->client.handshake, rig->relay, rig->ring, client, fds[0], name, PATIENCE_USEC, on_done));
        ASSERT_OK(tls_start(
                &rig->server.handshake, rig->relay, rig->ring, server, fds[1], NULL, PATIENCE_USEC, on_done));
        tls_context_unref(client);
        tls_context_unref(server);
        RUN_UNTIL(rig->ring, rig->server.over);
        /* Servers speak first here: a client that was asked for a certificate waits for that. */
        if (rig->server.error == 0)
                ASSERT_EQ(send(rig->server.fd, "hello", 5, 0), 5);
        RUN_UNTIL(rig->ring, rig->client.over);
        if (rig->server.error == 0 && rig->client.error == 0) {
                struct pollfd pfd = { .fd = rig->client.fd, .events = POLLIN };
                char text[6] = "";

                ASSERT_EQ(poll(&pfd, 1, 20000), 1);
                ASSERT_EQ(recv(rig->client.fd, text, 5, 0), 5);
                ASSERT_STREQ(text, "hello");
        }
}

static void expect_through(int from, int to, size_t n) {
        struct pollfd pfds[2] = { { .fd = from, .events = POLLOUT }, { .fd = to, .events = POLLIN } };
        uint8_t out[4096], in[8192];
        size_t sent = 0, got = 0;

        while (got < n) {
                ssize_t k;

                ASSERT_TRUE(poll(pfds + (sent == n), sent == n ? 1 : 2, 20000) > 0);
                if (sent < n) {
                        size_t left = n - sent < sizeof(out) ? n - sent : sizeof(out);

                        for (size_t i = 0; i < left; i++)
                                out[i] = (uint8_t) ((sent + i) * 7 >> 3);
                        k = send(from, out, left, MSG_DONTWAIT | MSG_NOSIGNAL);
                        ASSERT_TRUE(k > 0 || errno == EAGAIN);
                        sent += k > 0 ? (size_t) k : 0;
                }
                k = recv(to, in, sizeof(in), MSG_DONTWAIT);
                ASSERT_TRUE(k > 0 || (k < 0 && errno == EAGAIN));
                for (ssize_t i = 0; i < k; i++)
                        ASSERT_EQ(in[i], (uint8_t) ((got + (size_t) i) * 7 >> 3));
                got += k > 0 ? (size_t) k : 0;
        }
}

static void expect_end(int fd) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        char byte;

        ASSERT_EQ(poll(&pfd, 1, 20000), 1);
        ASSERT_EQ(recv(fd, &byte, 1, 0), 0);
}

static void through(void) {
        struct rig rig;

        rig_init(&rig);
        shake(&rig, context(false, "ca", NULL), context(true, NULL, "localhost"), "127.0.0.1");
        ASSERT_EQ(rig.client.error, 0);
        ASSERT_EQ(rig.server.error, 0);
        /* What a login is bound to is the same on both sides. */
        ASSERT_MEMEQ(rig.client.info.binding, rig.server.info.binding, TLS_BINDING_SIZE);
        ASSERT_STREQ(rig.client.info.version, "TLSv1.3");
        ASSERT_STREQ(rig.client.info.peer, "localhost");
        ASSERT_STREQ(rig.server.info.peer, "");
        expect_through(rig.client.fd, rig.server.fd, 100);
        expect_through(rig.server.fd, rig.client.fd, 3 * 1024 * 1024 + 5);
        expect_through(rig.client.fd, rig.server.fd, 3 * 1024 * 1024 + 7);

        /* The last words arrive, and then the end. */
        ASSERT_EQ(send(rig.server.fd, "bye", 3, 0), 3);
        rig.server.fd = safe_close(rig.server.fd);
        {
                struct pollfd pfd = { .fd = rig.client.fd, .events = POLLIN };
                char text[4] = "";

                ASSERT_EQ(poll(&pfd, 1, 20000), 1);
                ASSERT_EQ(recv(rig.client.fd, text, 3, 0), 3);
                ASSERT_STREQ(text, "bye");
        }
        expect_end(rig.client.fd);
        rig_done(&rig);
}

static void names_and_times(void) {
        static const struct {
                const char *ca, *server, *name, *reason;
        } cases[] = {
                { "ca", "localhost", "localhost", NULL }, { "ca", "localhost", "127.0.0.1", NULL },
                { "ca", "localhost", "::1", NULL }, { "ca", "localhost", "::1%lo", NULL },
                { "ca", "localhost", "elsewhere", "ostname mismatch" },
                { "ca", "localhost", "127.0.0.2", "IP address mismatch" },
                { "ca", "localhost", "127.0.0.1.example.org", "ostname mismatch" },
                { "ca", "old", "localhost", "expired" }, { "ca", "future", "localhost", "not yet valid" },
                { "other-ca", "localhost", "localhost", "unable to get local issuer" },
                { NULL, "localhost", "localhost", "unable to get local issuer" }, /* the system's */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct rig rig;

                rig_init(&rig);
                shake(&rig, context(false, cases[i].ca, NULL), context(true, NULL, cases[i].server), cases[i].name);
                ASSERT_EQ(rig.client.error, cases[i].reason ? -EKEYREJECTED : 0);
                if (cases[i].reason && !strstr(rig.client.reason, cases[i].reason))
                        TEST_FAIL("\"%s\", expected \"%s\"", rig.client.reason, cases[i].reason);
                ASSERT_TRUE(cases[i].reason ? rig.client.fd < 0 : rig.client.fd >= 0);
                rig_done(&rig);
        }
}

/* The server wants to know the client, too. */
static void mutual(void) {
        struct rig rig;

        rig_init(&rig);
        shake(&rig, context(false, "ca", "host1"), context(true, "ca", "localhost"), "localhost");
        ASSERT_EQ(rig.server.error, 0);
        ASSERT_STREQ(rig.server.info.peer, "host1");
        expect_through(rig.client.fd, rig.server.fd, 1000);
        rig_done(&rig);

        for (unsigned i = 0; i < 2; i++) {
                rig_init(&rig);
                shake(&rig, context(false, "ca", i == 0 ? NULL : "stranger"), context(true, "ca", "localhost"),
                        "localhost");
                ASSERT_EQ(rig.server.error, i == 0 ? -EPROTO : -EKEYREJECTED);
                ASSERT_TRUE(rig.server.reason[0] && rig.server.fd < 0);
                ASSERT_EQ(rig.client.error, -EPROTO);
                ASSERT_TRUE(strstr(
                        rig.client.reason, i == 0 ? "set \"tls-certificate\"" : "of the CA that the proxy asks for"));
                rig_done(&rig);
        }
}

/* Who does not speak TLS, who says nothing at all, and who hangs up. */
static void no_tls(void) {
        for (unsigned i = 0; i < 3; i++) {
                struct rig rig;
                struct tls_context *server = context(true, NULL, "localhost");
                int fds[2];

                rig_init(&rig);
                connect_pair(fds);
                ASSERT_OK(tls_start(&rig.server.handshake, rig.relay, rig.ring, server, fds[1], NULL,
                        i == 1 ? 50000 : PATIENCE_USEC, on_done));
                tls_context_unref(server);
                if (i == 0)
                        ASSERT_EQ(send(fds[0], "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
                if (i == 2)
                        fds[0] = safe_close(fds[0]);
                RUN_UNTIL(rig.ring, rig.server.over);
                ASSERT_EQ(rig.server.error, i == 0 ? -EPROTO : i == 1 ? -ETIMEDOUT : -ECONNRESET);
                ASSERT_TRUE(rig.server.reason[0]);
                safe_close(fds[0]);
                rig_done(&rig);
        }
}

static void cancelled(void) {
        struct tls_context *server = context(true, NULL, "localhost");
        struct rig rig;
        int fds[2];

        rig_init(&rig);
        connect_pair(fds);
        ASSERT_OK(tls_start(&rig.server.handshake, rig.relay, rig.ring, server, fds[1], NULL, PATIENCE_USEC, on_done));
        tls_context_unref(server);
        tls_cancel(&rig.server.handshake, rig.ring);
        RUN_UNTIL(rig.ring, rig.server.over);
        ASSERT_EQ(rig.server.error, -ECANCELED);
        expect_end(fds[0]);
        safe_close(fds[0]);
        rig_done(&rig);
}

static void bad_files(void) {
        static const struct {
                const char *certificate, *key, *ca, *words;
        } cases[] = {
                { "none.crt", "localhost.key", NULL, "none.crt" },
                { "localhost.crt", "none.key", NULL, "none.key" },
                { "localhost.crt", "host1.key", NULL, "key values mismatch" },
                { "localhost.key", "localhost.key", NULL, "cannot be used" },
                { "localhost.crt", NULL, NULL, "no key" },
                { "localhost.crt", "localhost.key", "localhost.key", "The CA" },
                { NULL, NULL, NULL, "no certificate" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *message = NULL;
                struct tls_context *made = NULL;
                struct tls_files files = {};

                if (cases[i].certificate)
                        ASSERT_TRUE(asprintf(&files.certificate, "%s/%s", directory, cases[i].certificate) > 0);
                if (cases[i].key)
                        ASSERT_TRUE(asprintf(&files.key, "%s/%s", directory, cases[i].key) > 0);
                if (cases[i].ca)
                        ASSERT_TRUE(asprintf(&files.ca, "%s/%s", directory, cases[i].ca) > 0);
                ASSERT_ERROR(tls_context_new(&made, true, &files, &message), EINVAL);
                ASSERT_TRUE(!made && message);
                if (!strstr(message, cases[i].words))
                        TEST_FAIL("\"%s\", expected \"%s\"", message, cases[i].words);
                tls_files_done(&files);
        }
}

static const struct test tests[] = { TEST(through), TEST(names_and_times), TEST(mutual), TEST(no_tls), TEST(cancelled),
        TEST(bad_files) };

int main(void) {
        static const char names[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
        struct authority ca, other;
        int r;

        scratch_make();
        directory = scratch;
        authority_make(&ca, directory, "ca");
        authority_make(&other, directory, "other-ca");
        issue(&ca, "localhost", names, -HOUR, HOUR, NULL);
        issue(&ca, "old", names, -2 * HOUR, -HOUR, NULL);
        issue(&ca, "future", names, HOUR, 2 * HOUR, NULL);
        issue(&ca, "host1", NULL, -HOUR, HOUR, NULL);
        issue(&other, "stranger", NULL, -HOUR, HOUR, NULL);
        r = test_run_all(tests, ELEMENTSOF(tests));
        authority_done(&ca);
        authority_done(&other);
        scratch_remove();
        return r;
}
