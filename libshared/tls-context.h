/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Certificates and keys as OpenSSL wants them: TLS 1.2 with forward secrecy and AEAD ciphers only, or 1.3; no session tickets, no renegotiation, no compression. Loaded as a whole or not at all; a
 * connection keeps the context that it began with, so another one may take its place at any time. */

#include <stdbool.h>

#include <openssl/ssl.h>

#include "cleanup.h"

#define TLS_BINDING_SIZE  32U
#define TLS_BINDING_LABEL "EXPORTER-Channel-Binding" /* RFC 9266 */

/* Paths of PEM files. NULL: none. */
struct tls_files {
        char *ca;          /* who may have issued the other side's certificate */
        char *certificate; /* our own, with what stands between it and the CA */
        char *key;
};

void tls_files_done(struct tls_files *files);

struct tls_context;

/* What OpenSSL tells of a connection only while it happens. To be wiped. */
struct tls_notes {
        bool asked;            /* a client: the server wants a certificate */
        char refused[64];      /* whose certificate was not good: its common name, for people */
        char refused_time[32]; /* ... and when it was or will be so, if that is what is wrong */
        uint8_t secret[48];
        size_t n_secret; /* of TLS 1.3, with which the other side's data begin */
};

/* server: certificate and key are needed, and with a CA a client has to have a certificate, too. Otherwise the server's certificate has to come from ca, or without one from a CA that the system trusts;
 * certificate and key are what we show when asked. Returns 0, or a negative errno with *ret_message a sentence that names the file. */
int tls_context_new(struct tls_context **ret, bool server, const struct tls_files *files, char **ret_message);
/* Any thread. */
struct tls_context *tls_context_ref(struct tls_context *context);
struct tls_context *tls_context_unref(struct tls_context *context);
DEFINE_CLEANUP(struct tls_context *, tls_context_unref);

/* A connection on fd, which stays the caller's. name: of the server, as its certificate has to have it: a host's name or a numeric address; NULL on the server's side. notes stay in place
 * as long as the connection does. Returns NULL without memory, or when the name is none. */
SSL *tls_context_connection(struct tls_context *context, int fd, const char *name, struct tls_notes *notes);

/* The common name in it, for people: what cannot be printed is a question mark. "" when there is none. */
void tls_name_of(X509 *certificate, char *ret, size_t size);
