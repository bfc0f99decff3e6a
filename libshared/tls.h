/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* TLS below a stream, so that nothing above it knows. One thread of the process, the *relay*, does all handshakes; the ring's thread never waits for one. What it gives back is a descriptor with plain
 * bytes on it:
 *
 * - the connection itself, when the kernel has taken over both directions (kTLS, see tls-kernel.h): then the ring's data path is what it would be without, but for what tls-control.h is about, and the relay
 *   has forgotten about it;
 * - else one end of a socket pair, with the relay between its other end and the connection, for as long as it lasts. That costs a copy and a thread's turn each way.
 *
 * Whoever closes the descriptor has closed the connection: what was written before is still sent, for a second at most. */

#include "ring.h"
#include "tls-context.h"
#include "tls-failure.h"

struct tls_relay;
struct tls_work;

/* What is known of a connection that stands. */
struct tls_info {
        uint8_t binding[TLS_BINDING_SIZE]; /* the same on both sides of this very connection, and on no other */
        bool in_kernel;
        char version[16], cipher[48]; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
        char peer[128];               /* common name in the other side's certificate, for people; "" without */
};

struct tls_handshake {
        struct ring_op op;
        /* On the ring's thread. error 0: fd is the callee's, and does not block. Else a negative errno: -EKEYREJECTED the other side's certificate is not good, -EPROTO the handshake failed otherwise, -ETIMEDOUT,
         * -ECONNRESET, -ECANCELED, ...; reason says why. */
        void (*done)(
                struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason);
        struct tls_work *work; /* not NULL: under way */
        int fd;
        uint64_t counter;
};

/* Starts the thread. Signals that are not to be handled there must be blocked by now. Returns 0 or a negative errno. */
int tls_relay_new(struct tls_relay **ret);
/* Ends the thread, and with it every connection that the kernel has not taken over. Accepts NULL, returns NULL. */
struct tls_relay *tls_relay_free(struct tls_relay *relay);
DEFINE_CLEANUP(struct tls_relay *, tls_relay_free);

/* fd: a connected stream socket, taken in any case. name: as tls_context_connection() has it. limit_usec: from now to the end of the handshake. Returns 0 when done() follows, or a negative errno. handshake must
 * stay in place until then. A client that the server has asked for a certificate waits for the server's first words, too: so protocols in which the client speaks first are not for this. */
int tls_start(struct tls_handshake *handshake, struct tls_relay *relay, struct ring *ring, struct tls_context *context,
        int fd, const char *name, uint64_t limit_usec,
        void (*done)(
                struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason));
/* done() comes soon, with -ECANCELED or with what it has come to already. */
void tls_cancel(struct tls_handshake *handshake, struct ring *ring);
/* After the ring and the relay are gone: what done() would have given back is. */
void tls_abandon(struct tls_handshake *handshake);
