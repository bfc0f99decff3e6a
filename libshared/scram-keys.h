/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What SCRAM (RFC 5802, RFC 7677) makes of a password: the client's half, which proves, and the server's half, which can only check. The server keeps
 * its half as one line of text:
 *
 *     SCRAM-SHA-512$100000:SALT$STOREDKEY:SERVERKEY
 *
 * mechanism, iterations, and three values in base64: the form in which other servers keep it as well. Pure; everything here that holds keys is to be wiped by its owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAM_HASH_MAX  64U
#define SCRAM_SALT_SIZE 16U /* of those made here */
#define SCRAM_SALT_MAX  64U
/* Fewer are refused by either side: RFC 7677 says so, and a server that asks for fewer wants to guess. More would keep a client busy for seconds. */
#define SCRAM_ITERATIONS_MIN     4096U
#define SCRAM_ITERATIONS_MAX     2000000U
#define SCRAM_ITERATIONS_DEFAULT 100000U
#define SCRAM_TEXT_MAX           384U /* of the line above, with its terminator */

enum scram_mechanism {
        SCRAM_SHA_256 = 1,
        SCRAM_SHA_512 = 2,
};
#define SCRAM_DEFAULT SCRAM_SHA_512

/* From what a client derives its half. */
struct scram_salt {
        enum scram_mechanism mechanism;
        uint32_t iterations;
        size_t n;
        uint8_t salt[SCRAM_SALT_MAX];
};

/* The client's half. */
struct scram_secret {
        uint8_t client_key[SCRAM_HASH_MAX];
        uint8_t server_key[SCRAM_HASH_MAX];
};

/* The server's half. */
struct scram_verifier {
        struct scram_salt salt;
        uint8_t stored_key[SCRAM_HASH_MAX];
        uint8_t server_key[SCRAM_HASH_MAX];
};

/* "SCRAM-SHA-256", "SCRAM-SHA-512"; NULL for anything else. */
const char *scram_mechanism_to_string(enum scram_mechanism mechanism);
/* Bytes of its hash: 32, 64; 0 for anything else. */
size_t scram_hash_size(enum scram_mechanism mechanism);

/* Whether the mechanism is one, the iterations within the bounds, and the salt of 1 to SCRAM_SALT_MAX bytes. */
bool scram_salt_is_valid(const struct scram_salt *salt);
bool scram_salt_equal(const struct scram_salt *a, const struct scram_salt *b);

/* password: n bytes, taken as they are; a password that is not ASCII has to be normalised (RFC 4013) by the caller. Slow on purpose: some tens of ms for each 100,000 iterations.
 * Returns 0, -EINVAL (the salt is not valid) or -ENOMEM. Thread-safe. */
int scram_derive(const struct scram_salt *salt, const char *password, size_t n, struct scram_secret *ret);

/* The server's half of it. Returns 0 or -ENOMEM. */
int scram_verifier_make(const struct scram_salt *salt, const struct scram_secret *secret, struct scram_verifier *ret);

/* A verifier with a random salt, as text. Slow as scram_derive(). Returns 0, -EINVAL, -EIO (no randomness) or -ENOMEM. */
int scram_text_make(enum scram_mechanism mechanism, uint32_t iterations, const char *password, size_t n,
        char ret[static SCRAM_TEXT_MAX]);
void scram_text_encode(const struct scram_verifier *verifier, char ret[static SCRAM_TEXT_MAX]);
/* Returns 0 or -EINVAL. */
int scram_text_decode(const char *text, struct scram_verifier *ret);

/* HMAC and hash of the mechanism, for scram.c. ret has room for scram_hash_size(). 0 or -ENOMEM. */
int scram_hmac(enum scram_mechanism mechanism, const uint8_t *key, const void *data, size_t n,
        uint8_t ret[static SCRAM_HASH_MAX]);
int scram_hash(enum scram_mechanism mechanism, const void *data, size_t n, uint8_t ret[static SCRAM_HASH_MAX]);
