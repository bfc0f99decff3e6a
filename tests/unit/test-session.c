/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One session against a scripted server: what goes over the wire, and what each way to go wrong leads to. */

#include "session.h"
#include "worker-client.h"

struct outcome {
        struct client client;
        struct proxies *proxies;
        struct session *session;
        unsigned n_ready, n_ended, n_unanswered, n_answered, n_announced;
        struct session_end end;
        int error; /* of the answer that came last */

        unsigned n_replies; /* of session_call() */
        int reply_error;
        uint32_t reply_status;
};

static void on_ready(struct session *session) {
        ((struct outcome *) session->owner)->n_ready++;
}

static void on_answered(struct session *session, struct request *request, int error) {
        struct outcome *o = session->owner;

        o->n_answered++;
        o->error = error;
        requests_put(request);
}

static void on_announced(struct session *session, const struct ivbs_proxy *proxies, size_t n) {
        ((struct outcome *) session->owner)->n_announced += (unsigned) n;
}

static void on_ended(struct session *session, const struct session_end *end, struct request_list *unanswered) {
        struct outcome *o = session->owner;
        struct request *request;
        uint64_t last = 0;

        o->n_ended++;
        o->end = *end;
        o->session = NULL;
        while ((request = TAILQ_FIRST(unanswered))) {
                ASSERT_TRUE(o->n_unanswered == 0 || request->order > last);
                last = request->order;
                TAILQ_REMOVE(unanswered, request, entry);
                o->n_unanswered++;
                requests_put(request);
        }
}

static const struct session_ops session_ops = {
        .ready = on_ready,
        .answered = on_answered,
        .announced = on_announced,
        .ended = on_ended,
};

static struct outcome *start(const struct server *server) {
        struct outcome *o = calloc(1, sizeof(*o));

        ASSERT_TRUE(o);
        client_init(&o->client, server, NULL);
        ASSERT_OK(proxies_new(&o->proxies, o->client.config.proxies, 1, 1));
        return o;
}

static void go(struct outcome *o) {
        ASSERT_OK(session_new(&o->session, o->client.ring, &o->client.config, &o->client.credentials,
                &o->client.attachment, proxies_get_writable(o->proxies, 0), false, &session_ops, o));
}

static void finish(struct outcome *o) {
        if (o->session)
                session_close(o->session, SESSION_LOST, FAILURE_NONE, "stopped");
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->n_ended, 1U);
        proxies_free(o->proxies);
        client_end(&o->client);
        free(o);
}

/* The handshake, byte by byte: offsets and values as the protocol's description has them, without any of our codec. */

static void take_raw(struct server *s, uint8_t *ret, uint32_t op, uint32_t sequence, uint32_t length) {
        uint8_t id[32];

        memset(id, 0xab, sizeof(id));
        ASSERT_EQ(recv(s->fd, ret, 48, MSG_WAITALL), 48);
        ASSERT_MEMEQ(ret, id, 32);
        ASSERT_EQ(get_be32(ret + 32), op);
        ASSERT_EQ(get_be32(ret + 36), 0U);
        ASSERT_EQ(get_be32(ret + 40), length);
        ASSERT_EQ(get_be32(ret + 44), sequence);
        if (length > 0)
                ASSERT_EQ(recv(s->fd, ret, length, MSG_WAITALL), (ssize_t) length);
}

static void send_raw(struct server *s, uint32_t op, uint32_t sequence, const void *payload, uint32_t length) {
        uint8_t bytes[48];

        memset(bytes, 0xab, 32);
        put_be32(bytes + 32, op);
        put_be32(bytes + 36, 0);
        put_be32(bytes + 40, length);
        put_be32(bytes + 44, sequence);
        server_write(s, bytes, sizeof(bytes));
        if (length > 0)
                server_write(s, payload, length);
}

static void classic_script(struct server *s) {
        uint8_t bytes[1024], reply[264] = "vm1";

        server_accept(s);
        send_raw(s, 1, 4711, NULL, 0);
        take_raw(s, bytes, 100, 1, 160);
        ASSERT_MEMEQ(bytes, "alice\0\0", 7);
        ASSERT_MEMEQ(
                bytes + 32, "bd2b1aaf7ef4f09be9f52ce2d8d599674d81aa9d6a4421696dc4d93dd0619d68", 64); /* of "secret" */
        send_raw(s, 100, 1, NULL, 0);
        take_raw(s, bytes, 200, 2, 256);
        ASSERT_MEMEQ(bytes, "vm1\0\0", 5);
        put_be64(reply + 256, SERVER_IMAGE_SIZE);
        send_raw(s, 200, 2, reply, sizeof(reply));

        take_raw(s, bytes, 300, 3, 16);
        ASSERT_EQ(get_be64(bytes), 8192U);
        ASSERT_EQ(get_be64(bytes + 8), 512U);
        take_raw(s, bytes, 301, 4, 8 + 512);
        ASSERT_EQ(get_be64(bytes), 4096U);
        ASSERT_TRUE(bytes[8] == 1 && bytes[519] == 1);

        /* Out of order. */
        send_raw(s, 301, 4, NULL, 0);
        memset(bytes, 0x77, 512);
        send_raw(s, 300, 3, bytes, 512);
        server_expect_end(s);
}

static void classic_handshake(void) {
        struct server *s = server_start(classic_script, NULL);
        struct outcome *o = start(s);
        struct request *read, *write;

        go(o);
        RUN_UNTIL(o->client.ring, o->n_ready > 0);
        ASSERT_TRUE(o->client.attachment.attached && !o->client.attachment.modern);
        ASSERT_EQ(o->client.attachment.size, SERVER_IMAGE_SIZE);
        read = client_request(&o->client, REQUEST_READ, 8192, 512);
        write = client_request(&o->client, REQUEST_WRITE, 4096, 512);
        session_send(o->session, read);
        session_send(o->session, write);
        RUN_UNTIL(o->client.ring, o->n_answered == 2);
        ASSERT_EQ(o->error, 0);
        finish(o);
        server_join(s);
}

static void modern_script(struct server *s) {
        static const struct ivbs_proxy proxies[] = { { .priority = 1, .address = "a:1" },
                { .priority = 2, .address = "b:2" } };
        uint8_t list[IVBS_PROXIES_SIZE_MAX];

        server_modern_up(s, s->data != NULL); /* HELLO before LOGIN, and which way to attach */
        server_send(s, IVBS_OP_LIST_PROXIES, 0, 0, list, (uint32_t) ivbs_proxies_encode(proxies, 2, list));
        server_send(s, IVBS_OP_KEEPALIVE, 0, 0, NULL, 0);
        server_expect_end(s);
}

static void modern_handshake(void) {
        for (unsigned again = 0; again < 2; again++) {
                struct server *s = server_start(modern_script, again ? "again" : NULL);
                struct outcome *o = start(s);
                struct ivbs_lease_reply lease = server_lease();

                if (again)
                        attachment_set_modern(&o->client.attachment, SERVER_CAPS, &lease);
                go(o);
                RUN_UNTIL(o->client.ring, o->n_announced == 2);
                ASSERT_EQ(o->n_ready, 1U);
                ASSERT_TRUE(o->client.attachment.attached && o->client.attachment.modern);
                ASSERT_MEMEQ(o->client.attachment.token, lease.token, IVBS_UUID_SIZE);
                ASSERT_TRUE(session_has_room(o->session));
                finish(o);
                server_join(s);
        }
}

/* Ways to go wrong before the session is ready. */

enum stage {
        AT_GREETING,
        AT_HELLO,
        AT_LOGIN,
        AT_ATTACH,
};

enum way {
        STATUS,  /* the reply has status `value` */
        OP,      /* a packet of op `value` instead */
        LENGTH,  /* the reply's header says `value` */
        PAYLOAD, /* the reply has `value` zero bytes */
        SIZE,    /* the image is of size `value` */
        NAME,    /* the image has another name */
        HOLDER,  /* HELD, with the holder's name */
        TWICE,   /* the greeting again */
        CUT,     /* `value` bytes of the reply, then the end */
        GARBAGE,
        SILENCE,
};

struct mishap {
        bool modern;
        enum stage stage;
        enum way way;
        uint64_t value;
        enum session_verdict verdict;
        enum failure failure;
        const char *words;
};

static void go_wrong(struct server *s, const struct mishap *m) {
        static const uint32_t ops[] = { IVBS_OP_GREETING, IVBS_OP_HELLO, IVBS_OP_LOGIN };
        uint32_t op =
                m->stage == AT_ATTACH ? (m->modern ? IVBS_OP_ATTACH_LEASE : IVBS_OP_ATTACH_TO_IMAGE) : ops[m->stage];
        struct ivbs_header header = { .op = op };
        uint8_t bytes[4096] = {};

        switch (m->way) {
        case STATUS:
                server_send(s, op, (uint32_t) m->value, s->header.sequence, NULL, 0);
                break;
        case OP:
                server_send(s, (uint32_t) m->value, 0, s->header.sequence, bytes, 0);
                break;
        case LENGTH:
                header.length = (uint32_t) m->value;
                ivbs_header_encode(&header, bytes);
                server_write(s, bytes, IVBS_HEADER_SIZE);
                break;
        case PAYLOAD:
                server_send(s, op, 0, s->header.sequence, bytes, (uint32_t) m->value);
                break;
        case SIZE:
                if (m->modern) {
                        struct ivbs_lease_reply reply = server_lease();

                        reply.size = m->value;
                        server_reply_lease(s, &reply);
                } else {
                        ivbs_attach_reply_encode(SERVER_IMAGE, m->value, bytes);
                        server_reply(s, 0, bytes, IVBS_ATTACH_REPLY_SIZE);
                }
                break;
        case NAME:
                ivbs_attach_reply_encode("vm10", SERVER_IMAGE_SIZE, bytes);
                server_reply(s, 0, bytes, IVBS_ATTACH_REPLY_SIZE);
                break;
        case HOLDER: {
                struct ivbs_holder holder = { .since_usec = UINT64_C(1700000000000000), .host = "host-nine" };

                ivbs_holder_encode(&holder, bytes);
                server_reply(s, IVBS_STATUS_HELD, bytes, IVBS_HOLDER_SIZE);
                break;
        }
        case TWICE:
                server_greet_classic(s);
                break;
        case CUT:
                ivbs_header_encode(&header, bytes);
                server_write(s, bytes, m->value);
                server_cut(s);
                return;
        case GARBAGE:
                memset(bytes, 0xee, sizeof(bytes));
                server_write(s, bytes, sizeof(bytes));
                break;
        case SILENCE:
                break;
        }
        server_expect_end(s); /* the worker says nothing after that, least of all a password */
}

static void mishap_script(struct server *s) {
        const struct mishap *m = s->data;

        server_accept(s);
        if (m->stage > AT_GREETING) {
                if (m->modern)
                        server_greet_modern(s);
                else
                        server_greet_classic(s);
        }
        if (m->stage == AT_HELLO)
                server_expect(s, IVBS_OP_HELLO);
        else if (m->stage > AT_HELLO && m->modern)
                server_hello(s, SERVER_CAPS);
        if (m->stage == AT_LOGIN)
                server_expect_login(s);
        else if (m->stage > AT_LOGIN) {
                server_login(s);
                server_expect(s, m->modern ? IVBS_OP_ATTACH_LEASE : IVBS_OP_ATTACH_TO_IMAGE);
        }
        go_wrong(s, m);
}

static void mishaps(void) {
#define BROKEN(state) SESSION_LOST, FAILURE_PROTOCOL, "the proxy broke the protocol in state " state
#define ENDED         SESSION_LOST, FAILURE_NO_PROXY, "the proxy closed the connection"
#define RESET         SESSION_LOST, FAILURE_NO_PROXY, "the connection broke"
#define SILENT(state) SESSION_LOST, FAILURE_NO_PROXY, "no answer within 30 ms in state " state
#define LOGIN_FAILED  SESSION_LOST, FAILURE_NO_PROXY, "the login failed: "
#define NOT_NOW       SESSION_LOST, FAILURE_NO_PROXY, "the proxy cannot attach image \"vm1\" now: "
#define NOT_EVER      SESSION_REFUSED, FAILURE_IO, "the proxy cannot attach image \"vm1\": "
#define HUGE_SIZE     SESSION_REFUSED, FAILURE_PROTOCOL, "the proxy gives image \"vm1\" an impossible size"
        static const struct mishap cases[] = {
                { false, AT_GREETING, CUT, 0, ENDED },
                { false, AT_GREETING, CUT, 20, RESET },
                { false, AT_GREETING, SILENCE, 0, SILENT("greeting") },
                { false, AT_GREETING, GARBAGE, 0, BROKEN("greeting") },
                { false, AT_GREETING, OP, IVBS_OP_LOGIN, BROKEN("greeting") },
                { false, AT_GREETING, OP, IVBS_OP_KEEPALIVE, BROKEN("greeting") },
                { false, AT_GREETING, OP, 4711, BROKEN("greeting") },
                { false, AT_GREETING, LENGTH, UINT32_MAX, BROKEN("greeting") },
                { false, AT_GREETING, LENGTH, 5000, BROKEN("greeting") },

                { true, AT_HELLO, CUT, 0, ENDED },
                { true, AT_HELLO, SILENCE, 0, SILENT("hello") },
                { true, AT_HELLO, GARBAGE, 0, BROKEN("hello") },
                { true, AT_HELLO, TWICE, 0, BROKEN("hello") },
                { true, AT_HELLO, STATUS, IVBS_STATUS_PERMISSION_DENIED, BROKEN("hello") },
                { true, AT_HELLO, PAYLOAD, 8, BROKEN("hello") },
                { true, AT_HELLO, OP, IVBS_OP_ATTACH_LEASE, BROKEN("hello") },

                { false, AT_LOGIN, CUT, 47, RESET },
                { false, AT_LOGIN, SILENCE, 0, SILENT("login") },
                { true, AT_LOGIN, SILENCE, 0, SILENT("login") },
                { false, AT_LOGIN, GARBAGE, 0, BROKEN("login") },
                { false, AT_LOGIN, TWICE, 0, BROKEN("login") },
                { false, AT_LOGIN, OP, IVBS_OP_READ, BROKEN("login") },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_NOT_FOUND, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "the login of user \"alice\" was refused" },
                { true, AT_LOGIN, STATUS, IVBS_STATUS_PERMISSION_DENIED, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "the login of user \"alice\" was refused" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_ALREADY_EXISTS, LOGIN_FAILED "ALREADY_EXISTS" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_NOT_LOGGEDIN, LOGIN_FAILED "NOT_LOGGEDIN" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_READ_ONLY, LOGIN_FAILED "READ_ONLY" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_NOT_READY, LOGIN_FAILED "NOT_READY" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_TEMPORARY_ERROR, SESSION_LOST, FAILURE_NO_PROXY,
                        "the proxy has too many logins to check at present, and asks to come again" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_PERMANENT_ERROR, LOGIN_FAILED "PERMANENT_ERROR" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_USE_ANOTHER_PROXY, LOGIN_FAILED "USE_ANOTHER_PROXY" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_INVALID_REQUEST, LOGIN_FAILED "INVALID_REQUEST" },
                { false, AT_LOGIN, STATUS, IVBS_STATUS_EXPIRED, LOGIN_FAILED "EXPIRED" },
                { false, AT_LOGIN, STATUS, 9, LOGIN_FAILED "unknown" },
                { false, AT_LOGIN, STATUS, UINT32_MAX, LOGIN_FAILED "unknown" },

                { false, AT_ATTACH, CUT, 0, ENDED },
                { false, AT_ATTACH, SILENCE, 0, SILENT("attaching") },
                { true, AT_ATTACH, SILENCE, 0, SILENT("attaching") },
                { true, AT_ATTACH, GARBAGE, 0, BROKEN("attaching") },
                { true, AT_ATTACH, OP, IVBS_OP_WRITE, BROKEN("attaching") },
                { true, AT_ATTACH, OP, IVBS_OP_DETACH, BROKEN("attaching") },
                { false, AT_ATTACH, PAYLOAD, 263, BROKEN("attaching") },
                { false, AT_ATTACH, PAYLOAD, 264, BROKEN("attaching") }, /* no name */
                { true, AT_ATTACH, PAYLOAD, 100, BROKEN("attaching") },
                { false, AT_ATTACH, LENGTH, 33 << 20, BROKEN("attaching") },
                { false, AT_ATTACH, NAME, 0, BROKEN("attaching") },
                { false, AT_ATTACH, SIZE, 0, HUGE_SIZE },
                { false, AT_ATTACH, SIZE, UINT64_C(1) << 63, HUGE_SIZE },
                { true, AT_ATTACH, SIZE, 0, HUGE_SIZE },
                { true, AT_ATTACH, SIZE, UINT64_MAX, HUGE_SIZE },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_NOT_FOUND, SESSION_REFUSED, FAILURE_NO_SUCH_IMAGE,
                        "the store has no image \"vm1\"" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_PERMISSION_DENIED, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "user \"alice\" may not write to image \"vm1\"" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_READ_ONLY, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "\"vm1\" is never written, as a snapshot is not: attach it read-only" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_HELD, SESSION_REFUSED, FAILURE_HELD,
                        "image \"vm1\" is attached by another host; --steal takes it over" },
                { true, AT_ATTACH, HOLDER, 0, SESSION_REFUSED, FAILURE_HELD,
                        "image \"vm1\" is attached by host-nine since 2023-11-14 22:13:20 UTC; --steal takes it "
                        "over" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_EXPIRED, SESSION_EXPIRED, FAILURE_HELD,
                        "image \"vm1\" has been attached by somebody else since" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_NOT_READY, NOT_NOW "somebody else has it" },
                { true, AT_ATTACH, STATUS, IVBS_STATUS_TEMPORARY_ERROR, NOT_NOW "it has too much to do" },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_USE_ANOTHER_PROXY,
                        NOT_NOW "it drains, or another proxy is taking the image over" },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_ALREADY_EXISTS, NOT_EVER "ALREADY_EXISTS" },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_NOT_LOGGEDIN, NOT_EVER "NOT_LOGGEDIN" },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_PERMANENT_ERROR, NOT_EVER "PERMANENT_ERROR" },
                { false, AT_ATTACH, STATUS, IVBS_STATUS_INVALID_REQUEST, NOT_EVER "INVALID_REQUEST" },
                { false, AT_ATTACH, STATUS, 9, NOT_EVER "unknown" },
        };

        static const enum session_state states[] = { SESSION_GREETING, SESSION_HELLO, SESSION_LOGIN,
                SESSION_ATTACHING };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const struct mishap *m = cases + i;
                struct server *s = server_start(mishap_script, m);
                struct outcome *o = start(s);

                if (m->way == SILENCE && m->stage == AT_GREETING)
                        o->client.config.login_timeout_usec = 30000;
                go(o);
                if (m->way == SILENCE && m->stage > AT_GREETING) {
                        /* Only from here on, so that a slow machine does not run out of it before. */
                        RUN_UNTIL(o->client.ring, o->session->state == states[m->stage]);
                        o->client.config.login_timeout_usec = 30000;
                        ring_timer_set(&o->session->timer, 30000);
                }
                RUN_UNTIL(o->client.ring, o->n_ended > 0);
                if (o->end.verdict != m->verdict || o->end.failure != m->failure ||
                        strncmp(o->end.message, m->words, strlen(m->words)) != 0)
                        TEST_FAIL("case %zu: verdict %d, failure %d, \"%s\"; expected %d, %d, \"%s\"", i,
                                (int) o->end.verdict, (int) o->end.failure, o->end.message, (int) m->verdict,
                                (int) m->failure, m->words);
                ASSERT_TRUE(o->n_ready == 0 && !o->client.attachment.attached);
                finish(o);
                server_join(s);
        }
}

static void nobody_script(struct server *s) {
}

static void nobody_listens(void) {
        struct server *s = server_start(nobody_script, NULL);
        struct outcome *o = start(s);

        ASSERT_OK(shutdown(s->listen_fd, SHUT_RDWR));
        go(o);
        RUN_UNTIL(o->client.ring, o->n_ended > 0);
        ASSERT_EQ(o->end.verdict, SESSION_LOST);
        ASSERT_STREQ(o->end.message, "cannot connect: Connection refused");
        finish(o);
        server_join(s);
}

/* Ways to go wrong with a request. */

enum reply {
        RIGHT,
        SHORT,
        LONG,
        HUGE,
        NO_DATA,
        WRONG_SEQUENCE,
        WRONG_OP,
        DUPLICATE,
        UNKNOWN_OP_FIRST,
        GREETING_FIRST,
        CALL_REPLY_FIRST,
        CUT_IN_DATA,
        FAILED_WITH_TEXT,
};

static void reply_script(struct server *s) {
        enum reply way = *(const enum reply *) s->data;
        static uint8_t data[200000];

        server_modern_up(s, false);
        server_expect(s, IVBS_OP_READ);
        switch (way) {
        case RIGHT:
                server_reply(s, 0, data, 512);
                break;
        case SHORT:
                server_reply(s, 0, data, 511);
                break;
        case LONG:
                server_reply(s, 0, data, 200000);
                break;
        case HUGE:
        case CUT_IN_DATA: {
                struct ivbs_header header = {
                        .op = IVBS_OP_READ, .length = way == HUGE ? UINT32_MAX : 512, .sequence = s->header.sequence
                };
                uint8_t bytes[IVBS_HEADER_SIZE + 100] = {};

                ivbs_header_encode(&header, bytes);
                server_write(s, bytes, sizeof(bytes));
                if (way == CUT_IN_DATA) {
                        server_cut(s);
                        return;
                }
                break;
        }
        case NO_DATA:
                server_reply(s, 0, NULL, 0);
                break;
        case WRONG_SEQUENCE:
                server_send(s, IVBS_OP_READ, 0, s->header.sequence + 1024, data, 512);
                break;
        case WRONG_OP:
                server_send(s, IVBS_OP_WRITE, 0, s->header.sequence, NULL, 0);
                break;
        case DUPLICATE:
                server_reply(s, 0, data, 512);
                server_reply(s, 0, data, 512);
                break;
        case UNKNOWN_OP_FIRST:
                server_send(s, 4711, 3, 77, data, 200000);
                server_send(s, 2000, 0, 0, NULL, 0);
                server_reply(s, 0, data, 512);
                break;
        case GREETING_FIRST:
                server_greet_modern(s);
                break;
        case CALL_REPLY_FIRST:
                server_send(s, IVBS_OP_DETACH, 0, s->header.sequence, NULL, 0);
                break;
        case FAILED_WITH_TEXT:
                server_reply(s, IVBS_STATUS_PERMANENT_ERROR, data, 4096);
                break;
        }
        server_expect_end(s);
}

static void replies(void) {
        static const struct {
                enum reply way;
                unsigned n_answered, n_unanswered;
                int error;
                const char *words; /* NULL: the session goes on */
        } cases[] = {
                { RIGHT, 1, 0, 0, NULL },
                { SHORT, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { LONG, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { HUGE, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { NO_DATA, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { WRONG_SEQUENCE, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { WRONG_OP, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { DUPLICATE, 1, 0, 0, "the proxy broke the protocol in state ready" },
                { UNKNOWN_OP_FIRST, 1, 0, 0, NULL },
                { GREETING_FIRST, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { CALL_REPLY_FIRST, 0, 1, 0, "the proxy broke the protocol in state ready" },
                { CUT_IN_DATA, 0, 1, 0, "the connection broke" },
                { FAILED_WITH_TEXT, 1, 0, -EIO, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct server *s = server_start(reply_script, &cases[i].way);
                struct outcome *o = start(s);

                go(o);
                RUN_UNTIL(o->client.ring, o->n_ready > 0);
                session_send(o->session, client_request(&o->client, REQUEST_READ, 0, 512));
                if (cases[i].words) {
                        RUN_UNTIL(o->client.ring, o->n_ended > 0);
                        if (strncmp(o->end.message, cases[i].words, strlen(cases[i].words)) != 0)
                                TEST_FAIL("case %zu: \"%s\"", i, o->end.message);
                        ASSERT_EQ(o->end.verdict, SESSION_LOST);
                } else
                        RUN_UNTIL(o->client.ring, o->n_answered > 0);
                ASSERT_EQ(o->n_answered, cases[i].n_answered);
                ASSERT_EQ(o->n_unanswered, cases[i].n_unanswered);
                ASSERT_EQ(o->error, cases[i].error);
                finish(o);
                server_join(s);
        }
}

/* Packets outside the data path. */

static void on_reply(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n) {
        struct outcome *o = userdata;

        o->n_replies++;
        o->reply_error = error;
        o->reply_status = status;
}

static void call_script(struct server *s) {
        unsigned way = *(const unsigned *) s->data;

        server_modern_up(s, false);
        server_expect(s, IVBS_OP_REMOVE_IMAGE);
        if (way == 0)
                server_reply(s, IVBS_STATUS_IN_USE, NULL, 0);
        else if (way == 1)
                server_send(s, IVBS_OP_REMOVE_IMAGE, 0, s->header.sequence + 1, NULL, 0);
        else if (way == 2)
                server_send(s, IVBS_OP_DETACH, 0, s->header.sequence, NULL, 0);
        else {
                server_cut(s);
                return;
        }
        server_expect_end(s);
}

/* Whatever the answer is, whoever called is told exactly once. */
static void calls(void) {
        static const uint8_t payload[IVBS_REMOVE_IMAGE_SIZE] = { [24] = 'x' };

        for (unsigned way = 0; way < 4; way++) {
                struct server *s = server_start(call_script, &way);
                struct outcome *o = start(s);

                go(o);
                RUN_UNTIL(o->client.ring, o->n_ready > 0);
                ASSERT_OK(session_call(o->session, IVBS_OP_REMOVE_IMAGE, payload, sizeof(payload), on_reply, o));
                ASSERT_ERROR(
                        session_call(o->session, IVBS_OP_REMOVE_IMAGE, payload, sizeof(payload), on_reply, o), EBUSY);
                if (way == 0) {
                        RUN_UNTIL(o->client.ring, o->n_replies > 0);
                        ASSERT_EQ(o->reply_error, 0);
                        ASSERT_EQ(o->reply_status, IVBS_STATUS_IN_USE);
                } else {
                        RUN_UNTIL(o->client.ring, o->n_ended > 0);
                        ASSERT_EQ(o->n_replies, 1U);
                        ASSERT_EQ(o->reply_error, -ECONNRESET);
                }
                finish(o);
                server_join(s);
        }
}

/* A session may be closed at any moment, and ends once. */
static void closed_early(void) {
        for (unsigned steps = 0; steps < 6; steps++) {
                unsigned before = count_descriptors();
                struct server *s = server_start(nobody_script, NULL);
                struct outcome *o = start(s);

                go(o);
                for (unsigned i = 0; i < steps; i++)
                        ASSERT_OK(ring_step(o->client.ring, false));
                session_close(o->session, SESSION_LOST, FAILURE_NONE, "enough");
                session_close(o->session, SESSION_REFUSED, FAILURE_HELD, "too late");
                RUN_UNTIL(o->client.ring, o->n_ended > 0);
                ASSERT_STREQ(o->end.message, "enough");
                finish(o);
                server_join(s);
                ASSERT_EQ(count_descriptors(), before);
        }
}

TEST_MAIN(TEST(classic_handshake), TEST(modern_handshake), TEST(mishaps), TEST(nobody_listens), TEST(replies),
        TEST(calls), TEST(closed_early));
