/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Logging in with SCRAM: the proxy asks for a proof, the key for it is derived on a thread the first time, and the proxy has to prove that it knows us, too. Then it is not only we who
 * are let in: it is known that the capabilities are those that the proxy has sent, and that the proxy is one that has our user. The ticket of such a login is proved, not shown.
 *
 * A proxy that knows our password and fails to prove it, or tells us to come with the classic login where others could read it, is refused like one that will not have us. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>

#include "container-of.h"
#include "login-keys.h"
#include "session.h"

struct session_scram {
        struct session *session;
        struct scram_client client;
        struct derivation derivation;
        /* A ticket under way: what the proxy has to answer, and the key of the next one. */
        struct ivbs_ticket_proofs proofs;
};

struct session_scram *session_scram_free(struct session_scram *scram) {
        if (scram) {
                explicit_bzero(scram, sizeof(*scram));
                free(scram);
        }
        return NULL;
}

bool session_scram_is_busy(const struct session *s) {
        return s->scram && s->scram->derivation.work;
}

void session_scram_cancel(struct session *s) {
        if (s->scram)
                derivation_cancel(&s->scram->derivation, s->ring);
}

static struct session_scram *begin(struct session *s) {
        s->scram = session_scram_free(s->scram);
        s->scram = calloc(1, sizeof(*s->scram));
        if (s->scram)
                s->scram->session = s;
        return s->scram;
}

static void fail(struct session *s, int error) {
        session_close(s, SESSION_LOST, FAILURE_INTERNAL, "cannot log in with SCRAM: %s", strerror(-error));
}

static void distrust(struct session *s) {
        session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                "the proxy could not prove that it knows user \"%s\": it may be somebody else's",
                s->credentials->user);
}

/* --- tickets --- */

int session_scram_ticket(struct session *s) {
        struct proxy *proxy = s->proxy;
        struct ivbs_scram_ticket ticket = { .ticket = proxy->ticket, .n_ticket = proxy->n_ticket };
        uint8_t payload[IVBS_SCRAM_TICKET_PREFIX + IVBS_TICKET_MAX];
        int r;

        if (!begin(s))
                return -ENOMEM;
        if (getrandom(ticket.nonce, sizeof(ticket.nonce), 0) != (ssize_t) sizeof(ticket.nonce))
                return -EIO;
        r = ivbs_ticket_proofs_make(proxy->ticket_key, &s->transcript, &ticket, &s->scram->proofs);
        if (r < 0)
                return r;
        memcpy(ticket.proof, s->scram->proofs.client, sizeof(ticket.proof));

        session_set_state(s, SESSION_LOGIN);
        session_send_control(s, IVBS_OP_SCRAM_TICKET, payload, ivbs_scram_ticket_encode(&ticket, payload));
        return 0;
}

static int ticket_answered(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct session_scram *scram = s->scram;

        if (header->length < IVBS_TICKET_PROOF_SIZE || header->length > IVBS_TICKET_PROOF_SIZE + IVBS_TICKET_MAX)
                return -EPROTO;
        if (CRYPTO_memcmp(payload, scram->proofs.server, IVBS_TICKET_PROOF_SIZE) != 0) {
                distrust(s);
                return 0;
        }

        proxy_set_proved_ticket(s->proxy, payload + IVBS_TICKET_PROOF_SIZE, header->length - IVBS_TICKET_PROOF_SIZE,
                scram->proofs.next_key);
        session_logged_in(s);
        return 0;
}

/* --- the password --- */

int session_scram_start(struct session *s) {
        struct ivbs_scram_first first = { .mechanism = 1U << SCRAM_SHA_256 | 1U << SCRAM_SHA_512 };
        uint8_t payload[IVBS_SCRAM_SIZE_MAX];
        char nonce[SCRAM_NONCE_MAX + 1];
        int r;

        if (!begin(s))
                return -ENOMEM;
        r = scram_nonce_make(nonce);
        if (r >= 0)
                r = scram_client_first(&s->scram->client, IVBS_SCRAM_BINDING, s->credentials->user, nonce);
        if (r < 0)
                return r;

        first.text = s->scram->client.first;
        first.n = strlen(first.text);
        session_set_state(s, SESSION_LOGIN);
        session_send_control(s, IVBS_OP_SCRAM_FIRST, payload, ivbs_scram_first_encode(&first, payload));
        return 0;
}

static void prove(struct session *s, const struct scram_secret *secret) {
        char text[SCRAM_MESSAGE_MAX];
        int r;

        r = scram_client_final(&s->scram->client, s->transcript.digest, sizeof(s->transcript.digest), secret, text);
        if (r < 0)
                fail(s, r);
        else
                session_send_control(s, IVBS_OP_SCRAM_FINAL, text, strlen(text));
        explicit_bzero(text, sizeof(text));
}

static void derived(struct derivation *derivation, int error, const struct scram_secret *secret) {
        struct session *s = CONTAINER_OF(derivation, struct session_scram, derivation)->session;

        if (s->state == SESSION_CLOSING)
                session_settle(s);
        else if (error < 0)
                fail(s, error);
        else
                prove(s, secret);
}

static int first_answered(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct scram_secret secret;
        struct ivbs_scram_first first;
        int r;

        if (ivbs_scram_first_decode(payload, header->length, &first) < 0 || scram_hash_size(first.mechanism) == 0)
                return -EPROTO;
        r = scram_client_take(&s->scram->client, first.mechanism, first.text, first.n);
        if (r == -ERANGE) {
                session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                        "the proxy asks for a key with fewer than %u or more than %u iterations, which is not given",
                        SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX);
                return 0;
        }
        if (r < 0)
                return -EPROTO;

        r = derivation_start(
                &s->scram->derivation, s->ring, s->credentials->keys, &s->scram->client.salt, derived, &secret);
        if (r < 0)
                fail(s, r);
        else if (r > 0) {
                prove(s, &secret);
                explicit_bzero(&secret, sizeof(secret));
        }
        return 0;
}

static int final_answered(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct scram_client *client = &s->scram->client;
        struct ivbs_scram_final_reply reply;
        uint8_t key[IVBS_TICKET_KEY_SIZE];

        if (ivbs_scram_final_reply_decode(payload, header->length, &reply) < 0)
                return -EPROTO;
        if (!scram_client_verify(client, reply.text, reply.n)) {
                distrust(s);
                return 0;
        }

        if ((s->caps & IVBS_CAP_TICKET) && ivbs_ticket_key_first(client->session_key,
                                                   scram_hash_size(client->mechanism), &s->transcript, key) >= 0)
                proxy_set_proved_ticket(s->proxy, reply.ticket, reply.n_ticket, key);
        explicit_bzero(key, sizeof(key));
        session_logged_in(s);
        return 0;
}

int session_on_scram(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        if (header->op != s->control_op || header->sequence != s->control_sequence || !s->scram ||
                session_scram_is_busy(s))
                return -EPROTO;

        if (header->status == IVBS_STATUS_OK)
                return header->op == IVBS_OP_SCRAM_FIRST   ? first_answered(s, header, payload)
                       : header->op == IVBS_OP_SCRAM_FINAL ? final_answered(s, header, payload)
                                                           : ticket_answered(s, header, payload);

        if (header->op == IVBS_OP_SCRAM_TICKET && header->status == IVBS_STATUS_PERMISSION_DENIED) {
                proxy_forget_ticket(s->proxy);
                return session_scram_start(s);
        }
        if (header->op == IVBS_OP_SCRAM_FIRST && header->status == IVBS_STATUS_NO_SCRAM)
                return session_log_in_classic(s);
        session_login_failed(s, header->status);
        return 0;
}
