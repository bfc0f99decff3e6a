/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server's side of a login with SCRAM, as scripts of scripted-server.h. */

#include "ivbs-scram.h"
#include "scripted-server.h"

#define CAPS (SERVER_CAPS | IVBS_CAP_TICKET | IVBS_CAP_SCRAM)

static inline void make_verifier(uint32_t iterations, struct scram_verifier *ret) {
        struct scram_salt salt = { .mechanism = SCRAM_SHA_512, .iterations = iterations, .n = 4, .salt = "salt" };
        char password[IVBS_PASSWORD_SIZE];
        struct scram_secret secret;

        ASSERT_OK(ivbs_hash_password(SERVER_PASSWORD, strlen(SERVER_PASSWORD), password));
        ASSERT_OK(scram_derive(&salt, password, sizeof(password), &secret));
        ASSERT_OK(scram_verifier_make(&salt, &secret, ret));
}

/* From the greeting to the answer to HELLO. binding: of the TLS connection, or NULL. */
static inline void introduce(struct server *s, struct ivbs_transcript *transcript, const uint8_t *binding) {
        struct ivbs_greeting greeting = { .caps = CAPS, .max_length = IVBS_LENGTH_MAX, .idle_limit_ms = 30000 };
        uint8_t payload[IVBS_GREETING_SIZE], reply[IVBS_HELLO_REPLY_SIZE], id[IVBS_SESSION_ID_SIZE];

        ivbs_greeting_encode(&greeting, payload);
        server_send(s, IVBS_OP_GREETING, 0, 0, payload, sizeof(payload));
        server_expect(s, IVBS_OP_HELLO);
        memset(id, 0x5e, sizeof(id));
        ASSERT_OK(ivbs_transcript_start(transcript, id));
        ASSERT_OK(ivbs_transcript_add(transcript, payload, sizeof(payload)));
        ASSERT_OK(ivbs_transcript_add(transcript, s->payload, s->header.length));
        ivbs_hello_reply_encode(&(struct ivbs_hello_reply){ .caps = CAPS }, reply);
        server_reply(s, 0, reply, sizeof(reply));
        ASSERT_OK(ivbs_transcript_add(transcript, reply, sizeof(reply)));
        if (binding)
                ASSERT_OK(ivbs_transcript_add(transcript, binding, 32));
}

static inline void answer_first(struct server *s, struct scram_server *scram, const char *text) {
        uint8_t reply[IVBS_SCRAM_SIZE_MAX];
        struct ivbs_scram_first first;

        server_expect(s, IVBS_OP_SCRAM_FIRST);
        ASSERT_OK(ivbs_scram_first_decode(s->payload, s->header.length, &first));
        ASSERT_EQ(first.mechanism, 6U);
        ASSERT_OK(scram_server_take(scram, IVBS_SCRAM_BINDING, first.text, first.n));
        ASSERT_STREQ(scram->user, SERVER_USER);
        if (!text) {
                struct scram_verifier verifier;
                char challenge[SCRAM_MESSAGE_MAX];

                make_verifier(4096, &verifier);
                ASSERT_OK(scram_server_challenge(scram, &verifier, "server", challenge));
                first = (struct ivbs_scram_first){ SCRAM_SHA_512, challenge, strlen(challenge) };
                server_reply(s, 0, reply, (uint32_t) ivbs_scram_first_encode(&first, reply));
        } else {
                char challenge[SCRAM_MESSAGE_MAX];

                snprintf(challenge, sizeof(challenge), "r=%sserver,%s", scram->nonce, text);
                first = (struct ivbs_scram_first){ SCRAM_SHA_512, challenge, strlen(challenge) };
                server_reply(s, 0, reply, (uint32_t) ivbs_scram_first_encode(&first, reply));
        }
}

/* A ticket's key, when the proof is right and is answered by the right one. */
static inline void answer_final(
        struct server *s, struct scram_server *scram, const struct ivbs_transcript *transcript, uint8_t *ret_key) {
        uint8_t reply[IVBS_SCRAM_SIZE_MAX + IVBS_TICKET_MAX];
        struct ivbs_scram_final_reply final;
        char text[SCRAM_MESSAGE_MAX];

        server_expect(s, IVBS_OP_SCRAM_FINAL);
        ASSERT_EQ(scram_server_check(scram, transcript->digest, sizeof(transcript->digest), (char *) s->payload,
                          s->header.length, text),
                1);
        ASSERT_OK(ivbs_ticket_key_first(scram->session_key, 64, transcript, ret_key));
        if (s->data)
                text[4] = text[4] == 'A' ? 'B' : 'A';
        final = (struct ivbs_scram_final_reply){ text, strlen(text), (const uint8_t *) "a ticket", 8 };
        server_reply(s, 0, reply, (uint32_t) ivbs_scram_final_reply_encode(&final, reply));
}

static inline void answer_ticket(
        struct server *s, const struct ivbs_transcript *transcript, uint8_t *key, bool honest) {
        struct ivbs_scram_ticket ticket;
        struct ivbs_ticket_proofs proofs;
        uint8_t reply[IVBS_TICKET_PROOF_SIZE + 8];

        server_expect(s, IVBS_OP_SCRAM_TICKET);
        ASSERT_OK(ivbs_scram_ticket_decode(s->payload, s->header.length, &ticket));
        ASSERT_EQ(ticket.n_ticket, 8U);
        ASSERT_MEMEQ(ticket.ticket, "a ticket", 8);
        ASSERT_OK(ivbs_ticket_proofs_make(key, transcript, &ticket, &proofs));
        ASSERT_MEMEQ(ticket.proof, proofs.client, sizeof(ticket.proof));
        memcpy(key, proofs.next_key, IVBS_TICKET_KEY_SIZE);
        memcpy(reply, proofs.server, sizeof(proofs.server));
        reply[0] ^= !honest;
        memcpy(reply + IVBS_TICKET_PROOF_SIZE, "a ticket", 8);
        server_reply(s, 0, reply, sizeof(reply));
}
