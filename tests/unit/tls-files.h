/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Certificates for a test, made on the spot: a CA, and what it has issued. Keys are P-256, which takes no time. */

#include <sys/stat.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "cleanup.h"
#include "test.h"

struct authority {
        EVP_PKEY *key;
        X509 *certificate;
        const char *directory;
        long serial;
};

static inline void extend(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX context;
        X509_EXTENSION *extension;

        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        ASSERT_TRUE(extension && X509_add_ext(certificate, extension, -1) == 1);
        X509_EXTENSION_free(extension);
}

static inline void write_pem(
        const char *directory, const char *name, const char *end, X509 *certificate, EVP_PKEY *key) {
        char path[512];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s.%s", directory, name, end);
        file = fopen(path, "we");
        ASSERT_TRUE(file);
        ASSERT_EQ(certificate ? PEM_write_X509(file, certificate)
                              : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL),
                1);
        ASSERT_EQ(fclose(file), 0);
        ASSERT_OK(chmod(path, 0600));
}

/* DIRECTORY/NAME.crt and NAME.key. names: as subjectAltName has them, NULL for a CA. from, to: its time, in s from now. The CA, or NULL: its own. */
static inline void issue(
        struct authority *ca, const char *name, const char *names, long from, long to, struct authority *ret) {
        X509 *certificate = X509_new(), *issuer;
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509_NAME *subject;

        ASSERT_TRUE(certificate && key);
        issuer = ret ? certificate : ca->certificate;
        ASSERT_EQ(X509_set_version(certificate, 2), 1);
        ASSERT_EQ(ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++ca->serial), 1);
        ASSERT_TRUE(X509_gmtime_adj(X509_getm_notBefore(certificate), from));
        ASSERT_TRUE(X509_gmtime_adj(X509_getm_notAfter(certificate), to));
        subject = X509_get_subject_name(certificate);
        ASSERT_EQ(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *) name, -1, -1, 0), 1);
        ASSERT_EQ(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), 1);
        ASSERT_EQ(X509_set_pubkey(certificate, key), 1);
        extend(certificate, issuer, NID_basic_constraints, ret ? "critical,CA:TRUE" : "CA:FALSE");
        if (names)
                extend(certificate, issuer, NID_subject_alt_name, names);
        ASSERT_TRUE(X509_sign(certificate, ret ? key : ca->key, EVP_sha256()) > 0);
        write_pem(ca->directory, name, "crt", certificate, NULL);
        write_pem(ca->directory, name, "key", NULL, key);

        if (ret) {
                ret->key = key;
                ret->certificate = certificate;
                return;
        }
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static inline void authority_make(struct authority *ca, const char *directory, const char *name) {
        *ca = (struct authority){ .directory = directory };
        issue(ca, name, NULL, -3600, 3600, ca);
}

static inline void authority_done(struct authority *ca) {
        X509_free(ca->certificate);
        EVP_PKEY_free(ca->key);
}
