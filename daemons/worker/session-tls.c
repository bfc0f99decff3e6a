/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a connection to an encrypted one, for a proxy whose address says so. A certificate that is not good is a reason to try another proxy, and this one again later: it may be renewed, and
 * I/O that waits for that is better than I/O that has failed. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "container-of.h"
#include "session.h"
#include "tls-client.h"

static void secured(
        struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason) {
        struct session *s = CONTAINER_OF(handshake, struct session, tls);

        if (s->state == SESSION_CLOSING) {
                safe_close(fd);
                session_settle(s);
                return;
        }
        if (error < 0) {
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "no TLS: %s", reason);
                return;
        }

        s->fd = fd;
        s->encrypted = true;
        memcpy(s->tls_binding, info->binding, sizeof(s->tls_binding));
        session_greet(s);
}

void session_start_tls(struct session *s) {
        _cleanup_(tls_context_unrefp) struct tls_context *context = NULL;
        _cleanup_free_ char *message = NULL, *host = NULL;
        struct tls_relay *relay;
        uint16_t port;
        int r;

        r = address_split(s->proxy->address, &host, &port);
        if (r >= 0)
                r = s->credentials->tls ? tls_client_prepare(s->credentials->tls, &relay, &context, &message)
                                        : -ENOSYS;
        if (r >= 0) {
                session_set_state(s, SESSION_SECURING);
                ring_timer_set(&s->timer, s->config->login_timeout_usec);
                r = tls_start(&s->tls, relay, s->ring, context, TAKE_FD(s->fd), s->config->tls_name ?: host,
                        s->config->login_timeout_usec, secured);
        }
        if (r < 0)
                session_close(s, SESSION_LOST, FAILURE_CONFIGURATION, "no TLS: %s", message ?: strerror(-r));
}
