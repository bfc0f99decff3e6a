/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of a session: resolve, connect, the end. What the proxy says is session-input.c's, the handshake session-login.c's and session-attach.c's, I/O session-io.c's,
 * silence session-clock.c's.
 *
 * The end comes in one way only: session_close() notes the reason and lets the kernel give back what it has (a lookup, a connect, the stream); when the last of them is
 * back, ended() hands over the requests that have had no answer. By then no byte of theirs can still be sent or received on this connection. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "container-of.h"
#include "session.h"
#include "tcp-tune.h"

#define SESSION_OF(ptr, member) CONTAINER_OF(ptr, struct session, member)

const char *session_state_to_string(enum session_state state) {
        static const char *const names[_SESSION_STATE_MAX] = {
                [SESSION_RESOLVING] = "resolving",
                [SESSION_CONNECTING] = "connecting",
                [SESSION_SECURING] = "securing",
                [SESSION_GREETING] = "greeting",
                [SESSION_HELLO] = "hello",
                [SESSION_LOGIN] = "login",
                [SESSION_STANDING_BY] = "standing-by",
                [SESSION_ATTACHING] = "attaching",
                [SESSION_READY] = "ready",
                [SESSION_CLOSING] = "closing",
        };

        return (unsigned) state < _SESSION_STATE_MAX ? names[state] : "unknown";
}

void session_set_state(struct session *s, enum session_state state) {
        if (s->state == SESSION_CLOSING)
                return;

        s->state = state;
        if (state == SESSION_READY || state == SESSION_STANDING_BY)
                session_watch(s);
}

/* Reports the end once nothing of the session is in the kernel any more. */
void session_settle(struct session *s) {
        struct request_list unanswered = TAILQ_HEAD_INITIALIZER(unanswered);
        session_reply_t reply;

        if (s->state != SESSION_CLOSING || s->ended)
                return;
        if (s->has_stream || s->resolve.lookup || s->connect_op.done || s->tls.work || session_scram_is_busy(s) ||
                !ring_timer_is_idle(&s->timer))
                return;

        s->ended = true;
        s->fd = safe_close(s->fd);

        reply = TAKE_PTR(s->reply);
        if (reply)
                reply(s->reply_userdata, -ECONNRESET, 0, NULL, 0);

        if (s->receiving)
                request_drop_pipe(s->receiving);
        TAILQ_CONCAT(&unanswered, &s->in_flight, entry);
        s->ops->ended(s, &s->end, &unanswered);
        proxy_unref(s->proxy);
        session_scram_free(s->scram);
        free(s);
}

/* Encrypted, or to this machine itself, by whichever of its addresses. */
bool session_is_secure(const struct session *s) {
        const struct sockaddr_in *in = (const struct sockaddr_in *) &s->sockaddr;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) &s->sockaddr;
        struct sockaddr_storage local = {};
        socklen_t size = sizeof(local);

        if (s->encrypted)
                return true;
        if (s->sockaddr.ss_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
                return true;
        if (s->sockaddr.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr))
                return true;
        if (!s->has_stream || getsockname(s->stream.fd, (struct sockaddr *) &local, &size) < 0 ||
                local.ss_family != s->sockaddr.ss_family)
                return false;
        if (local.ss_family == AF_INET)
                return ((struct sockaddr_in *) &local)->sin_addr.s_addr == in->sin_addr.s_addr;
        return local.ss_family == AF_INET6 &&
               IN6_ARE_ADDR_EQUAL(&((struct sockaddr_in6 *) &local)->sin6_addr, &in6->sin6_addr);
}

static void timer_stopped(struct ring_timer *timer) {
        session_settle(SESSION_OF(timer, timer));
}

void session_close(struct session *s, enum session_verdict verdict, enum failure failure, const char *format, ...) {
        va_list ap;

        if (s->state == SESSION_CLOSING)
                return;

        s->end.verdict = verdict;
        s->end.failure = failure;
        va_start(ap, format);
        vsnprintf(s->end.message, sizeof(s->end.message), format, ap);
        va_end(ap);

        s->state = SESSION_CLOSING;
        if (s->has_stream)
                stream_close(&s->stream, -ECONNABORTED);
        if (s->connect_op.done)
                ring_cancel(s->ring, &s->connect_op);
        resolve_cancel(&s->resolve, s->ring);
        session_scram_cancel(s);
        tls_cancel(&s->tls, s->ring);

        /* The timer also brings the end of a session that has nothing else in the kernel, from the loop and not from within this call. */
        ring_timer_set(&s->timer, 0);
}

static void stream_closing(struct stream *stream, int error) {
        struct session *s = stream->owner;

        if (error == 0)
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the proxy closed the connection");
        else if (error == -EMSGSIZE || error == -EBADMSG || error == -EPROTO)
                session_close(s, SESSION_LOST, FAILURE_PROTOCOL, "the proxy broke the protocol in state %s",
                        session_state_to_string(s->state));
        else
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the connection broke: %s", strerror(-error));
}

static void stream_closed(struct stream *stream, int error) {
        struct session *s = stream->owner;

        s->has_stream = false;
        session_settle(s);
}

static const struct stream_ops stream_ops = {
        .input = session_input,
        .payload = session_payload,
        .spill = session_spill,
        .closing = stream_closing,
        .closed = stream_closed,
};

static void timer_expired(struct ring_timer *timer) {
        struct session *s = SESSION_OF(timer, timer);

        switch (s->state) {
        case SESSION_RESOLVING:
        case SESSION_CONNECTING:
                s->end.silent = true;
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "no connection within %" PRIu64 " ms",
                        s->config->connect_timeout_usec / 1000);
                break;
        case SESSION_SECURING:
        case SESSION_GREETING:
        case SESSION_HELLO:
        case SESSION_LOGIN:
        case SESSION_ATTACHING:
                s->end.silent = true;
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "no answer within %" PRIu64 " ms in state %s",
                        s->config->login_timeout_usec / 1000, session_state_to_string(s->state));
                break;
        case SESSION_STANDING_BY:
        case SESSION_READY:
                session_watch(s);
                break;
        case SESSION_CLOSING:
                session_settle(s);
                break;
        case _SESSION_STATE_MAX:
                break;
        }
}

void session_greet(struct session *s) {
        s->has_stream = true;
        s->connected_usec = ring_now_usec(s->ring);
        if (stream_init(&s->stream, s->ring, TAKE_FD(s->fd), &stream_ops, s) < 0) {
                s->has_stream = false;
                session_close(s, SESSION_LOST, FAILURE_INTERNAL, "out of memory");
                return;
        }

        session_set_state(s, SESSION_GREETING);
        ring_timer_set(&s->timer, s->config->login_timeout_usec);
}

static void connected(struct ring_op *op, int32_t res, uint32_t flags) {
        struct session *s = SESSION_OF(op, connect_op);
        unsigned dead_ms = (unsigned) (s->config->dead_time_usec / 1000U) + 1U;

        s->connect_op.done = NULL;
        if (s->state == SESSION_CLOSING) {
                session_settle(s);
                return;
        }
        if (res < 0) {
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "cannot connect: %s", strerror(-res));
                return;
        }

        tcp_tune(s->fd);
        /* What is sent into a cut link is given up by the kernel, too, and not after its quarter of an hour. */
        (void) setsockopt(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));

        /* For stream_receive_into_pipe(). */
        (void) fcntl(s->fd, F_SETFL, O_RDWR | O_NONBLOCK);

        if (address_is_tls(s->proxy->address))
                session_start_tls(s);
        else
                session_greet(s);
}

static void start_connect(struct session *s, socklen_t size) {
        struct io_uring_sqe *sqe;

        s->fd = socket(s->sockaddr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s->fd < 0) {
                session_close(s, SESSION_LOST, FAILURE_SYSTEM, "cannot make a socket: %s", strerror(errno));
                return;
        }

        session_set_state(s, SESSION_CONNECTING);
        s->connect_op.done = connected;
        sqe = ring_get_sqe(s->ring);
        io_uring_prep_connect(sqe, s->fd, (struct sockaddr *) &s->sockaddr, size);
        ring_sqe_set_op(sqe, &s->connect_op);
}

static void resolved(struct resolve *resolve, int error, const struct sockaddr_storage *address, socklen_t size) {
        struct session *s = SESSION_OF(resolve, resolve);

        if (s->state == SESSION_CLOSING) {
                session_settle(s);
                return;
        }
        if (error < 0) {
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the name cannot be resolved: %s", strerror(-error));
                return;
        }

        s->sockaddr = *address;
        start_connect(s, size);
}

int session_new(struct session **ret, struct ring *ring, const struct host_config *config,
        const struct credentials *credentials, struct attachment *attachment, struct proxy *proxy, bool standby,
        const struct session_ops *ops, void *owner) {
        struct session *s;
        socklen_t size;
        int r;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;

        s->ring = ring;
        s->config = config;
        s->credentials = credentials;
        s->attachment = attachment;
        s->proxy = proxy_ref(proxy);
        s->standby = standby;
        s->ops = ops;
        s->owner = owner;
        s->fd = -EBADF;
        s->next_sequence = 1;
        s->pipe_max = SESSION_PIPE_MAX;
        s->started_usec = ring_now_usec(ring);
        TAILQ_INIT(&s->in_flight);
        ring_timer_init(&s->timer, ring, timer_expired);
        s->timer.stopped = timer_stopped;
        ring_timer_set(&s->timer, config->connect_timeout_usec);

        r = resolve_start(&s->resolve, ring, proxy->address, resolved, &s->sockaddr, &size);
        if (r < 0)
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the name cannot be resolved: %s", strerror(-r));
        else if (r > 0)
                start_connect(s, size);

        *ret = s;
        return 0;
}
