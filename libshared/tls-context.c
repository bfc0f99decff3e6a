/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls-context.h"

/* Of TLS 1.2; those of 1.3 are all good. AES-GCM first, since that is what processors and kernels have. */
#define CIPHERS_OF_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"

struct tls_context {
        atomic_int references;
        bool server;
        SSL_CTX *ssl;
};

void tls_files_done(struct tls_files *files) {
        free(files->ca);
        free(files->certificate);
        free(files->key);
        *files = (struct tls_files){};
}

/* What OpenSSL says last is the most special. */
static _printf_(3, 4) int refuse(char **ret_message, int error, const char *format, ...) {
        unsigned long code = ERR_peek_last_error();
        const char *reason = code != 0 && !ERR_SYSTEM_ERROR(code) ? ERR_reason_error_string(code)
                             : code != 0                          ? strerror(ERR_GET_REASON(code))
                                                                  : NULL;
        char *sentence;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&sentence, format, ap) < 0)
                sentence = NULL;
        va_end(ap);
        if (!sentence || asprintf(ret_message, "%s: %s", sentence, reason ?: strerror(-error)) < 0)
                *ret_message = NULL;
        free(sentence);
        ERR_clear_error();
        return error;
}

void tls_name_of(X509 *certificate, char *ret, size_t size) {
        if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, ret, (int) size) < 0)
                ret[0] = '\0';
        for (char *p = ret; *p; p++)
                if (*p < 0x20 || *p >= 0x7f)
                        *p = '?';
}

/* Changes no verdict. */
static int note_verdict(int good, X509_STORE_CTX *verification) {
        SSL *ssl = X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx());
        X509 *certificate = X509_STORE_CTX_get_current_cert(verification);
        struct tls_notes *notes = ssl ? SSL_get_app_data(ssl) : NULL;
        int error = X509_STORE_CTX_get_error(verification);
        const ASN1_TIME *when;
        struct tm tm;

        if (good || !notes || !certificate)
                return good;
        tls_name_of(certificate, notes->refused, sizeof(notes->refused));
        when = error == X509_V_ERR_CERT_HAS_EXPIRED     ? X509_get0_notAfter(certificate)
               : error == X509_V_ERR_CERT_NOT_YET_VALID ? X509_get0_notBefore(certificate)
                                                        : NULL;
        notes->refused_time[0] = '\0';
        if (when && ASN1_TIME_to_tm(when, &tm) == 1)
                (void) strftime(notes->refused_time, sizeof(notes->refused_time), "%Y-%m-%d %H:%M:%S UTC", &tm);
        return good;
}

/* A line of NSS' key log: "LABEL CLIENT-RANDOM SECRET", the latter two in hexadecimal. */
static void note_secret(const SSL *ssl, const char *line) {
        static const char *const labels[] = { "SERVER_TRAFFIC_SECRET_0 ", "CLIENT_TRAFFIC_SECRET_0 " };
        struct tls_notes *notes = SSL_get_app_data(ssl);
        const char *label = labels[SSL_is_server(ssl)], *hex;
        unsigned char *secret;
        long n;

        if (!notes || strncmp(line, label, strlen(label)) != 0)
                return;
        hex = strrchr(line, ' ');
        secret = hex ? OPENSSL_hexstr2buf(hex + 1, &n) : NULL;
        if (!secret)
                return;
        if (n > 0 && (size_t) n <= sizeof(notes->secret)) {
                memcpy(notes->secret, secret, (size_t) n);
                notes->n_secret = (size_t) n;
        }
        OPENSSL_clear_free(secret, (size_t) n);
}

static int note_question(SSL *ssl, void *userdata) {
        struct tls_notes *notes = SSL_get_app_data(ssl);

        if (notes)
                notes->asked = true;
        return 1;
}

static int load(SSL_CTX *ssl, bool server, const struct tls_files *files, char **ret_message) {
        if (files->certificate) {
                if (SSL_CTX_use_certificate_chain_file(ssl, files->certificate) != 1)
                        return refuse(ret_message, -EINVAL, "The certificate %s cannot be used", files->certificate);
                if (!files->key)
                        return refuse(
                                ret_message, -EINVAL, "The certificate %s has no key beside it", files->certificate);
                if (SSL_CTX_use_PrivateKey_file(ssl, files->key, SSL_FILETYPE_PEM) != 1)
                        return refuse(ret_message, -EINVAL, "The key %s cannot be used", files->key);
                if (SSL_CTX_check_private_key(ssl) != 1)
                        return refuse(ret_message, -EINVAL, "The key %s is not that of the certificate %s", files->key,
                                files->certificate);
        } else if (server)
                return refuse(ret_message, -EINVAL, "There is no certificate for TLS");

        if (files->ca) {
                if (SSL_CTX_load_verify_file(ssl, files->ca) != 1)
                        return refuse(ret_message, -EINVAL, "The CA %s cannot be used", files->ca);
        } else if (!server && SSL_CTX_set_default_verify_paths(ssl) != 1)
                return refuse(ret_message, -EINVAL, "The system's CAs cannot be used");

        if (!server)
                SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, note_verdict);
        else if (files->ca) {
                STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(files->ca);

                if (names)
                        SSL_CTX_set_client_CA_list(ssl, names);
                SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_verdict);
        }
        return 0;
}

int tls_context_new(struct tls_context **ret, bool server, const struct tls_files *files, char **ret_message) {
        _cleanup_(tls_context_unrefp) struct tls_context *context = calloc(1, sizeof(*context));
        int r;

        if (!context)
                return -ENOMEM;
        atomic_init(&context->references, 1);
        context->server = server;
        ERR_clear_error();
        context->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
        if (!context->ssl)
                return -ENOMEM;

        SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
        if (SSL_CTX_set_cipher_list(context->ssl, CIPHERS_OF_1_2) != 1)
                return refuse(ret_message, -EINVAL, "This OpenSSL has no ciphers for TLS");
        SSL_CTX_set_options(context->ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                                  SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ENABLE_KTLS);
        SSL_CTX_set_num_tickets(context->ssl, 0);
        SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(context->ssl,
                SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_keylog_callback(context->ssl, note_secret);
        if (!server)
                SSL_CTX_set_cert_cb(context->ssl, note_question, NULL);
        r = load(context->ssl, server, files, ret_message);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(context);
        return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context) {
        atomic_fetch_add(&context->references, 1);
        return context;
}

struct tls_context *tls_context_unref(struct tls_context *context) {
        if (!context || atomic_fetch_sub(&context->references, 1) != 1)
                return NULL;

        SSL_CTX_free(context->ssl);
        free(context);
        return NULL;
}

/* A numeric address stands in a certificate as an address, without its interface. */
static bool expect_name(SSL *ssl, const char *name) {
        struct in_addr v4;
        struct in6_addr v6;
        char bare[256];

        if (snprintf(bare, sizeof(bare), "%.*s", (int) strcspn(name, "%"), name) >= (int) sizeof(bare))
                return false;
        if (inet_pton(AF_INET, bare, &v4) == 1 || inet_pton(AF_INET6, bare, &v6) == 1)
                return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), bare) == 1;

        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

SSL *tls_context_connection(struct tls_context *context, int fd, const char *name, struct tls_notes *notes) {
        SSL *ssl = SSL_new(context->ssl);

        if (!ssl)
                return NULL;
        SSL_set_app_data(ssl, notes);
        if (SSL_set_fd(ssl, fd) != 1 || (!context->server && !expect_name(ssl, name))) {
                SSL_free(ssl);
                return NULL;
        }
        if (context->server)
                SSL_set_accept_state(ssl);
        else
                SSL_set_connect_state(ssl);
        return ssl;
}
