/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*     SaltedPassword = PBKDF2(password, salt, iterations)
 *     ClientKey      = HMAC(SaltedPassword, "Client Key")      StoredKey = H(ClientKey)
 *     ServerKey      = HMAC(SaltedPassword, "Server Key")
 *
 * The primitives are libcrypto's. What is only needed on the way is wiped on the way. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base64.h"
#include "cleanup.h"
#include "scram-keys.h"

static const struct {
        enum scram_mechanism mechanism;
        const char *name;
        size_t size;
        const EVP_MD *(*md)(void);
} mechanisms[] = {
        { SCRAM_SHA_256, "SCRAM-SHA-256", 32, EVP_sha256 },
        { SCRAM_SHA_512, "SCRAM-SHA-512", 64, EVP_sha512 },
};

static const EVP_MD *md_of(enum scram_mechanism mechanism) {
        for (size_t i = 0; i < ELEMENTSOF(mechanisms); i++)
                if (mechanisms[i].mechanism == mechanism)
                        return mechanisms[i].md();
        return NULL;
}

const char *scram_mechanism_to_string(enum scram_mechanism mechanism) {
        for (size_t i = 0; i < ELEMENTSOF(mechanisms); i++)
                if (mechanisms[i].mechanism == mechanism)
                        return mechanisms[i].name;
        return NULL;
}

size_t scram_hash_size(enum scram_mechanism mechanism) {
        for (size_t i = 0; i < ELEMENTSOF(mechanisms); i++)
                if (mechanisms[i].mechanism == mechanism)
                        return mechanisms[i].size;
        return 0;
}

bool scram_salt_is_valid(const struct scram_salt *salt) {
        return scram_hash_size(salt->mechanism) > 0 && salt->iterations >= SCRAM_ITERATIONS_MIN &&
               salt->iterations <= SCRAM_ITERATIONS_MAX && salt->n > 0 && salt->n <= SCRAM_SALT_MAX;
}

bool scram_salt_equal(const struct scram_salt *a, const struct scram_salt *b) {
        return a->mechanism == b->mechanism && a->iterations == b->iterations && a->n == b->n &&
               memcmp(a->salt, b->salt, a->n) == 0;
}

int scram_hmac(enum scram_mechanism mechanism, const uint8_t *key, const void *data, size_t n,
        uint8_t ret[static SCRAM_HASH_MAX]) {
        unsigned size = SCRAM_HASH_MAX;

        return HMAC(md_of(mechanism), key, (int) scram_hash_size(mechanism), data, n, ret, &size) ? 0 : -ENOMEM;
}

int scram_hash(enum scram_mechanism mechanism, const void *data, size_t n, uint8_t ret[static SCRAM_HASH_MAX]) {
        return EVP_Digest(data, n, ret, NULL, md_of(mechanism), NULL) == 1 ? 0 : -ENOMEM;
}

int scram_derive(const struct scram_salt *salt, const char *password, size_t n, struct scram_secret *ret) {
        static const char client[] = "Client Key", server[] = "Server Key";
        uint8_t salted[SCRAM_HASH_MAX];
        struct scram_secret secret = {};
        int r = 0;

        if (!scram_salt_is_valid(salt))
                return -EINVAL;

        if (PKCS5_PBKDF2_HMAC(password, (int) n, salt->salt, (int) salt->n, (int) salt->iterations,
                    md_of(salt->mechanism), (int) scram_hash_size(salt->mechanism), salted) != 1)
                r = -ENOMEM;
        if (r >= 0)
                r = scram_hmac(salt->mechanism, salted, client, strlen(client), secret.client_key);
        if (r >= 0)
                r = scram_hmac(salt->mechanism, salted, server, strlen(server), secret.server_key);
        if (r >= 0)
                *ret = secret;

        explicit_bzero(salted, sizeof(salted));
        explicit_bzero(&secret, sizeof(secret));
        return r;
}

int scram_verifier_make(const struct scram_salt *salt, const struct scram_secret *secret, struct scram_verifier *ret) {
        struct scram_verifier verifier = { .salt = *salt };
        int r;

        r = scram_hash(salt->mechanism, secret->client_key, scram_hash_size(salt->mechanism), verifier.stored_key);
        if (r < 0)
                return r;
        memcpy(verifier.server_key, secret->server_key, sizeof(verifier.server_key));
        *ret = verifier;
        return 0;
}

int scram_text_make(enum scram_mechanism mechanism, uint32_t iterations, const char *password, size_t n,
        char ret[static SCRAM_TEXT_MAX]) {
        struct scram_salt salt = { .mechanism = mechanism, .iterations = iterations, .n = SCRAM_SALT_SIZE };
        struct scram_verifier verifier;
        struct scram_secret secret;
        int r;

        if (getrandom(salt.salt, salt.n, 0) != (ssize_t) salt.n)
                return -EIO;
        r = scram_derive(&salt, password, n, &secret);
        if (r < 0)
                return r;
        r = scram_verifier_make(&salt, &secret, &verifier);
        explicit_bzero(&secret, sizeof(secret));
        if (r < 0)
                return r;

        scram_text_encode(&verifier, ret);
        explicit_bzero(&verifier, sizeof(verifier));
        return 0;
}

void scram_text_encode(const struct scram_verifier *verifier, char ret[static SCRAM_TEXT_MAX]) {
        const struct scram_salt *salt = &verifier->salt;
        size_t size = scram_hash_size(salt->mechanism);
        char *p = ret;

        p += snprintf(p, SCRAM_TEXT_MAX, "%s$%u:", scram_mechanism_to_string(salt->mechanism), salt->iterations);
        p += base64_encode(salt->salt, salt->n, p);
        *p++ = '$';
        p += base64_encode(verifier->stored_key, size, p);
        *p++ = ':';
        base64_encode(verifier->server_key, size, p);
}

_Static_assert(
        sizeof("SCRAM-SHA-512$4294967295:") + BASE64_SIZE(SCRAM_SALT_MAX) + 2 * (1 + BASE64_SIZE(SCRAM_HASH_MAX)) <=
                SCRAM_TEXT_MAX,
        "the longest verifier has room");

/* The part of *text up to the separator, which it is moved behind; '\0': the rest. */
static int take_bytes(const char **text, char separator, uint8_t *ret, size_t max) {
        const char *end = separator ? strchr(*text, separator) : *text + strlen(*text);
        int r;

        if (!end)
                return -EINVAL;
        r = base64_decode(*text, (size_t) (end - *text), ret, max);
        if (r < 0)
                return -EINVAL;

        *text = separator ? end + 1 : end;
        return r;
}

static int take_mechanism(const char **text, enum scram_mechanism *ret) {
        for (size_t i = 0; i < ELEMENTSOF(mechanisms); i++) {
                size_t n = strlen(mechanisms[i].name);

                if (strncmp(*text, mechanisms[i].name, n) == 0 && (*text)[n] == '$') {
                        *text += n + 1;
                        *ret = mechanisms[i].mechanism;
                        return 0;
                }
        }
        return -EINVAL;
}

int scram_text_decode(const char *text, struct scram_verifier *ret) {
        struct scram_verifier verifier = {};
        unsigned long iterations;
        int size, r = -EINVAL;
        char *end;

        if (strlen(text) >= SCRAM_TEXT_MAX || take_mechanism(&text, &verifier.salt.mechanism) < 0)
                return -EINVAL;
        size = (int) scram_hash_size(verifier.salt.mechanism);

        if (*text < '1' || *text > '9')
                return -EINVAL;
        iterations = strtoul(text, &end, 10);
        if (*end != ':' || iterations > SCRAM_ITERATIONS_MAX)
                return -EINVAL;
        verifier.salt.iterations = (uint32_t) iterations;
        text = end + 1;

        r = take_bytes(&text, '$', verifier.salt.salt, SCRAM_SALT_MAX);
        if (r >= 0)
                verifier.salt.n = (size_t) r;
        if (r >= 0)
                r = take_bytes(&text, ':', verifier.stored_key, SCRAM_HASH_MAX) == size ? 0 : -EINVAL;
        if (r >= 0)
                r = take_bytes(&text, '\0', verifier.server_key, SCRAM_HASH_MAX) == size ? 0 : -EINVAL;
        if (r >= 0 && !scram_salt_is_valid(&verifier.salt))
                r = -EINVAL;
        if (r >= 0)
                *ret = verifier;

        explicit_bzero(&verifier, sizeof(verifier));
        return r < 0 ? r : 0;
}
