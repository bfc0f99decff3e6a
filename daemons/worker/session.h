/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection to a proxy: connect, greet, log in, attach, then I/O until it ends. A session never outlives its first failure: it reports its end once, with what it
 * still had in hand, and the pool makes another.
 *
 * A standby stops after the login and waits to be told to attach. A session that is ready is good for I/O only as long as its generation is the attachment's: after a FENCE
 * that went over another session it has to rejoin. */

#include <stdbool.h>
#include <stdint.h>

#include "attachment.h"
#include "credentials.h"
#include "error-table.h"
#include "host-config.h"
#include "ivbs-scram.h"
#include "proxies.h"
#include "request.h"
#include "resolve.h"
#include "ring.h"
#include "stream.h"
#include "tls.h"

#define SESSION_IN_FLIGHT_MAX 256U
#define SESSION_CALL_MAX      1024U /* bytes of payload */
/* Reads whose data go through a pipe: below, the system calls that this takes cost more than copying; above, no pipe has room for it. */
#define SESSION_PIPE_MIN  (48U * 1024U)
#define SESSION_PIPE_MAX  (4U * 1024U * 1024U)
#define SESSION_SEQUENCES 1024U /* a power of two, well above what is in flight */

enum session_state {
        SESSION_RESOLVING,
        SESSION_CONNECTING,
        SESSION_SECURING, /* TLS */
        SESSION_GREETING,
        SESSION_HELLO,
        SESSION_LOGIN,
        SESSION_STANDING_BY,
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
        bool silent; /* the proxy gave no sign of life: what else goes to it can be given up, too */
        char message[PROXY_REASON_MAX];
};

/* What answered() is told besides 0 and a negative errno that is the request's end: it was not executed and never will be on this session. */
#define SESSION_NOT_NOW   (-EAGAIN)  /* ask again later */
#define SESSION_ELSEWHERE (-EREMCHG) /* ask another proxy */
#define SESSION_STALE     (-ESTALE)  /* the session's generation is not the image's any more */

struct session;
TAILQ_HEAD(session_list, session);

struct session_ops {
        /* Logged in and, with an attachment, attached: requests may be sent. Again after session_fence() and session_rejoin(). */
        void (*ready)(struct session *session);
        /* A standby has logged in. May be NULL where there are none. */
        void (*standing_by)(struct session *session);
        /* The proxy wants to be left. May be NULL. */
        void (*draining)(struct session *session);
        /* The image has another size, which session_rejoin() finds out. May be NULL. */
        void (*resized)(struct session *session);
        /* Its keys have encrypted what they are good for: it is to be closed, and another one made. May be NULL. */
        void (*worn)(struct session *session);
        /* A reply to a request. */
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
        unsigned role; /* the owner's */
        TAILQ_ENTRY(session) entry;
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
        bool standby;  /* not to attach by itself */
        bool draining; /* the proxy wants to be left */

        uint64_t generation;    /* under which it is attached */
        uint64_t size_epoch;    /* ... and which size of the image it was told */
        uint64_t noticed_epoch; /* that there is a later one, and it has not been told yet; 0: none */
        bool size_asked_again;
        uint64_t resume_generation;    /* under which it tries to be */
        struct ivbs_identity identity; /* of the proxy, as the attach's reply has it */
        bool durable_acks;

        uint8_t id[IVBS_SESSION_ID_SIZE];
        bool modern;
        uint64_t caps; /* granted */
        struct tls_handshake tls;
        bool encrypted;
        uint8_t tls_binding[TLS_BINDING_SIZE];
        struct ivbs_transcript transcript;
        struct session_scram *scram; /* a login with SCRAM under way or over, or NULL */
        uint32_t idle_limit_ms;
        uint32_t skip; /* bytes of a payload that nobody wants */

        uint32_t next_sequence;
        struct request *by_sequence[SESSION_SEQUENCES];
        struct request_list in_flight;
        unsigned n_in_flight;
        uint64_t bytes_in_flight;
        struct request *receiving; /* the read whose data is coming */
        size_t pipe_max;           /* data that fit into a pipe, as far as is known */

        /* Silence, see session-clock.c. */
        uint64_t owed_usec;  /* since when the proxy owes an answer, while it owes any */
        uint64_t probe_usec; /* when it was last asked for a sign of life */
        bool probing;        /* ... and has given none since */
        bool answers_keepalive;
        uint32_t probe_sequence; /* of the read that asks a classic server */

        /* The one packet outside the data path that is under way: handshake, fence, or session_call(). */
        uint32_t control_op, control_sequence;
        session_reply_t reply;
        void *reply_userdata;
        bool awaiting; /* the reply to FENCE or to a rejoining RESUME */
        bool fenced;   /* ready() comes from FENCE: the owner's to take back */
        bool measured; /* the owner has taken its round trip */
        bool joined;   /* it has carried I/O: the owner has counted it */

        struct stream_out probe_out;
        uint8_t probe[2 * IVBS_HEADER_SIZE + IVBS_READ_SIZE];
        bool probe_busy;
};

const char *session_state_to_string(enum session_state state);

/* Starts at once. All pointers must outlive the session. attachment: NULL for store operations. Returns 0 or -ENOMEM. */
int session_new(struct session **ret, struct ring *ring, const struct host_config *config,
        const struct credentials *credentials, struct attachment *attachment, struct proxy *proxy, bool standby,
        const struct session_ops *ops, void *owner);

/* Of a standby that stands by: attaches now. ready() or ended() follows. */
void session_attach(struct session *session);

/* Raises the image's generation, so that whatever other sessions of this attachment have not got done by the reply is never done. Nothing may be sent until ready(). The session
 * is ready and leased. */
void session_fence(struct session *session);
/* Takes up the attachment's present generation. Nothing may be sent until ready(). */
void session_rejoin(struct session *session);

/* Begins the end; ended() follows from the loop. The first reason stays. */
void session_close(struct session *session, enum session_verdict verdict, enum failure failure, const char *format,
        ...) _printf_(4, 5);

static inline bool session_has_room(const struct session *session) {
        return session->state == SESSION_READY && !session->awaiting && !session->draining &&
               session->n_in_flight < SESSION_IN_FLIGHT_MAX;
}

/* The session must have room. */
void session_send(struct session *session, struct request *request);

/* Whether it was told the size that the attachment has, and no later one is known. A server that tells none has always the same. */
static inline bool session_knows_size(const struct session *s) {
        return s->noticed_epoch <= s->size_epoch &&
               (!s->attachment || !(s->caps & IVBS_CAP_RESIZE) || s->size_epoch >= s->attachment->size_epoch);
}

/* Sends a packet outside the data path, one at a time, and reports the reply. n: at most 512. Returns 0, -EBUSY, -ENOTCONN, or -EOPNOTSUPP when the proxy did not offer it. */
int session_call(
        struct session *session, uint32_t op, const void *payload, size_t n, session_reply_t reply, void *userdata);

/* Between the files of this room. */
ssize_t session_input(struct stream *stream, const uint8_t *data, size_t n); /* session-input.c */
int session_payload(struct stream *stream);                                  /* session-io.c */
int session_spill(struct stream *stream, void **ret_buffer);                 /* session-io.c */
int session_io_reply(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
void session_set_state(struct session *session, enum session_state state);
void session_watch(struct session *session); /* session-clock.c: the timer of a session that is logged in */
void session_owes(struct session *session);  /* ... to be called before something is sent that asks for an answer */
uint32_t session_next_sequence(struct session *session); /* session-io.c */
int session_on_keepalive(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
void session_send_control(struct session *session, uint32_t op, const void *payload, size_t n); /* session-login.c */
int session_on_greeting(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
int session_on_hello(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
int session_on_login(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
void session_greet(struct session *session);     /* session.c: the connection stands */
void session_start_tls(struct session *session); /* session-tls.c */
void session_settle(
        struct session *session); /* session.c: to be called when the kernel, or a thread, has given something back */
bool session_is_secure(const struct session *session); /* session.c: whether nobody on a network can read along */
void session_logged_in(struct session *session);       /* session-login.c */
void session_login_failed(struct session *session, uint32_t status); /* session-login.c */
int session_log_in_classic(struct session *session);                 /* session-login.c */
int session_scram_start(struct session *session);                    /* session-scram.c, and what follows */
int session_scram_ticket(struct session *session);
int session_on_scram(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
bool session_scram_is_busy(const struct session *session);
void session_scram_cancel(struct session *session);
struct session_scram *session_scram_free(struct session_scram *scram);
int session_on_attach(
        struct session *session, const struct ivbs_header *header, const uint8_t *payload); /* session-attach.c */
int session_on_fence(struct session *session, const struct ivbs_header *header, const uint8_t *payload);
