/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Logging in with SCRAM: nothing crosses the wire that would be of use on another connection. It costs a few hashes here, for the slow one is the client's, so nothing
 * waits for a thread but a look at the users file.
 *
 * A user that does not exist is asked for a proof like any other, and that is wrong like any other. One that exists and has nothing stored for SCRAM is told so: that gives away his name, for as long as
 * his password has not been set anew. */

#include <string.h>

#include <openssl/crypto.h>

#include "client-login.h"
#include "log.h"
#include "tickets.h"

struct client_scram {
        struct scram_server server;
        uint8_t digest[USERS_DIGEST_SIZE]; /* of what was stored when the first message was answered */
        bool known;
        /* Until then: what the client knows. */
        uint32_t mechanisms;
};

struct client_scram *client_scram_free(struct client_scram *scram) {
        if (scram) {
                explicit_bzero(scram, sizeof(*scram));
                free(scram);
        }
        return NULL;
}
DEFINE_CLEANUP(struct client_scram *, client_scram_free);

static void give_up(struct client *client, enum ivbs_status status) {
        client->scram = client_scram_free(client->scram);
        client_control_end(client, status, NULL, 0);
}

/* --- the first message --- */

static void answer_first(struct client *client) {
        char text[SCRAM_MESSAGE_MAX], nonce[SCRAM_NONCE_MAX + 1];
        uint8_t reply[IVBS_SCRAM_SIZE_MAX];
        struct client_scram *scram = client->scram;
        struct scram_verifier verifier;
        struct ivbs_scram_first first;
        int r;

        client_take_users(client);
        if (client->state == CLIENT_CLOSING) {
                give_up(client, IVBS_STATUS_TEMPORARY_ERROR);
                return;
        }

        r = users_get_verifier(client->proxy->users, client->proxy->ticket_key, client->control.name, &verifier);
        if (r == -ENOKEY) {
                log_event(LOG_NOTICE, LOG_FIELDS({ "CLIENT", client->address }, { "USER", client->control.name }),
                        "%s cannot log in with SCRAM yet: set the password once more with \"blockstorectl user passwd "
                        "%s\"",
                        client->control.name, client->control.name);
                give_up(client, IVBS_STATUS_NO_SCRAM);
                return;
        }
        if (r < 0) {
                give_up(client, IVBS_STATUS_TEMPORARY_ERROR);
                return;
        }

        scram->known = r > 0 && users_digest(client->proxy->users, client->control.name, scram->digest) >= 0;
        if (!(scram->mechanisms & 1U << verifier.salt.mechanism)) {
                explicit_bzero(&verifier, sizeof(verifier));
                give_up(client, IVBS_STATUS_INVALID_REQUEST);
                return;
        }
        r = scram_nonce_make(nonce);
        if (r >= 0)
                r = scram_server_challenge(&scram->server, &verifier, nonce, text);
        first = (struct ivbs_scram_first){
                .mechanism = verifier.salt.mechanism,
                .text = text,
                .n = strlen(text),
        };
        explicit_bzero(&verifier, sizeof(verifier));
        if (r < 0) {
                give_up(client, IVBS_STATUS_TEMPORARY_ERROR);
                return;
        }
        client_control_end(client, IVBS_STATUS_OK, reply, ivbs_scram_first_encode(&first, reply));
}

void client_scram_first(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_scram_first first;

        client_control_start(client, header);
        client->scram = client_scram_free(client->scram);
        client->scram = calloc(1, sizeof(*client->scram));
        if (!client->scram) {
                give_up(client, IVBS_STATUS_TEMPORARY_ERROR);
                return;
        }
        if (ivbs_scram_first_decode(payload, header->length, &first) < 0 ||
                scram_server_take(&client->scram->server, IVBS_SCRAM_BINDING, first.text, first.n) < 0 ||
                !users_file_name_is_valid(client->scram->server.user)) {
                give_up(client, IVBS_STATUS_INVALID_REQUEST);
                return;
        }

        client->scram->mechanisms = first.mechanism;
        strcpy(control->name, client->scram->server.user);
        if (!client_may_try(client)) {
                client->scram = client_scram_free(client->scram);
                return;
        }
        client_control_run(client, client->proxy->users_jobs, client_refresh_users, answer_first);
}

/* --- the last one --- */

/* The users may be others than when the first message was answered. */
static bool is_unchanged(const struct client *client, const struct client_scram *scram) {
        uint8_t digest[USERS_DIGEST_SIZE];

        return users_digest(client->proxy->users, client->control.name, digest) >= 0 &&
               CRYPTO_memcmp(digest, scram->digest, sizeof(digest)) == 0;
}

/* Returns its length; 0 when there is none. */
static size_t make_ticket(struct client *client, const uint8_t secret[static IVBS_TICKET_KEY_SIZE],
        uint8_t ret[static IVBS_TICKET_MAX]) {
        const char *name = client->control.name;
        uint8_t digest[TICKET_DIGEST_SIZE];
        size_t n = 0;

        if ((client->caps & IVBS_CAP_TICKET) && users_digest(client->proxy->users, name, digest) >= 0 &&
                ticket_make_proved(client->proxy->ticket_key, name, digest, client_realtime_sec(), secret, ret, &n) <
                        0)
                n = 0;
        return n;
}

static void answer_final(struct client *client, struct client_scram *scram, const char *text) {
        uint8_t secret[IVBS_TICKET_KEY_SIZE], ticket[IVBS_TICKET_MAX], reply[IVBS_SCRAM_SIZE_MAX + IVBS_TICKET_MAX];
        struct ivbs_scram_final_reply answer = { .text = text, .n = strlen(text), .ticket = ticket };

        if (ivbs_ticket_key_first(scram->server.session_key, scram_hash_size(scram->server.verifier.salt.mechanism),
                    &client->transcript, secret) >= 0)
                answer.n_ticket = make_ticket(client, secret, ticket);
        explicit_bzero(secret, sizeof(secret));
        client_logged_in(client, "password (SCRAM)", reply, ivbs_scram_final_reply_encode(&answer, reply));
}

void client_scram_final(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        _cleanup_(client_scram_freep) struct client_scram *scram = TAKE_PTR(client->scram);
        char text[SCRAM_MESSAGE_MAX];
        int r;

        /* Each first message is good for one last one. */
        client_control_start(client, header);
        if (!scram) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        strcpy(client->control.name, scram->server.user);
        r = scram_server_check(&scram->server, client->transcript.digest, sizeof(client->transcript.digest),
                (const char *) payload, header->length, text);
        if (r == -EBADMSG)
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
        else if (r < 0 || (r > 0 && scram->known && !is_unchanged(client, scram)))
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        else if (r == 0 || !scram->known)
                client_refused(client, IVBS_STATUS_PERMISSION_DENIED);
        else
                answer_final(client, scram, text);
}

/* --- a ticket --- */

static void check_ticket(struct client *client) {
        struct control *control = &client->control;
        uint8_t digest[TICKET_DIGEST_SIZE], secret[IVBS_TICKET_KEY_SIZE],
                reply[IVBS_TICKET_PROOF_SIZE + IVBS_TICKET_MAX];
        struct ivbs_scram_ticket ticket;
        struct ivbs_ticket_proofs proofs;
        size_t n;
        int r;

        client_take_users(client);
        r = ivbs_scram_ticket_decode(control->scram_ticket, control->n_scram_ticket, &ticket);
        if (r >= 0)
                r = users_digest(client->proxy->users, control->name, digest);
        if (r >= 0)
                r = ticket_open_proved(client->proxy->ticket_key, ticket.ticket, ticket.n_ticket, digest,
                        client_realtime_sec(), secret);
        if (r > 0) {
                r = ivbs_ticket_proofs_make(secret, &client->transcript, &ticket, &proofs);
                explicit_bzero(secret, sizeof(secret));
                if (r >= 0)
                        r = CRYPTO_memcmp(proofs.client, ticket.proof, sizeof(proofs.client)) == 0;
        }

        if (r > 0) {
                memcpy(reply, proofs.server, IVBS_TICKET_PROOF_SIZE);
                n = make_ticket(client, proofs.next_key, reply + IVBS_TICKET_PROOF_SIZE);
                explicit_bzero(&proofs, sizeof(proofs));
                client_logged_in(client, "ticket (SCRAM)", reply, IVBS_TICKET_PROOF_SIZE + n);
        } else if (r == -ENOMEM)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        else {
                explicit_bzero(&proofs, sizeof(proofs));
                log_event(LOG_INFO, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "A ticket of %s from %s is not good any more", control->name, client->address);
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        }
}

void client_scram_ticket(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_scram_ticket ticket;

        client_control_start(client, header);
        if (header->length > sizeof(control->scram_ticket) ||
                ivbs_scram_ticket_decode(payload, header->length, &ticket) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (ticket_claims(ticket.ticket, ticket.n_ticket, control->name) < 0 ||
                !users_file_name_is_valid(control->name)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }

        memcpy(control->scram_ticket, payload, header->length);
        control->n_scram_ticket = header->length;
        client_control_run(client, client->proxy->users_jobs, client_refresh_users, check_ticket);
}
