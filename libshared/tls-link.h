/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One TLS connection in the relay's hands: the handshake, then the bytes between it and a socket pair. It steps: tries what can be tried, and says what has come of it. Of the relay's thread alone, but for the
 * work, see tls.c. */

#include <sys/queue.h>

#include "tls.h"

#define TLS_LINK_BUFFER (32U * 1024U) /* two records each way */

/* Between the relay and the ring: what the handshake has come to. */
struct tls_work {
        atomic_int references;
        atomic_bool cancelled;
        int event_fd; /* the relay's own copy */
        struct tls_relay *relay;
        int error, fd;
        struct tls_info info;
        char reason[TLS_ERROR_MAX];
};

void tls_work_unref(struct tls_work *work);
/* Tells the ring. error and reason, or fd and info, are set. Drops the relay's reference. */
void tls_work_report(struct tls_work *work);

struct tls_buffer {
        size_t start, end;
        uint8_t data[TLS_LINK_BUFFER];
};

struct tls_link {
        TAILQ_ENTRY(tls_link) entry;
        int epoll_fd, fd, pair; /* pair: our end, -EBADF before there is one */
        SSL *ssl;
        struct tls_notes notes;
        struct tls_work *work;     /* until the handshake is over */
        uint64_t limit_usec;       /* CLOCK_MONOTONIC, UINT64_MAX: none */
        bool up_over;              /* our side has closed: what is left is sent */
        bool down_over, down_shut; /* the other side has; ours knows it */
        bool ready;                /* the relay's: to be stepped */
        TAILQ_ENTRY(tls_link) ready_entry;
        struct tls_buffer *up, *down;
};
TAILQ_HEAD(tls_link_list, tls_link);

enum tls_step {
        TLS_STEP_WAIT, /* until something happens on one of its descriptors, or its time is over */
        TLS_STEP_AGAIN,
        TLS_STEP_OVER, /* to be freed */
};

/* Takes fd and work, also on failure. Returns NULL without memory. */
struct tls_link *tls_link_new(struct tls_context *context, int epoll_fd, int fd, const char *name, uint64_t limit_usec,
        struct tls_work *work, int *ret_error);
enum tls_step tls_link_step(struct tls_link *link, uint64_t now_usec);
/* A handshake that is not over is reported as error. */
struct tls_link *tls_link_free(struct tls_link *link, int error);
