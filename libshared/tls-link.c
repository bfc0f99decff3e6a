/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Readiness is told by edges, and each step tries everything in both directions until nothing moves: what could not go on for want of room on one side is tried again when that side moves, so there is no
 * list of what to listen to. After some rounds it is the others' turn.
 *
 * OpenSSL reads a record's header and then the record, never more, so after the handshake nothing of the data that follow is left in it, and the kernel may take over. */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls-kernel.h"
#include "tls-link.h"

#define RECORD_HEADER_SIZE 5U
/* In TLS 1.3: two bytes, their true type, and what the cipher adds, which is 16 of all of them. */
#define ALERT_SIZE 19
#define ROUNDS_MAX 16U
#define FLUSH_USEC UINT64_C(1000000)

void tls_work_unref(struct tls_work *work) {
        if (atomic_fetch_sub(&work->references, 1) != 1)
                return;

        safe_close(work->event_fd);
        safe_close(work->fd);
        free(work);
}

void tls_work_report(struct tls_work *work) {
        uint64_t one = 1;

        (void) !write(work->event_fd, &one, sizeof(one));
        tls_work_unref(work);
}

static int watch(const struct tls_link *link, int fd) {
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = (void *) link };

        return epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

struct tls_link *tls_link_new(struct tls_context *context, int epoll_fd, int fd, const char *name, uint64_t limit_usec,
        struct tls_work *work, int *ret_error) {
        struct tls_link *link = calloc(1, sizeof(*link));

        if (!link) {
                safe_close(fd);
                work->error = *ret_error = -ENOMEM;
                tls_work_report(work);
                return NULL;
        }
        *link = (struct tls_link){
                .epoll_fd = epoll_fd, .fd = fd, .pair = -EBADF, .work = work, .limit_usec = limit_usec
        };
        link->ssl = tls_context_connection(context, fd, name, &link->notes);
        *ret_error = !link->ssl ? -EINVAL : fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -errno : watch(link, fd);
        return *ret_error < 0 ? tls_link_free(link, *ret_error) : link;
}

/* Closing a descriptor takes it off the list of the epoll descriptor, too: nobody else has a copy. */
struct tls_link *tls_link_free(struct tls_link *link, int error) {
        if (!link)
                return NULL;

        if (link->work) {
                link->work->error = error;
                tls_work_report(TAKE_PTR(link->work));
        }
        SSL_free(link->ssl);
        explicit_bzero(&link->notes, sizeof(link->notes));
        safe_close(link->fd);
        safe_close(link->pair);
        if (link->up)
                explicit_bzero(link->up, sizeof(*link->up));
        if (link->down)
                explicit_bzero(link->down, sizeof(*link->down));
        free(link->up);
        free(link->down);
        free(link);
        return NULL;
}

/* --- the handshake --- */

static void name_peer(const SSL *ssl, struct tls_info *info) {
        X509 *certificate = SSL_get1_peer_certificate(ssl);

        if (!certificate)
                return;
        tls_name_of(certificate, info->peer, sizeof(info->peer));
        X509_free(certificate);
}

static int describe(SSL *ssl, struct tls_info *info) {
        static const char label[] = TLS_BINDING_LABEL;

        if (SSL_export_keying_material(
                    ssl, info->binding, TLS_BINDING_SIZE, label, strlen(label), (const unsigned char *) "", 0, 1) != 1)
                return -EPROTO;
        snprintf(info->version, sizeof(info->version), "%s", SSL_get_version(ssl));
        snprintf(info->cipher, sizeof(info->cipher), "%s", SSL_get_cipher_name(ssl));
        name_peer(ssl, info);
        return 0;
}

/* Nothing may be left in OpenSSL. What it has not handed over by itself we do, as the last step: there is no way back. */
static bool move_to_kernel(const struct tls_link *link) {
        if (!BIO_get_ktls_send(SSL_get_wbio(link->ssl)) || SSL_has_pending(link->ssl))
                return false;
        return BIO_get_ktls_recv(SSL_get_rbio(link->ssl)) ||
               tls_kernel_receive(link->ssl, link->fd, &link->notes) >= 0;
}

/* In TLS 1.3 a client that was asked for a certificate is done before it knows what the server thinks of it. The first record tells, by its size already: what is not longer than an alert is read. Returns 0,
 * -EAGAIN until there is one, or a negative errno with the reason. */
static int hear_verdict(struct tls_link *link) {
        uint8_t header[RECORD_HEADER_SIZE], byte;
        ssize_t n;
        int r;

        if (SSL_is_server(link->ssl) || !link->notes.asked || SSL_version(link->ssl) != TLS1_3_VERSION)
                return 0;
        n = recv(link->fd, header, sizeof(header), MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 ? errno == EAGAIN || errno == EINTR : n > 0 && n < (ssize_t) sizeof(header))
                return -EAGAIN;
        if (n == (ssize_t) sizeof(header) && (header[3] << 8 | header[4]) > ALERT_SIZE)
                return 0;
        ERR_clear_error();
        r = SSL_read(link->ssl, &byte, sizeof(byte));
        if (r > 0)
                return -EPROTO; /* of ours nothing begins so small */
        r = SSL_get_error(link->ssl, r);
        if (r == SSL_ERROR_WANT_READ)
                return -EAGAIN;
        return tls_failure(link->ssl, r, &link->notes, link->work->reason);
}

/* Both ends are the ring's and ours. Returns 0 or a negative errno. */
static int make_pair(struct tls_link *link) {
        int pair[2], r;

        link->up = malloc(sizeof(*link->up));
        link->down = malloc(sizeof(*link->down));
        if (!link->up || !link->down)
                return -ENOMEM;
        link->up->start = link->up->end = link->down->start = link->down->end = 0;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        link->pair = pair[0];
        link->work->fd = pair[1];
        r = watch(link, link->pair);
        return r;
}

static int shake(struct tls_link *link) {
        int r, kind;

        ERR_clear_error();
        r = SSL_do_handshake(link->ssl);
        if (r == 1)
                return hear_verdict(link);
        kind = SSL_get_error(link->ssl, r);
        if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
                return -EAGAIN;
        return tls_failure(link->ssl, kind, &link->notes, link->work->reason);
}

static enum tls_step shake_hands(struct tls_link *link) {
        struct tls_work *work = link->work;
        int r;

        r = shake(link);
        if (r == -EAGAIN)
                return TLS_STEP_WAIT;
        if (r >= 0)
                r = describe(link->ssl, &work->info);
        if (r >= 0 && move_to_kernel(link)) {
                work->info.in_kernel = true;
                (void) epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
                work->fd = TAKE_FD(link->fd);
                tls_work_report(TAKE_PTR(link->work));
                return TLS_STEP_OVER;
        }
        explicit_bzero(&link->notes.secret, sizeof(link->notes.secret));
        if (r >= 0)
                r = make_pair(link);
        if (r < 0) {
                work->error = r;
                tls_work_report(TAKE_PTR(link->work));
                return TLS_STEP_OVER;
        }
        link->limit_usec = UINT64_MAX;
        tls_work_report(TAKE_PTR(link->work));
        return TLS_STEP_AGAIN;
}

/* --- the bytes --- */

static bool is_empty(const struct tls_buffer *b) {
        return b->start == b->end;
}

/* All of these return 1 when something has moved, 0 when not, or a negative errno when the connection is over. */

static int read_pair(struct tls_link *link) {
        struct tls_buffer *b = link->up;
        ssize_t n;

        if (link->up_over || !is_empty(b))
                return 0;
        n = recv(link->pair, b->data, sizeof(b->data), MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        b->start = 0;
        b->end = (size_t) n;
        link->up_over = n == 0;
        return 1;
}

static int write_connection(struct tls_link *link) {
        struct tls_buffer *b = link->up;
        int r, kind;

        if (is_empty(b))
                return 0;
        ERR_clear_error();
        r = SSL_write(link->ssl, b->data + b->start, (int) (b->end - b->start));
        if (r > 0) {
                b->start += (size_t) r;
                return 1;
        }
        kind = SSL_get_error(link->ssl, r);
        return kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE ? 0 : -ECONNRESET;
}

static int read_connection(struct tls_link *link) {
        struct tls_buffer *b = link->down;
        int r, kind;

        if (link->down_over || !is_empty(b))
                return 0;
        ERR_clear_error();
        r = SSL_read(link->ssl, b->data, sizeof(b->data));
        if (r > 0) {
                b->start = 0;
                b->end = (size_t) r;
                return 1;
        }
        kind = SSL_get_error(link->ssl, r);
        if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
                return 0;
        /* With or without the word for it: our protocol knows where its packets end. */
        link->down_over = true;
        return 1;
}

static int write_pair(struct tls_link *link) {
        struct tls_buffer *b = link->down;
        ssize_t n;

        if (is_empty(b)) {
                if (link->down_over && !link->down_shut) {
                        (void) shutdown(link->pair, SHUT_WR);
                        link->down_shut = true;
                }
                return 0;
        }
        n = send(link->pair, b->data + b->start, b->end - b->start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n < 0) {
                /* Our side has closed; what it has said before is still to be sent. */
                b->start = b->end;
                link->down_over = true;
                return 1;
        }
        b->start += (size_t) n;
        return 1;
}

static enum tls_step relay(struct tls_link *link, uint64_t now_usec) {
        static int (*const moves[])(
                struct tls_link * link) = { read_pair, write_connection, read_connection, write_pair };

        for (unsigned round = 0; round < ROUNDS_MAX; round++) {
                bool moved = false;

                for (size_t i = 0; i < ELEMENTSOF(moves); i++) {
                        int r = moves[i](link);

                        if (r < 0)
                                return TLS_STEP_OVER;
                        moved = moved || r > 0;
                }
                if (link->up_over && is_empty(link->up)) {
                        (void) SSL_shutdown(link->ssl);
                        return TLS_STEP_OVER;
                }
                if (link->up_over && link->limit_usec == UINT64_MAX)
                        link->limit_usec = now_usec + FLUSH_USEC;
                if (!moved)
                        return TLS_STEP_WAIT;
        }
        return TLS_STEP_AGAIN;
}

enum tls_step tls_link_step(struct tls_link *link, uint64_t now_usec) {
        enum tls_step step = TLS_STEP_WAIT;

        if (now_usec >= link->limit_usec || (link->work && atomic_load(&link->work->cancelled))) {
                if (link->work)
                        link->work->error = now_usec >= link->limit_usec ? -ETIMEDOUT : -ECANCELED;
                if (link->work && link->work->error == -ETIMEDOUT)
                        snprintf(link->work->reason, sizeof(link->work->reason), "the handshake takes too long");
                if (link->work)
                        tls_work_report(TAKE_PTR(link->work));
                return TLS_STEP_OVER;
        }
        if (link->work)
                step = shake_hands(link);
        if (!link->work && step != TLS_STEP_OVER)
                step = relay(link, now_usec);
        return step;
}
