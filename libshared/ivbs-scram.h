/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Logging in without sending what could be used again (capability SCRAM): the packets that carry a SCRAM conversation, what that is bound to, and tickets that are proved
 * instead of shown. Layouts stand in docs/protocol.md. Pure, as ivbs-hello.h, and with its rules. */

#include "ivbs-hello.h"
#include "scram.h"

#define IVBS_SCRAM_PREFIX_SIZE   8U
#define IVBS_SCRAM_SIZE_MAX      (IVBS_SCRAM_PREFIX_SIZE + SCRAM_MESSAGE_MAX)
#define IVBS_SCRAM_BINDING       "ivbs-hello" /* what SCRAM calls the transcript */
#define IVBS_TRANSCRIPT_SIZE     32U
#define IVBS_TICKET_KEY_SIZE     32U
#define IVBS_TICKET_NONCE_SIZE   16U
#define IVBS_TICKET_PROOF_SIZE   32U
#define IVBS_SCRAM_TICKET_PREFIX 56U

/* What both sides have seen of this connection until HELLO was answered: whoever takes a capability out of it on the way, or joins two connections, makes them differ, and
 * no login succeeds. SHA-256 of the session id; then, for each thing added, SHA-256 of what there was so far and the thing. */
struct ivbs_transcript {
        uint8_t digest[IVBS_TRANSCRIPT_SIZE];
};

int ivbs_transcript_start(struct ivbs_transcript *transcript, const uint8_t session_id[static IVBS_SESSION_ID_SIZE]);
/* In turn: the payloads of GREETING, HELLO and HELLO's reply. n: at most 4096. Both return 0, -EINVAL or -ENOMEM. */
int ivbs_transcript_add(struct ivbs_transcript *transcript, const void *data, size_t n);

/* SCRAM_FIRST, either way: 0 u32, 4 reserved u32, 8 message. To the server the u32 is the mechanisms that the client knows (bit n: mechanism n), from it the one that is used. */
struct ivbs_scram_first {
        uint32_t mechanism;
        const char *text; /* not terminated */
        size_t n;
};

/* ret has room for IVBS_SCRAM_SIZE_MAX. Returns the bytes written. */
size_t ivbs_scram_first_encode(const struct ivbs_scram_first *first, uint8_t *ret);
/* text points into data. -EBADMSG. */
int ivbs_scram_first_decode(const uint8_t *data, size_t n, struct ivbs_scram_first *ret);

/* SCRAM_FINAL to the server is the message alone. The reply: 0 length of the message u32, 4 reserved u32, 8 message, then a ticket of 0 to 256 bytes. */
struct ivbs_scram_final_reply {
        const char *text;
        size_t n;
        const uint8_t *ticket;
        size_t n_ticket;
};

/* ret has room for IVBS_SCRAM_SIZE_MAX + IVBS_TICKET_MAX. */
size_t ivbs_scram_final_reply_encode(const struct ivbs_scram_final_reply *reply, uint8_t *ret);
int ivbs_scram_final_reply_decode(const uint8_t *data, size_t n, struct ivbs_scram_final_reply *ret);

/* SCRAM_TICKET: 0 length of the ticket u32 (1-256), 4 reserved u32, 8 nonce[16], 24 proof[32], 56 ticket. The reply: 0 proof[32], then a fresh ticket of 0 to 256 bytes. */
struct ivbs_scram_ticket {
        uint8_t nonce[IVBS_TICKET_NONCE_SIZE]; /* random, the client's; the server's is the session id */
        uint8_t proof[IVBS_TICKET_PROOF_SIZE];
        const uint8_t *ticket;
        size_t n_ticket;
};

/* ret has room for IVBS_SCRAM_TICKET_PREFIX + IVBS_TICKET_MAX. */
size_t ivbs_scram_ticket_encode(const struct ivbs_scram_ticket *ticket, uint8_t *ret);
int ivbs_scram_ticket_decode(const uint8_t *data, size_t n, struct ivbs_scram_ticket *ret);

/* The key that goes with the ticket of a SCRAM login: both sides make it, and nobody sends it. n: the hash size of the mechanism. Returns 0 or -ENOMEM. */
int ivbs_ticket_key_first(const uint8_t *session_key, size_t n, const struct ivbs_transcript *transcript,
        uint8_t ret[static IVBS_TICKET_KEY_SIZE]);

/* All that SCRAM_TICKET needs of a key: what the client sends, what the server answers, and the key of the fresh ticket. */
struct ivbs_ticket_proofs {
        uint8_t client[IVBS_TICKET_PROOF_SIZE];
        uint8_t server[IVBS_TICKET_PROOF_SIZE];
        uint8_t next_key[IVBS_TICKET_KEY_SIZE];
};

/* Returns 0, -EINVAL or -ENOMEM. */
int ivbs_ticket_proofs_make(const uint8_t key[static IVBS_TICKET_KEY_SIZE], const struct ivbs_transcript *transcript,
        const struct ivbs_scram_ticket *ticket, struct ivbs_ticket_proofs *ret);
