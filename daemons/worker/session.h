/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection to a proxy: connect, greet, log in, attach, then I/O until it ends. A session never outlives its first failure: it reports its end once, with what it
 * still had in hand, and the pool makes another. */

#include <stdbool.h>
#include <stdint.h>

#include "attachment.h"
#include "credentials.h"
#include "error-table.h"
#include "host-config.h"
#include "proxies.h"
#include "request.h"
#include "resolve.h"
#include "ring.h"
#include "stream.h"

#define SESSION_IN_FLIGHT_MAX 256U
#define SESSION_SEQUENCES     1024U /* a power of two, well above what is in flight */

enum session_state {
        SESSION_RESOLVING,
        SESSION_CONNECTING,
        SESSION_GREETING,
        SESSION_HELLO,
        SESSION_LOGIN,
        SESSION_ATTACHING,
        SESSION_READY,
        SESSION_CLOSING,
        _SESSION_STATE_MAX,
};

/* Why a session ended, and what that means for the next. */
enum session_verdict {
        SESSION_LOST,    /* this connection is over; another proxy, or this one again, may do */
        SESSION_REFUSED, /* this proxy will not have us: wrong password, no such image, no right */
        SESSION_EXPIRED, /* somebody else has attached the image: terminal for the attachment */
};

struct session_end {
        enum session_verdict verdict;
        enum failure failure;
        char message[PROXY_REASON_MAX];
};

struct session;

struct session_ops {
        /* Logged in and, with an attachment, attached: requests may be sent. */
        void (*ready)(struct session *session);
        /* A reply to a request: done, or not executed and to be tried again (-EAGAIN). */
        void (*answered)(struct session *session, struct request *request, int error);
        /* The proxy announces proxies. */
        void (*announced)(struct session *session, const struct ivbs_proxy *proxies, size_t n);
        /* The last call. unanswered: in the order they were sent; they are the callee's again. The session is freed after it returns. */
        void (*ended)(struct session *session, const struct session_end *end, struct request_list *unanswered);
};

/* An answer to session_call(): status of the reply and its payload, valid during the call; or a negative errno when the session ended before. */
typedef void (*session_reply_t)(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n);

struct session {
        struct ring *ring;
        const struct host_config *config;
        const struct credentials *credentials;
        struct attachment *attachment; /* NULL: for store operations only */
        struct proxy *proxy;
        const struct session_ops *ops;
        void *owner;
        enum session_state state;

        struct resolve resolve;
        struct sockaddr_storage sockaddr;
        struct ring_op connect_op;
        int fd;
        struct stream stream;
        bool has_stream;
        struct ring_timer timer;
        uint64_t started_usec, connected_usec;
        struct session_end end;
        bool ended;

        uint8_t id[IVBS_SESSION_ID_SIZE];
        bool modern;
        uint64_t caps; /* granted */
        uint32_t idle_limit_ms;
        uint32_t skip; /* bytes of a payload that nobody wants */

        uint32_t next_sequence;
        struct request *by_sequence[SESSION_SEQUENCES];
        struct request_list in_flight;
        unsigned n_in_flight;
        struct request *receiving; /* the read whose data is coming */
        uint64_t waiting_usec;     /* since when the proxy owes an answer, while it owes any */
        uint64_t oldest_probe_usec;

        /* The one control packet under way: handshake, or session_call(). */
        struct stream_out control_out;
        uint8_t control[IVBS_HEADER_SIZE + 512];
        bool control_busy;
        uint32_t control_op, control_sequence;
        session_reply_t reply;
        void *reply_userdata;

        struct stream_out keepalive_out;
        uint8_t keepalive[IVBS_HEADER_SIZE];
        bool keepalive_busy;
};

const char *session_state_to_string(enum session_state state);

/* Starts at once. All pointers must outlive the session. Returns 0 or -ENOMEM. */
int session_new(struct session **ret, struct ring *ring, const struct host_config *config,
        const struct credentials *credentials, struct attachment *attachment, struct proxy *proxy,
        const struct session_ops *ops, void *owner);

/* Begins the end; ended() follows from the loop. The first reason stays. */
void session_close(struct session *session, enum session_verdict verdict, enum failure failure, const char *format,
        ...) _printf_(4, 5);

static inline bool session_has_room(const struct session *session) {
        return session->state == SESSION_READY && session->n_in_flight < SESSION_IN_FLIGHT_MAX;
}

/* The session must have room. */
void session_send(struct session *session, struct request *request);

/* Sends a packet outside the data path, one at a time, and reports the reply. n: at most 512. Returns 0, -EBUSY, -ENOTCONN, or -EOPNOTSUPP when the proxy did not offer it. */
int session_call(
        struct session *session, uint32_t op, const void *payload, size_t n, session_reply_t reply, void *userdata);

/* Between the files of this room. */
ssize_t session_input(struct stream *stream, const uint8_t *data, size_t n); /* session-input.c */
int session_payload(struct stream *stream);                                  /* session-io.c */
int session_io_reply(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
void session_send_control(struct session *session, uint32_t op, const void *payload, size_t n);
void session_set_state(struct session *session, enum session_state state);
int session_on_greeting(
        struct session *session, const struct ivbs_header *header, const uint8_t *payload); /* session-login.c */
int session_on_hello(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
int session_on_login(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
int session_on_attach(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
