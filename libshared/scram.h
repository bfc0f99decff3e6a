/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A SCRAM conversation (RFC 5802, RFC 7677), either side: four messages of text. Knows no packets, no clock, no randomness and no files: nonces, keys and what the conversation is
 * bound to are given to it. Extensions and authorisation identities are refused, for nobody here sends any.
 *
 *     client                                        server
 *     scram_client_first()   ── client-first ──▶    scram_server_take(), find the user's verifier
 *     scram_client_take()    ◀── server-first ──    scram_server_challenge()
 *     derive the secret (slow)
 *     scram_client_final()   ── client-final ──▶    scram_server_check()
 *     scram_client_verify()  ◀── server-final ──
 *
 * After that both have session_key, which no message has carried: HMAC(StoredKey, "GSS-API session key" + ClientKey + AuthMessage), as RFC 5802 has it in section 8. Both structs are to be
 * wiped by their owner. */

#include "scram-keys.h"

#define SCRAM_MESSAGE_MAX   512U /* with its terminator */
#define SCRAM_NONCE_MAX     64U  /* characters of one side's */
#define SCRAM_USER_MAX      32U
#define SCRAM_BINDING_MAX   64U /* bytes that a conversation is bound to */
#define SCRAM_BIND_NAME_MAX 16U
#define SCRAM_NONCE_SIZE    18U /* random bytes that make a nonce of 24 characters */

struct scram_client {
        enum scram_mechanism mechanism;
        struct scram_salt salt; /* what the server wants, after scram_client_take() */
        uint8_t session_key[SCRAM_HASH_MAX];

        /* private */
        char first[SCRAM_MESSAGE_MAX], nonce[2 * SCRAM_NONCE_MAX + 1], auth[3 * SCRAM_MESSAGE_MAX];
        size_t n_header, n_nonce; /* of first, before the bare message; of our own nonce */
        uint8_t signature[SCRAM_HASH_MAX];
};

struct scram_server {
        char user[SCRAM_USER_MAX + 1]; /* after scram_server_take(); not proved */
        uint8_t session_key[SCRAM_HASH_MAX];

        /* private */
        struct scram_verifier verifier;
        char header[SCRAM_BIND_NAME_MAX + 8], nonce[2 * SCRAM_NONCE_MAX + 1], auth[3 * SCRAM_MESSAGE_MAX];
};

/* Random text. Returns 0 or -EIO. */
int scram_nonce_make(char ret[static SCRAM_NONCE_MAX + 1]);

/* binding: the name of what it is bound to ("p=NAME"), NULL: nothing ("n"). client->first is the message. -EINVAL: a user or nonce that cannot be sent. */
int scram_client_first(struct scram_client *client, const char *binding, const char *user, const char *nonce);
/* The server's answer: what is to be derived stands in client->salt then. -EBADMSG: no such message, or no answer to ours. -ERANGE: iterations or salt out of bounds. */
int scram_client_take(struct scram_client *client, enum scram_mechanism mechanism, const char *text, size_t n);
/* data: what the conversation is bound to. Returns 0, -EINVAL or -ENOMEM. */
int scram_client_final(struct scram_client *client, const uint8_t *data, size_t n, const struct scram_secret *secret,
        char ret[static SCRAM_MESSAGE_MAX]);
/* Whether the server has proved that it knows the user's verifier. */
bool scram_client_verify(const struct scram_client *client, const char *text, size_t n);

/* -EBADMSG: no such message, or bound to something else than binding (NULL: it must not be bound). */
int scram_server_take(struct scram_server *server, const char *binding, const char *text, size_t n);
/* verifier: copied. -EINVAL: a nonce that cannot be sent. */
int scram_server_challenge(struct scram_server *server, const struct scram_verifier *verifier, const char *nonce,
        char ret[static SCRAM_MESSAGE_MAX]);
/* Returns 1 with the answer in ret, 0 when the proof is wrong or the client is bound to something else, -EBADMSG, or -ENOMEM. Which of proof and binding was wrong is not told. */
int scram_server_check(struct scram_server *server, const uint8_t *data, size_t n_data, const char *text, size_t n,
        char ret[static SCRAM_MESSAGE_MAX]);
