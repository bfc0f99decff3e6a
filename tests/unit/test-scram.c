/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SCRAM against the example of RFC 7677 and, for SHA-512 and a binding, against values computed with Python's hashlib; then what must be refused. */

#include "base64.h"
#include "cleanup.h"
#include "hex.h"
#include "ivbs-scram.h"
#include "test.h"

#define NONCE        "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define VERIFIER_256                                                                                \
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define VERIFIER_512                                                           \
        "SCRAM-SHA-512$4096:W22ZaJ0SNY7soEsUEjb6gQ==$6AAub3065EYRmyFpM2RNwqK+" \
        "eGnrkYuEWbXn19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5"                \
        "DvVkOHbvg==:jZHbYjC1aHh0/hKbxyBuGFjDrgjgKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA=="

static const struct vector {
        enum scram_mechanism mechanism;
        const char *binding, *first, *final, *answer, *session_key, *verifier;
} vectors[] = {
        { SCRAM_SHA_256, NULL, "n,,n=user,r=" NONCE,
                "c=biws,r=" NONCE SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
                "cec5f74291eae483bdfd4c87b8453ef3ffab235aec61a1a1c2dba4e34efe75bb", VERIFIER_256 },
        { SCRAM_SHA_512, "ivbs-hello", "p=ivbs-hello,,n=user,r=" NONCE,
                "c=cD1pdmJzLWhlbGxvLCwAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw==,r=" NONCE SERVER_NONCE
                ",p=GmCKYMyBoABqsouGRPlTHye5OwhQDt2cLAW01lkVakiVPQVboNOLbfqN81OAkpy9H8XgZJdT3no4i2GZK8EVKA==",
                "v=u0XQMabRpVUjd1AwnFf4Iis5m1Kfl3FSONdiGWRWdVSetoXEtlPbOBZXXzB8x0QMNsY4ois0EvvTWOv9+R64JA==",
                "7dfbc8ee5089a08d47cc5ea72070401b17fceddbb91bc6c590e8f155e67050b546f999811199442e323d78b479b41038c744a"
                "1bb56"
                "be2e17370fa6c880cdebbb",
                VERIFIER_512 },
};

static const uint8_t bound[32] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
        23, 24, 25, 26, 27, 28, 29, 30, 31 };

static void published(void) {
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                const struct vector *v = vectors + i;
                size_t n_bound = v->binding ? sizeof(bound) : 0, size = scram_hash_size(v->mechanism);
                char text[SCRAM_MESSAGE_MAX], line[SCRAM_TEXT_MAX];
                struct scram_verifier verifier, made;
                struct scram_secret secret;
                struct scram_client client;
                struct scram_server server;

                ASSERT_OK(scram_client_first(&client, v->binding, "user", NONCE));
                ASSERT_STREQ(client.first, v->first);

                ASSERT_OK(scram_text_decode(v->verifier, &verifier));
                ASSERT_OK(scram_server_take(&server, v->binding, client.first, strlen(client.first)));
                ASSERT_STREQ(server.user, "user");
                ASSERT_OK(scram_server_challenge(&server, &verifier, SERVER_NONCE, text));
                ASSERT_STREQ(text, SERVER_FIRST);

                ASSERT_OK(scram_client_take(&client, v->mechanism, text, strlen(text)));
                ASSERT_OK(scram_derive(&client.salt, "pencil", 6, &secret));
                ASSERT_OK(scram_verifier_make(&client.salt, &secret, &made));
                scram_text_encode(&made, line);
                ASSERT_STREQ(line, v->verifier);
                ASSERT_OK(scram_client_final(&client, bound, n_bound, &secret, text));
                ASSERT_STREQ(text, v->final);

                ASSERT_EQ(scram_server_check(&server, bound, n_bound, v->final, strlen(v->final), text), 1);
                ASSERT_STREQ(text, v->answer);
                ASSERT_TRUE(scram_client_verify(&client, text, strlen(text)));
                ASSERT_HEX(client.session_key, size, v->session_key);
                ASSERT_HEX(server.session_key, size, v->session_key);
        }
}

/* Both sides up to the last message, which the tests then spoil. */
static void converse(struct scram_client *client, struct scram_server *server, const char *password,
        const uint8_t *data, size_t n, char ret[static SCRAM_MESSAGE_MAX]) {
        struct scram_verifier verifier;
        struct scram_secret secret;

        ASSERT_OK(scram_text_decode(VERIFIER_512, &verifier));
        ASSERT_OK(scram_client_first(client, "ivbs-hello", "user", NONCE));
        ASSERT_OK(scram_server_take(server, "ivbs-hello", client->first, strlen(client->first)));
        ASSERT_OK(scram_server_challenge(server, &verifier, SERVER_NONCE, ret));
        ASSERT_OK(scram_client_take(client, SCRAM_SHA_512, ret, strlen(ret)));
        ASSERT_OK(scram_derive(&client->salt, password, strlen(password), &secret));
        ASSERT_OK(scram_client_final(client, data, n, &secret, ret));
}

static void wrong_proof(void) {
        char text[SCRAM_MESSAGE_MAX], answer[SCRAM_MESSAGE_MAX] = "untouched";
        struct scram_client client;
        struct scram_server server;

        converse(&client, &server, "pencils", bound, sizeof(bound), text);
        ASSERT_EQ(scram_server_check(&server, bound, sizeof(bound), text, strlen(text), answer), 0);
        ASSERT_STREQ(answer, "untouched");
}

/* The right password, but each side has seen another HELLO. */
static void wrong_binding(void) {
        char text[SCRAM_MESSAGE_MAX], answer[SCRAM_MESSAGE_MAX];
        struct scram_client client;
        struct scram_server server;
        uint8_t other[sizeof(bound)];

        memcpy(other, bound, sizeof(bound));
        other[31] ^= 1;
        converse(&client, &server, "pencil", other, sizeof(other), text);
        ASSERT_EQ(scram_server_check(&server, bound, sizeof(bound), text, strlen(text), answer), 0);

        /* Nor does it help to say what the server expects. */
        converse(&client, &server, "pencil", other, sizeof(other), text);
        {
                char right[SCRAM_MESSAGE_MAX];
                struct scram_client c;
                struct scram_server s;

                converse(&c, &s, "pencil", bound, sizeof(bound), right);
                memcpy(text, right, strcspn(right, ","));
        }
        ASSERT_EQ(scram_server_check(&server, bound, sizeof(bound), text, strlen(text), answer), 0);
}

/* Each character of the last message, changed. */
static void spoilt(void) {
        char text[SCRAM_MESSAGE_MAX], copy[SCRAM_MESSAGE_MAX], answer[SCRAM_MESSAGE_MAX];
        struct scram_client client;
        struct scram_server server, again;

        converse(&client, &server, "pencil", bound, sizeof(bound), text);
        for (size_t i = 0; i < strlen(text); i++) {
                strcpy(copy, text);
                copy[i] = copy[i] == 'A' ? 'B' : 'A';
                again = server;
                ASSERT_TRUE(scram_server_check(&again, bound, sizeof(bound), copy, strlen(copy), answer) <= 0);
        }
        for (size_t n = 0; n < strlen(text); n++) {
                again = server;
                ASSERT_TRUE(scram_server_check(&again, bound, sizeof(bound), text, n, answer) <= 0);
        }
        ASSERT_EQ(scram_server_check(&server, bound, sizeof(bound), text, strlen(text), answer), 1);
        for (size_t i = 0; i < strlen(answer); i++) {
                strcpy(copy, answer);
                copy[i] = copy[i] == 'A' ? 'B' : 'A';
                ASSERT_FALSE(scram_client_verify(&client, copy, strlen(copy)));
        }
        ASSERT_FALSE(scram_client_verify(&client, "e=other-error", 13));
}

static void server_first_messages(void) {
        static const struct {
                const char *text;
                int error;
        } cases[] = {
                { SERVER_FIRST, 0 },
                { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", EBADMSG }, /* nothing of its own */
                { "r=other" SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", EBADMSG },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", ERANGE },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000001", ERANGE },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999", EBADMSG },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096", EBADMSG },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=", EBADMSG },
                { "r=" NONCE SERVER_NONCE ",s=,i=4096", ERANGE },
                { "r=" NONCE SERVER_NONCE ",s=W22Z aJ0SNY7soEsUEjb6g==,i=4096", EBADMSG },
                { "r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,x=1", EBADMSG },
                { "m=1,r=" NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", EBADMSG },
                { "e=unknown-user", EBADMSG },
                { "", EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct scram_client client;

                ASSERT_OK(scram_client_first(&client, NULL, "user", NONCE));
                ASSERT_EQ(scram_client_take(&client, SCRAM_SHA_256, cases[i].text, strlen(cases[i].text)),
                        -cases[i].error);
        }
}

static void client_first_messages(void) {
        static const struct {
                const char *binding, *text, *user;
        } cases[] = {
                { NULL, "n,,n=a=2Cb=3Dc,r=x", "a,b=c" }, { NULL, "n,,n=a=2cb,r=x", NULL },
                { NULL, "n,,n=a=,r=x", NULL }, { NULL, "n,,n=,r=x", NULL }, { NULL, "n,,n=user,r=", NULL },
                { NULL, "n,,n=user", NULL }, { NULL, "n,,n=user,r=x,y=1", NULL },
                { NULL, "n,a=admin,n=user,r=x", NULL }, { NULL, "y,,n=user,r=x", NULL },
                { NULL, "p=ivbs-hello,,n=user,r=x", NULL },
                /* Who does not bind has not seen the offer, or somebody has taken it away. */
                { "ivbs-hello", "n,,n=user,r=x", NULL }, { "ivbs-hello", "p=tls-unique,,n=user,r=x", NULL },
                { "ivbs-hello", "p=ivbs-hello,,n=user,r=x", "user" },
                { NULL, "n,,n=a23456789012345678901234567890123,r=x", NULL }, /* 33 */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct scram_server server;
                int r = scram_server_take(&server, cases[i].binding, cases[i].text, strlen(cases[i].text));

                ASSERT_EQ(r, cases[i].user ? 0 : -EBADMSG);
                if (cases[i].user)
                        ASSERT_STREQ(server.user, cases[i].user);
        }
}

static void verifiers(void) {
        static const char *const bad[] = {
                "",
                "SCRAM-SHA-1$4096:QUFB$QUFB:QUFB",
                "SCRAM-SHA-256$4095:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
                "SCRAM-SHA-512$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
                "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
                "SCRAM-SHA-256$ "
                "4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        };
        char one[SCRAM_TEXT_MAX], two[SCRAM_TEXT_MAX];
        struct scram_verifier a, b;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ASSERT_ERROR(scram_text_decode(bad[i], &a), EINVAL);

        ASSERT_OK(scram_text_make(SCRAM_SHA_512, 4096, "pencil", 6, one));
        ASSERT_OK(scram_text_make(SCRAM_SHA_512, 4096, "pencil", 6, two));
        ASSERT_OK(scram_text_decode(one, &a));
        ASSERT_OK(scram_text_decode(two, &b));
        ASSERT_FALSE(scram_salt_equal(&a.salt, &b.salt));
        ASSERT_ERROR(scram_text_make(SCRAM_SHA_512, 4095, "pencil", 6, one), EINVAL);
}

static void base64(void) {
        static const char *const bad[] = { "A", "AA", "AAA", "AB==", "AAB=", "====", "A===", "AA==AAAA", " AAA",
                "AAA\n", "AA-_" };
        uint8_t bytes[8];
        char text[16];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ASSERT_ERROR(base64_decode(bad[i], strlen(bad[i]), bytes, sizeof(bytes)), EBADMSG);
        ASSERT_ERROR(base64_decode("AAAAAAAAAAAA", 12, bytes, sizeof(bytes)), EMSGSIZE);
        for (size_t n = 0; n <= sizeof(bytes); n++) {
                ASSERT_EQ(base64_encode(bound, n, text), BASE64_SIZE(n));
                ASSERT_EQ(base64_decode(text, strlen(text), bytes, sizeof(bytes)), (int) n);
                ASSERT_MEMEQ(bytes, bound, n);
        }
}

/* --- the packets --- */

static void packets(void) {
        struct ivbs_scram_first first = { .mechanism = 6, .text = "n,,n=u,r=x", .n = 10 }, got_first;
        struct ivbs_scram_final_reply reply = { .text = "v=AA==", .n = 6, .ticket = bound, .n_ticket = 4 }, got_reply;
        struct ivbs_scram_ticket ticket = { .ticket = bound, .n_ticket = 4 }, got_ticket;
        uint8_t data[IVBS_SCRAM_SIZE_MAX + IVBS_TICKET_MAX];
        size_t n;

        n = ivbs_scram_first_encode(&first, data);
        ASSERT_HEX(data, n, "00000006 00000000 6e2c2c6e3d752c723d78");
        ASSERT_OK(ivbs_scram_first_decode(data, n, &got_first));
        ASSERT_TRUE(got_first.mechanism == 6 && got_first.n == 10 && memcmp(got_first.text, first.text, 10) == 0);
        for (size_t k = 0; k <= IVBS_SCRAM_PREFIX_SIZE; k++)
                ASSERT_ERROR(ivbs_scram_first_decode(data, k, &got_first), EBADMSG);

        n = ivbs_scram_final_reply_encode(&reply, data);
        ASSERT_HEX(data, n, "00000006 00000000 763d41413d3d 00010203");
        ASSERT_OK(ivbs_scram_final_reply_decode(data, n, &got_reply));
        ASSERT_TRUE(got_reply.n == 6 && got_reply.n_ticket == 4 && memcmp(got_reply.ticket, bound, 4) == 0);
        for (size_t k = 0; k < 14; k++)
                ASSERT_ERROR(ivbs_scram_final_reply_decode(data, k, &got_reply), EBADMSG);
        data[0] = 0xff;
        ASSERT_ERROR(ivbs_scram_final_reply_decode(data, n, &got_reply), EBADMSG);

        memcpy(ticket.nonce, bound, sizeof(ticket.nonce));
        memcpy(ticket.proof, bound, sizeof(ticket.proof));
        n = ivbs_scram_ticket_encode(&ticket, data);
        ASSERT_HEX(data, n,
                "00000004 00000000 000102030405060708090a0b0c0d0e0f "
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 00010203");
        ASSERT_OK(ivbs_scram_ticket_decode(data, n, &got_ticket));
        ASSERT_TRUE(got_ticket.n_ticket == 4 && memcmp(got_ticket.ticket, bound, 4) == 0);
        for (size_t k = 0; k < n; k++)
                ASSERT_ERROR(ivbs_scram_ticket_decode(data, k, &got_ticket), EBADMSG);
}

static void proofs_of_tickets(void) {
        struct ivbs_scram_ticket ticket = { .ticket = (const uint8_t *) "ticket", .n_ticket = 6 };
        uint8_t session_key[SCRAM_HASH_MAX], key[IVBS_TICKET_KEY_SIZE];
        struct ivbs_transcript transcript;
        struct ivbs_ticket_proofs proofs;

        ASSERT_OK(ivbs_transcript_start(&transcript, bound));
        ASSERT_OK(ivbs_transcript_add(&transcript, "greeting", 8));
        ASSERT_OK(ivbs_transcript_add(&transcript, "hello", 5));
        ASSERT_OK(ivbs_transcript_add(&transcript, "reply", 5));
        ASSERT_HEX(transcript.digest, 32, "f26a44fafae342ae3f8e542da8247af11ecef2b6cbac5bf4beeb294814874143");

        memset(session_key, 0x0b, sizeof(session_key));
        ASSERT_OK(ivbs_ticket_key_first(session_key, sizeof(session_key), &transcript, key));
        ASSERT_HEX(key, 32, "728d081b15ee4c32db1af97d7a2ccfad2f8b12d9449c735d955329a944952c86");
        memcpy(ticket.nonce, bound, sizeof(ticket.nonce));
        ASSERT_OK(ivbs_ticket_proofs_make(key, &transcript, &ticket, &proofs));
        ASSERT_HEX(proofs.client, 32, "fc1cdc450ab0af0f476cfb46fc2420541f5e36bbe3ad19dd94a268742ff4eafa");
        ASSERT_HEX(proofs.server, 32, "d75d3583705edbab864c76327f2592c6bb7d2f33a730326c22ee824909903f32");
        ASSERT_HEX(proofs.next_key, 32, "1dd756a9546abe887f7803ef60da2a94e109bb22dd55f9f55d4132ff46960e08");
}

TEST_MAIN(TEST(published), TEST(wrong_proof), TEST(wrong_binding), TEST(spoilt), TEST(server_first_messages),
        TEST(client_first_messages), TEST(verifiers), TEST(base64), TEST(packets), TEST(proofs_of_tickets));
