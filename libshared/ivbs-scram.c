/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The packets are thin: SCRAM's own text, with the mechanism in front, since that is not part of it. Everything that is proved here is proved over the transcript, whose first part, the
 * session id, is the server's nonce: a proof holds on one connection and on no other. */

#include <errno.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bytes.h"
#include "cleanup.h"
#include "ivbs-scram.h"

#define TRANSCRIPT_PIECE_MAX 4096U
#define LABEL_MAX            24U

int ivbs_transcript_add(struct ivbs_transcript *transcript, const void *data, size_t n) {
        uint8_t input[IVBS_TRANSCRIPT_SIZE + TRANSCRIPT_PIECE_MAX], digest[IVBS_TRANSCRIPT_SIZE];

        if (n > TRANSCRIPT_PIECE_MAX)
                return -EINVAL;

        memcpy(input, transcript->digest, IVBS_TRANSCRIPT_SIZE);
        if (n > 0)
                memcpy(input + IVBS_TRANSCRIPT_SIZE, data, n);
        if (EVP_Digest(input, IVBS_TRANSCRIPT_SIZE + n, digest, NULL, EVP_sha256(), NULL) != 1)
                return -ENOMEM;
        memcpy(transcript->digest, digest, sizeof(digest));
        return 0;
}

int ivbs_transcript_start(struct ivbs_transcript *transcript, const uint8_t session_id[static IVBS_SESSION_ID_SIZE]) {
        return EVP_Digest(session_id, IVBS_SESSION_ID_SIZE, transcript->digest, NULL, EVP_sha256(), NULL) == 1
                       ? 0
                       : -ENOMEM;
}

size_t ivbs_scram_first_encode(const struct ivbs_scram_first *first, uint8_t *ret) {
        put_be32(ret, first->mechanism);
        put_be32(ret + 4, 0);
        memcpy(ret + IVBS_SCRAM_PREFIX_SIZE, first->text, first->n);
        return IVBS_SCRAM_PREFIX_SIZE + first->n;
}

int ivbs_scram_first_decode(const uint8_t *data, size_t n, struct ivbs_scram_first *ret) {
        if (n <= IVBS_SCRAM_PREFIX_SIZE || n > IVBS_SCRAM_SIZE_MAX)
                return -EBADMSG;

        ret->mechanism = get_be32(data);
        ret->text = (const char *) data + IVBS_SCRAM_PREFIX_SIZE;
        ret->n = n - IVBS_SCRAM_PREFIX_SIZE;
        return 0;
}

size_t ivbs_scram_final_reply_encode(const struct ivbs_scram_final_reply *reply, uint8_t *ret) {
        put_be32(ret, (uint32_t) reply->n);
        put_be32(ret + 4, 0);
        memcpy(ret + IVBS_SCRAM_PREFIX_SIZE, reply->text, reply->n);
        if (reply->n_ticket > 0)
                memcpy(ret + IVBS_SCRAM_PREFIX_SIZE + reply->n, reply->ticket, reply->n_ticket);
        return IVBS_SCRAM_PREFIX_SIZE + reply->n + reply->n_ticket;
}

int ivbs_scram_final_reply_decode(const uint8_t *data, size_t n, struct ivbs_scram_final_reply *ret) {
        uint32_t length;

        if (n < IVBS_SCRAM_PREFIX_SIZE)
                return -EBADMSG;
        length = get_be32(data);
        n -= IVBS_SCRAM_PREFIX_SIZE;
        if (length == 0 || length >= SCRAM_MESSAGE_MAX || length > n || n - length > IVBS_TICKET_MAX)
                return -EBADMSG;

        ret->text = (const char *) data + IVBS_SCRAM_PREFIX_SIZE;
        ret->n = length;
        ret->ticket = data + IVBS_SCRAM_PREFIX_SIZE + length;
        ret->n_ticket = n - length;
        return 0;
}

size_t ivbs_scram_ticket_encode(const struct ivbs_scram_ticket *ticket, uint8_t *ret) {
        put_be32(ret, (uint32_t) ticket->n_ticket);
        put_be32(ret + 4, 0);
        memcpy(ret + 8, ticket->nonce, IVBS_TICKET_NONCE_SIZE);
        memcpy(ret + 24, ticket->proof, IVBS_TICKET_PROOF_SIZE);
        memcpy(ret + IVBS_SCRAM_TICKET_PREFIX, ticket->ticket, ticket->n_ticket);
        return IVBS_SCRAM_TICKET_PREFIX + ticket->n_ticket;
}

int ivbs_scram_ticket_decode(const uint8_t *data, size_t n, struct ivbs_scram_ticket *ret) {
        uint32_t length;

        if (n < IVBS_SCRAM_TICKET_PREFIX)
                return -EBADMSG;
        length = get_be32(data);
        if (length == 0 || length > IVBS_TICKET_MAX || length > n - IVBS_SCRAM_TICKET_PREFIX)
                return -EBADMSG;

        memcpy(ret->nonce, data + 8, IVBS_TICKET_NONCE_SIZE);
        memcpy(ret->proof, data + 24, IVBS_TICKET_PROOF_SIZE);
        ret->ticket = data + IVBS_SCRAM_TICKET_PREFIX;
        ret->n_ticket = length;
        return 0;
}

/* --- keys and proofs of tickets --- */

/* HMAC-SHA256 under key over a label, padded so that no two labels run into what follows, the transcript, and data. */
static int label_hmac(const uint8_t *key, size_t n_key, const char *label, const struct ivbs_transcript *transcript,
        const void *data, size_t n, uint8_t ret[static 32]) {
        uint8_t input[LABEL_MAX + IVBS_TRANSCRIPT_SIZE + IVBS_TICKET_NONCE_SIZE + IVBS_TICKET_MAX] = {};
        unsigned size = 32;

        memcpy(input, label, strlen(label));
        memcpy(input + LABEL_MAX, transcript->digest, IVBS_TRANSCRIPT_SIZE);
        if (n > 0)
                memcpy(input + LABEL_MAX + IVBS_TRANSCRIPT_SIZE, data, n);
        return HMAC(EVP_sha256(), key, (int) n_key, input, LABEL_MAX + IVBS_TRANSCRIPT_SIZE + n, ret, &size) ? 0
                                                                                                             : -ENOMEM;
}

int ivbs_ticket_key_first(const uint8_t *session_key, size_t n, const struct ivbs_transcript *transcript,
        uint8_t ret[static IVBS_TICKET_KEY_SIZE]) {
        return label_hmac(session_key, n, "ivbs ticket first", transcript, NULL, 0, ret);
}

int ivbs_ticket_proofs_make(const uint8_t key[static IVBS_TICKET_KEY_SIZE], const struct ivbs_transcript *transcript,
        const struct ivbs_scram_ticket *ticket, struct ivbs_ticket_proofs *ret) {
        uint8_t data[IVBS_TICKET_NONCE_SIZE + IVBS_TICKET_MAX];
        const struct {
                const char *label;
                uint8_t *to;
        } made[] = {
                { "ivbs ticket client", ret->client },
                { "ivbs ticket server", ret->server },
                { "ivbs ticket next", ret->next_key },
        };
        size_t n = IVBS_TICKET_NONCE_SIZE + ticket->n_ticket;
        int r = 0;

        if (ticket->n_ticket > IVBS_TICKET_MAX)
                return -EINVAL;
        memcpy(data, ticket->nonce, IVBS_TICKET_NONCE_SIZE);
        memcpy(data + IVBS_TICKET_NONCE_SIZE, ticket->ticket, ticket->n_ticket);

        for (size_t i = 0; i < ELEMENTSOF(made) && r >= 0; i++)
                r = label_hmac(key, IVBS_TICKET_KEY_SIZE, made[i].label, transcript, data, n, made[i].to);
        if (r < 0)
                explicit_bzero(ret, sizeof(*ret));
        return r;
}
