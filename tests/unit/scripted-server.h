/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An IVBS server that says what a test tells it to: a thread with blocking sockets on the loopback, written against the protocol's description and not against the worker.
 * A script is a function; it asserts what it hears, and each wait has a deadline. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "bytes.h"
#include "cleanup.h"
#include "ivbs-hello.h"
#include "test.h"

#define SERVER_PATIENCE_MS 20000
#define SERVER_IMAGE       "vm1"
#define SERVER_IMAGE_SIZE  (UINT64_C(64) << 20)
#define SERVER_USER        "alice"
#define SERVER_PASSWORD    "secret"
#define SERVER_CAPS \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE)

struct server {
        int listen_fd, fd;
        char address[32];
        pthread_t thread;
        void (*script)(struct server *server);
        const void *data; /* the test's, for the script */

        struct ivbs_header header; /* of the packet that came last, and its payload */
        uint8_t payload[1024 * 1024];
        unsigned n_keepalives;

        /* What it offers, and the image's lease as it stands: a script may change them. */
        uint64_t caps;
        struct ivbs_lease_reply lease;
};

static inline void server_accept(struct server *s) {
        struct timeval patience = { .tv_sec = SERVER_PATIENCE_MS / 1000 };
        struct pollfd pfd = { .fd = s->listen_fd, .events = POLLIN };

        ASSERT_EQ(poll(&pfd, 1, SERVER_PATIENCE_MS), 1);
        s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        ASSERT_TRUE(s->fd >= 0);
        ASSERT_OK(setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
        ASSERT_OK(setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
}

static inline void server_cut(struct server *s) {
        s->fd = safe_close(s->fd);
}

/* Without data there is nothing to write. */
static inline void server_write(struct server *s, const void *data, size_t n) {
        if (!data) {
                ASSERT_EQ(n, 0U);
                return;
        }
        ASSERT_EQ(send(s->fd, data, n, MSG_NOSIGNAL), (ssize_t) n);
}

static inline void server_send(
        struct server *s, uint32_t op, uint32_t status, uint32_t sequence, const void *payload, uint32_t n) {
        struct ivbs_header header = { .op = op, .status = status, .length = n, .sequence = sequence };
        uint8_t bytes[IVBS_HEADER_SIZE];

        memset(header.session_id, 0x5e, sizeof(header.session_id));
        ivbs_header_encode(&header, bytes);
        server_write(s, bytes, sizeof(bytes));
        server_write(s, payload, n);
}

/* To what came last. */
static inline void server_reply(struct server *s, uint32_t status, const void *payload, uint32_t n) {
        server_send(s, s->header.op, status, s->header.sequence, payload, n);
}

/* Takes the next packet, keepalives included. Returns false at the end of the connection. */
static inline bool server_take_any(struct server *s) {
        uint8_t bytes[IVBS_HEADER_SIZE];
        ssize_t n;

        n = recv(s->fd, bytes, sizeof(bytes), MSG_WAITALL);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                return false;
        ASSERT_EQ(n, (ssize_t) sizeof(bytes));
        ivbs_header_decode(bytes, &s->header);
        ASSERT_EQ(s->header.status, 0U);
        ASSERT_OK(ivbs_header_check(&s->header, IVBS_TO_SERVER));
        ASSERT_TRUE(s->header.length <= sizeof(s->payload));
        if (s->header.length > 0)
                ASSERT_EQ(recv(s->fd, s->payload, s->header.length, MSG_WAITALL), (ssize_t) s->header.length);
        return true;
}

static inline bool server_take(struct server *s) {
        while (server_take_any(s)) {
                if (s->header.op != IVBS_OP_KEEPALIVE)
                        return true;
                s->n_keepalives++;
        }
        return false;
}

static inline void server_expect(struct server *s, uint32_t op) {
        uint8_t id[IVBS_SESSION_ID_SIZE];

        if (!server_take(s))
                TEST_FAIL("the connection ended where %s was expected", ivbs_op_to_string(op));
        if (s->header.op != op)
                TEST_FAIL("%s came, expected %s", ivbs_op_to_string(s->header.op), ivbs_op_to_string(op));
        memset(id, 0x5e, sizeof(id));
        ASSERT_MEMEQ(s->header.session_id, id, sizeof(id));
}

/* The worker hangs up, having said nothing more. */
static inline void server_expect_end(struct server *s) {
        if (server_take(s))
                TEST_FAIL("%s came, expected the end", ivbs_op_to_string(s->header.op));
        server_cut(s);
}

static inline void server_greet_classic(struct server *s) {
        server_send(s, IVBS_OP_GREETING, 0, 0, "any bytes", 9);
}

static inline void server_greet_modern(struct server *s) {
        struct ivbs_greeting greeting = { .caps = s->caps, .max_length = IVBS_LENGTH_MAX, .idle_limit_ms = 30000 };
        uint8_t payload[IVBS_GREETING_SIZE];

        ivbs_greeting_encode(&greeting, payload);
        server_send(s, IVBS_OP_GREETING, 0, 0, payload, sizeof(payload));
}

static inline void server_hello(struct server *s, uint64_t caps) {
        uint8_t payload[IVBS_HELLO_REPLY_SIZE];
        struct ivbs_hello hello;

        server_expect(s, IVBS_OP_HELLO);
        ASSERT_OK(ivbs_hello_decode(s->payload, s->header.length, &hello));
        ASSERT_TRUE((hello.caps & SERVER_CAPS) == SERVER_CAPS);
        ivbs_hello_reply_encode(&(struct ivbs_hello_reply){ .caps = caps }, payload);
        server_reply(s, 0, payload, sizeof(payload));
}

static inline void server_expect_login(struct server *s) {
        char user[IVBS_USER_SIZE + 1], password[IVBS_PASSWORD_SIZE], expected[IVBS_PASSWORD_SIZE];

        server_expect(s, IVBS_OP_LOGIN);
        ASSERT_OK(ivbs_login_decode(s->payload, user, password));
        ASSERT_STREQ(user, SERVER_USER);
        ASSERT_OK(ivbs_hash_password(SERVER_PASSWORD, strlen(SERVER_PASSWORD), expected));
        ASSERT_MEMEQ(password, expected, sizeof(expected));
}

static inline void server_login(struct server *s) {
        server_expect_login(s);
        server_reply(s, 0, NULL, 0);
}

static inline struct ivbs_lease_reply server_lease(void) {
        struct ivbs_lease_reply reply = { .size = SERVER_IMAGE_SIZE, .block_size = 4096, .generation = 7 };

        memset(reply.uuid, 0x11, sizeof(reply.uuid));
        memset(reply.token, 0x22, sizeof(reply.token));
        return reply;
}

static inline void server_reply_lease(struct server *s, const struct ivbs_lease_reply *reply) {
        uint8_t payload[IVBS_LEASE_REPLY_SIZE];

        ivbs_lease_reply_encode(reply, payload);
        server_reply(s, 0, payload, sizeof(payload));
}

static inline void server_expect_classic_attach(struct server *s) {
        char name[IVBS_IMAGE_NAME_SIZE];

        server_expect(s, IVBS_OP_ATTACH_TO_IMAGE);
        ASSERT_OK(ivbs_image_name_decode(s->payload, name));
        ASSERT_STREQ(name, SERVER_IMAGE);
}

static inline void server_classic_up(struct server *s) {
        uint8_t payload[IVBS_ATTACH_REPLY_SIZE];

        server_accept(s);
        server_greet_classic(s);
        server_login(s);
        server_expect_classic_attach(s);
        ivbs_attach_reply_encode(SERVER_IMAGE, SERVER_IMAGE_SIZE, payload);
        server_reply(s, 0, payload, sizeof(payload));
}

static inline void server_expect_resume(struct server *s) {
        struct ivbs_resume resume;

        server_expect(s, IVBS_OP_RESUME);
        ASSERT_OK(ivbs_resume_decode(s->payload, s->header.length, &resume));
        ASSERT_STREQ(resume.name, SERVER_IMAGE);
        ASSERT_EQ(resume.generation, s->lease.generation);
        ASSERT_MEMEQ(resume.token, s->lease.token, sizeof(s->lease.token));
}

/* Up to logged in. */
static inline void server_modern_login(struct server *s) {
        server_accept(s);
        server_greet_modern(s);
        server_hello(s, s->caps);
        server_login(s);
}

static inline void server_modern_up(struct server *s, bool again) {
        server_modern_login(s);
        if (again)
                server_expect_resume(s);
        else {
                struct ivbs_lease lease;

                server_expect(s, IVBS_OP_ATTACH_LEASE);
                ASSERT_OK(ivbs_lease_decode(s->payload, s->header.length, &lease));
                ASSERT_STREQ(lease.name, SERVER_IMAGE);
        }
        server_reply_lease(s, &s->lease);
}

static inline void *server_main(void *userdata) {
        struct server *s = userdata;

        s->script(s);
        server_cut(s);
        return NULL;
}

static inline struct server *server_start(void (*script)(struct server *server), const void *data) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(address);
        struct server *s = calloc(1, sizeof(*s));

        ASSERT_TRUE(s);
        s->fd = -EBADF;
        s->script = script;
        s->caps = SERVER_CAPS;
        s->lease = server_lease();
        s->data = data;
        s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_TRUE(s->listen_fd >= 0);
        ASSERT_EQ(bind(s->listen_fd, (struct sockaddr *) &address, size), 0);
        ASSERT_EQ(listen(s->listen_fd, 16), 0);
        ASSERT_EQ(getsockname(s->listen_fd, (struct sockaddr *) &address, &size), 0);
        snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", ntohs(address.sin_port));
        ASSERT_EQ(pthread_create(&s->thread, NULL, server_main, s), 0);
        return s;
}

/* Waits for the end of the script. */
static inline void server_join(struct server *s) {
        ASSERT_EQ(pthread_join(s->thread, NULL), 0);
        safe_close(s->listen_fd);
        free(s);
}
