/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenSSL says what is wrong, we add what is to be done: on the client's side, which reads it in the state of its image, and on the server's, which has it in the journal. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls-failure.h"

#define ALERT(description) (SSL_AD_REASON_OFFSET + (description))

struct advice {
        long code;
        const char *client, *server; /* NULL: there is none */
};

/* What we think of the other side's certificate. */
static const struct advice verdicts[] = {
        { X509_V_ERR_HOSTNAME_MISMATCH, "Use a name that it has, in \"proxies\" or as \"tls-name\"", NULL },
        { X509_V_ERR_IP_ADDRESS_MISMATCH, "Use a name that it has, in \"proxies\" or as \"tls-name\"", NULL },
        { X509_V_ERR_CERT_HAS_EXPIRED, "Renew it and reload the proxy", "The host has to renew it" },
        { X509_V_ERR_CERT_NOT_YET_VALID, "Look at the clocks of both machines",
                "Look at the clocks of both machines" },
        { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "Put the CA that has issued it into \"tls-ca\"",
                "The host needs one of the CA in \"client-ca\"" },
        { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "Put the CA that has issued it into \"tls-ca\"",
                "The host needs one of the CA in \"client-ca\"" },
        { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "Put it, or a CA that issues one, into \"tls-ca\"",
                "The host needs one of the CA in \"client-ca\"" },
};

/* What the other side thinks of us, or what it is. */
static const struct advice reasons[] = {
        { ALERT(SSL_AD_CERTIFICATE_REQUIRED), "The proxy wants a certificate: set \"tls-certificate\" and \"tls-key\"",
                NULL },
        { ALERT(SSL_AD_HANDSHAKE_FAILURE), "If the proxy wants a certificate, set \"tls-certificate\" and \"tls-key\"",
                NULL },
        { ALERT(SSL_AD_CERTIFICATE_EXPIRED), "Renew \"tls-certificate\"",
                "The host takes our certificate for expired" },
        { ALERT(SSL_AD_UNKNOWN_CA), "\"tls-certificate\" has to be of the CA that the proxy asks for",
                "The host does not know the CA of our certificate" },
        { ALERT(SSL_AD_BAD_CERTIFICATE), "The proxy does not take \"tls-certificate\"",
                "The host does not take our certificate" },
        { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, NULL, "The host needs \"tls-certificate\" and \"tls-key\"" },
        { SSL_R_WRONG_VERSION_NUMBER, "Is the port one of the proxy's \"listen-tls\"?", "It does not speak TLS" },
        { SSL_R_HTTP_REQUEST, NULL, "It speaks HTTP" },
        { SSL_R_UNSUPPORTED_PROTOCOL, "TLS 1.2 is the least", "TLS 1.2 is the least" },
};

static const char *advise(const SSL *ssl, const struct advice *table, size_t n, long code) {
        for (size_t i = 0; i < n; i++)
                if (table[i].code == code)
                        return SSL_is_server(ssl) ? table[i].server : table[i].client;
        return NULL;
}

int tls_failure(const SSL *ssl, int kind, const struct tls_notes *notes, char ret_reason[static TLS_ERROR_MAX]) {
        long verdict = SSL_get_verify_result(ssl);
        unsigned long code = ERR_peek_error();
        const char *advice;

        if (verdict != X509_V_OK) {
                advice = advise(ssl, verdicts, ELEMENTSOF(verdicts), verdict);
                snprintf(ret_reason, TLS_ERROR_MAX, "the certificate%s%s is not good: %s%s%s%s%s%s",
                        notes->refused[0] ? " of " : "", notes->refused, X509_verify_cert_error_string(verdict),
                        notes->refused_time[0] ? " (" : "", notes->refused_time, notes->refused_time[0] ? ")" : "",
                        advice ? ". " : "", advice ?: "");
                return -EKEYREJECTED;
        }
        if (kind == SSL_ERROR_SYSCALL || kind == SSL_ERROR_ZERO_RETURN ||
                ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
                snprintf(ret_reason, TLS_ERROR_MAX, "the connection was closed during the handshake");
                return -ECONNRESET;
        }
        advice = advise(ssl, reasons, ELEMENTSOF(reasons), ERR_GET_REASON(code));
        snprintf(ret_reason, TLS_ERROR_MAX, "the handshake failed: %s%s%s",
                ERR_reason_error_string(code) ?: "no reason given", advice ? ". " : "", advice ?: "");
        return -EPROTO;
}
