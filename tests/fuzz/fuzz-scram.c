/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A login as either side takes it from the network. The first byte says which side the input speaks to (0 the server's, 1 the client's, 2 the reader of stored verifiers), two messages follow, each with
 * its length in a byte. The rules: nobody gets in without a key, a server that has none is not believed, and what is decoded and encoded again is the same. */

#include <errno.h>

#include "fuzz.h"
#include "ivbs-scram.h"

#define VERIFIER                                                                                    \
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static uint8_t *take_message(const uint8_t **data, size_t *size, size_t *ret_n) {
        size_t n = *size > 0 ? **data : 0;
        uint8_t *message;

        if (*size > 0) {
                (*data)++;
                (*size)--;
        }
        if (n > *size)
                n = *size;
        message = exact_copy(*data, n);
        *data += n;
        *size -= n;
        *ret_n = n;
        return message;
}

static void to_server(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two) {
        static const uint8_t binding[IVBS_TRANSCRIPT_SIZE];
        char text[SCRAM_MESSAGE_MAX];
        struct ivbs_scram_first first;
        struct scram_verifier verifier;
        struct scram_server server;
        int r;

        if (ivbs_scram_first_decode(one, n_one, &first) < 0 ||
                scram_server_take(&server, IVBS_SCRAM_BINDING, first.text, first.n) < 0)
                return;
        REQUIRE(server.user[0] && strlen(server.user) <= SCRAM_USER_MAX);
        REQUIRE(scram_text_decode(VERIFIER, &verifier) == 0);
        REQUIRE(scram_server_challenge(&server, &verifier, "server", text) == 0);
        REQUIRE(strlen(text) < SCRAM_MESSAGE_MAX);

        r = scram_server_check(&server, binding, sizeof(binding), (const char *) two, n_two, text);
        REQUIRE(r == 0 || r == -EBADMSG);
}

static void to_client(const uint8_t *one, size_t n_one, const uint8_t *two, size_t n_two) {
        static const struct scram_secret secret = { .client_key = { 1 }, .server_key = { 2 } };
        static const uint8_t binding[IVBS_TRANSCRIPT_SIZE];
        struct ivbs_scram_final_reply reply;
        struct ivbs_scram_first first;
        char text[SCRAM_MESSAGE_MAX];
        struct scram_client client;

        REQUIRE(scram_client_first(&client, IVBS_SCRAM_BINDING, "user", "client") == 0);
        if (ivbs_scram_first_decode(one, n_one, &first) < 0 ||
                scram_client_take(&client, first.mechanism, first.text, first.n) < 0)
                return;
        REQUIRE(scram_salt_is_valid(&client.salt));
        REQUIRE(scram_client_final(&client, binding, sizeof(binding), &secret, text) == 0);
        REQUIRE(strlen(text) < SCRAM_MESSAGE_MAX);
        if (ivbs_scram_final_reply_decode(two, n_two, &reply) >= 0) {
                REQUIRE(reply.n + reply.n_ticket + IVBS_SCRAM_PREFIX_SIZE == n_two);
                REQUIRE(!scram_client_verify(&client, reply.text, reply.n));
        }
}

static void stored(const uint8_t *one, size_t n) {
        struct scram_verifier verifier, again;
        char text[SCRAM_TEXT_MAX], *copy;

        copy = calloc(1, n + 1);
        REQUIRE(copy);
        memcpy(copy, one, n);
        if (scram_text_decode(copy, &verifier) >= 0) {
                scram_text_encode(&verifier, text);
                REQUIRE(strcmp(text, copy) == 0);
                REQUIRE(scram_text_decode(text, &again) == 0 && scram_salt_equal(&verifier.salt, &again.salt));
        }
        free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint8_t *one, *two, which;
        struct ivbs_scram_ticket ticket;
        size_t n_one, n_two;

        if (size == 0)
                return 0;
        which = *data++;
        size--;

        one = take_message(&data, &size, &n_one);
        two = take_message(&data, &size, &n_two);
        if (which == 0)
                to_server(one, n_one, two, n_two);
        else if (which == 1)
                to_client(one, n_one, two, n_two);
        else
                stored(one, n_one);
        if (ivbs_scram_ticket_decode(one, n_one, &ticket) >= 0)
                REQUIRE(ticket.n_ticket > 0 && ticket.n_ticket <= n_one - IVBS_SCRAM_TICKET_PREFIX);
        free(one);
        free(two);
        return 0;
}
