/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*     client-first  = header bare           header = "n,," or "p=NAME,,"    bare = "n=USER,r=NONCE"
 *     server-first  = "r=NONCE NONCE',s=SALT,i=ITERATIONS"
 *     client-final  = "c=HEADER DATA,r=NONCE NONCE'" ",p=PROOF"
 *     server-final  = "v=SIGNATURE"
 *
 * AuthMessage, over which both sides sign, is the second, third and fourth of these with commas between: whatever was changed on the way makes the proof wrong. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>

#include "base64.h"
#include "scram.h"

int scram_nonce_make(char ret[static SCRAM_NONCE_MAX + 1]) {
        uint8_t random[SCRAM_NONCE_SIZE];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        base64_encode(random, sizeof(random), ret);
        return 0;
}

/* --- pieces of messages --- */

/* What may stand in a nonce: graphic ASCII but for the comma. */
static bool nonce_is_valid(const char *nonce, size_t n) {
        if (n == 0)
                return false;
        for (size_t i = 0; i < n; i++)
                if (nonce[i] <= 0x20 || nonce[i] >= 0x7f || nonce[i] == ',')
                        return false;
        return true;
}

/* "=2C" and "=3D" stand for comma and equals sign. */
static int user_encode(const char *user, char ret[static 3 * SCRAM_USER_MAX + 1]) {
        size_t n = strlen(user);
        char *p = ret;

        if (n == 0 || n > SCRAM_USER_MAX)
                return -EINVAL;
        for (; *user; user++)
                if (*user == ',' || *user == '=')
                        p += sprintf(p, "=%02X", (unsigned) *user);
                else
                        *p++ = *user;
        *p = '\0';
        return 0;
}

static int user_decode(const char *text, size_t n, char ret[static SCRAM_USER_MAX + 1]) {
        size_t k = 0;

        for (size_t i = 0; i < n; i++) {
                char c = text[i];

                if (c == '=') {
                        if (n - i < 3)
                                return -EBADMSG;
                        c = memcmp(text + i, "=2C", 3) == 0 ? ',' : memcmp(text + i, "=3D", 3) == 0 ? '=' : '\0';
                        i += 2;
                }
                if (c == '\0' || k == SCRAM_USER_MAX)
                        return -EBADMSG;
                ret[k++] = c;
        }
        ret[k] = '\0';
        return k > 0 ? 0 : -EBADMSG;
}

/* Takes "k=value" off the front of text[0..n), and the comma behind it. */
static int take(const char **text, size_t *n, char key, const char **ret, size_t *ret_n) {
        const char *comma = memchr(*text, ',', *n);
        size_t whole = comma ? (size_t) (comma - *text) : *n;

        if (whole < 2 || (*text)[0] != key || (*text)[1] != '=')
                return -EBADMSG;

        *ret = *text + 2;
        *ret_n = whole - 2;
        whole += comma ? 1 : 0;
        *text += whole;
        *n -= whole;
        return 0;
}

static int header_encode(const char *binding, char ret[static SCRAM_BIND_NAME_MAX + 8]) {
        if (binding && (strlen(binding) == 0 || strlen(binding) > SCRAM_BIND_NAME_MAX))
                return -EINVAL;
        if (binding)
                sprintf(ret, "p=%s,,", binding);
        else
                strcpy(ret, "n,,");
        return 0;
}

/* "c=" and what follows it, but for the proof. */
static int without_proof(
        const char *header, const uint8_t *data, size_t n, const char *nonce, char ret[static SCRAM_MESSAGE_MAX]) {
        uint8_t input[SCRAM_BIND_NAME_MAX + 8 + SCRAM_BINDING_MAX];
        char text[BASE64_SIZE(sizeof(input)) + 1];
        size_t n_header = strlen(header);

        if (n > SCRAM_BINDING_MAX)
                return -EINVAL;
        memcpy(input, header, n_header);
        if (n > 0)
                memcpy(input + n_header, data, n);
        base64_encode(input, n_header + n, text);
        snprintf(ret, SCRAM_MESSAGE_MAX, "c=%s,r=%s", text, nonce);
        return 0;
}

_Static_assert(4 + BASE64_SIZE(SCRAM_BIND_NAME_MAX + 8 + SCRAM_BINDING_MAX) + 2 * SCRAM_NONCE_MAX + 4 +
                               BASE64_SIZE(SCRAM_HASH_MAX) <
                       SCRAM_MESSAGE_MAX,
        "the longest final message has room");

/* --- what both sides compute --- */

/* From the half of the key that the side has, the rest: HMAC(StoredKey, AuthMessage), and the server's signature. */
static int sign(enum scram_mechanism mechanism, const char *auth, const uint8_t *stored_key, const uint8_t *server_key,
        uint8_t ret_client[static SCRAM_HASH_MAX], uint8_t ret_server[static SCRAM_HASH_MAX]) {
        int r;

        r = scram_hmac(mechanism, stored_key, auth, strlen(auth), ret_client);
        if (r < 0)
                return r;
        return scram_hmac(mechanism, server_key, auth, strlen(auth), ret_server);
}

static int make_session_key(enum scram_mechanism mechanism, const char *auth, const uint8_t *stored_key,
        const uint8_t *client_key, uint8_t ret[static SCRAM_HASH_MAX]) {
        static const char label[] = "GSS-API session key";
        uint8_t input[sizeof(label) - 1 + SCRAM_HASH_MAX + 3 * SCRAM_MESSAGE_MAX], *p = input;
        size_t size = scram_hash_size(mechanism);
        int r;

        p = (uint8_t *) mempcpy(p, label, sizeof(label) - 1);
        p = (uint8_t *) mempcpy(p, client_key, size);
        p = (uint8_t *) mempcpy(p, auth, strlen(auth));
        r = scram_hmac(mechanism, stored_key, input, (size_t) (p - input), ret);
        explicit_bzero(input, sizeof(input));
        return r;
}

static void exclusive_or(uint8_t *a, const uint8_t *b, size_t n) {
        for (size_t i = 0; i < n; i++)
                a[i] ^= b[i];
}

/* --- the client --- */

int scram_client_first(struct scram_client *client, const char *binding, const char *user, const char *nonce) {
        char escaped[3 * SCRAM_USER_MAX + 1], header[SCRAM_BIND_NAME_MAX + 8];

        *client = (struct scram_client){ .n_nonce = strlen(nonce) };
        if (client->n_nonce > SCRAM_NONCE_MAX || !nonce_is_valid(nonce, client->n_nonce) ||
                user_encode(user, escaped) < 0 || header_encode(binding, header) < 0)
                return -EINVAL;

        strcpy(client->nonce, nonce);
        client->n_header = strlen(header);
        snprintf(client->first, sizeof(client->first), "%sn=%s,r=%s", header, escaped, nonce);
        return 0;
}

static int take_iterations(const char *text, size_t n, uint32_t *ret) {
        uint32_t iterations = 0;

        if (n == 0 || n > 9 || text[0] == '0')
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return -EBADMSG;
                iterations = iterations * 10 + (uint32_t) (text[i] - '0');
        }
        *ret = iterations;
        return 0;
}

int scram_client_take(struct scram_client *client, enum scram_mechanism mechanism, const char *text, size_t n) {
        const char *nonce, *salt, *iterations, *rest = text;
        size_t n_nonce, n_salt, n_iterations, n_rest = n;
        struct scram_salt asked = { .mechanism = mechanism };
        int r;

        if (n >= SCRAM_MESSAGE_MAX || take(&rest, &n_rest, 'r', &nonce, &n_nonce) < 0 ||
                take(&rest, &n_rest, 's', &salt, &n_salt) < 0 ||
                take(&rest, &n_rest, 'i', &iterations, &n_iterations) < 0 || n_rest > 0)
                return -EBADMSG;

        /* Ours, and something of the server's own. */
        if (n_nonce <= client->n_nonce || n_nonce >= sizeof(client->nonce) || !nonce_is_valid(nonce, n_nonce) ||
                memcmp(nonce, client->nonce, client->n_nonce) != 0)
                return -EBADMSG;

        r = base64_decode(salt, n_salt, asked.salt, SCRAM_SALT_MAX);
        if (r < 0)
                return -EBADMSG;
        asked.n = (size_t) r;
        r = take_iterations(iterations, n_iterations, &asked.iterations);
        if (r < 0)
                return r;
        if (!scram_salt_is_valid(&asked))
                return -ERANGE;

        client->mechanism = mechanism;
        client->salt = asked;
        memcpy(client->nonce, nonce, n_nonce);
        client->nonce[n_nonce] = '\0';
        snprintf(client->auth, sizeof(client->auth), "%s,%.*s,", client->first + client->n_header, (int) n, text);
        return 0;
}

int scram_client_final(struct scram_client *client, const uint8_t *data, size_t n, const struct scram_secret *secret,
        char ret[static SCRAM_MESSAGE_MAX]) {
        char header[SCRAM_BIND_NAME_MAX + 8], proof[BASE64_SIZE(SCRAM_HASH_MAX) + 1], *p;
        size_t size = scram_hash_size(client->mechanism);
        uint8_t stored_key[SCRAM_HASH_MAX], signature[SCRAM_HASH_MAX];
        int r;

        memcpy(header, client->first, client->n_header);
        header[client->n_header] = '\0';
        r = without_proof(header, data, n, client->nonce, ret);
        if (r < 0)
                return r;
        p = client->auth + strlen(client->auth);
        snprintf(p, sizeof(client->auth) - (size_t) (p - client->auth), "%s", ret);

        r = scram_hash(client->mechanism, secret->client_key, size, stored_key);
        if (r >= 0)
                r = sign(
                        client->mechanism, client->auth, stored_key, secret->server_key, signature, client->signature);
        if (r >= 0)
                r = make_session_key(
                        client->mechanism, client->auth, stored_key, secret->client_key, client->session_key);
        if (r >= 0) {
                exclusive_or(signature, secret->client_key, size);
                base64_encode(signature, size, proof);
                p = ret + strlen(ret);
                snprintf(p, SCRAM_MESSAGE_MAX - (size_t) (p - ret), ",p=%s", proof);
        }
        explicit_bzero(stored_key, sizeof(stored_key));
        explicit_bzero(signature, sizeof(signature));
        return r;
}

bool scram_client_verify(const struct scram_client *client, const char *text, size_t n) {
        size_t size = scram_hash_size(client->mechanism), n_value;
        uint8_t signature[SCRAM_HASH_MAX];
        const char *value;

        return take(&text, &n, 'v', &value, &n_value) >= 0 && n == 0 &&
               base64_decode(value, n_value, signature, sizeof(signature)) == (int) size &&
               CRYPTO_memcmp(signature, client->signature, size) == 0;
}

/* --- the server --- */

int scram_server_take(struct scram_server *server, const char *binding, const char *text, size_t n) {
        const char *user, *nonce, *bare;
        size_t n_header, n_user, n_nonce, n_bare;

        *server = (struct scram_server){};
        if (header_encode(binding, server->header) < 0)
                return -EINVAL;
        n_header = strlen(server->header);
        if (n >= SCRAM_MESSAGE_MAX || n < n_header || memcmp(text, server->header, n_header) != 0)
                return -EBADMSG;

        bare = text + n_header;
        n_bare = n - n_header;
        text = bare;
        n = n_bare;
        if (take(&text, &n, 'n', &user, &n_user) < 0 || take(&text, &n, 'r', &nonce, &n_nonce) < 0 || n > 0 ||
                n_nonce > SCRAM_NONCE_MAX || !nonce_is_valid(nonce, n_nonce) ||
                user_decode(user, n_user, server->user) < 0)
                return -EBADMSG;
        /* What is signed, and shown, is text. */
        if (memchr(bare, '\0', n_bare))
                return -EBADMSG;

        memcpy(server->nonce, nonce, n_nonce);
        memcpy(server->auth, bare, n_bare);
        return 0;
}

int scram_server_challenge(struct scram_server *server, const struct scram_verifier *verifier, const char *nonce,
        char ret[static SCRAM_MESSAGE_MAX]) {
        char salt[BASE64_SIZE(SCRAM_SALT_MAX) + 1];
        size_t n = strlen(server->auth);

        if (strlen(nonce) > SCRAM_NONCE_MAX || !nonce_is_valid(nonce, strlen(nonce)))
                return -EINVAL;

        server->verifier = *verifier;
        strcat(server->nonce, nonce);
        base64_encode(verifier->salt.salt, verifier->salt.n, salt);
        snprintf(ret, SCRAM_MESSAGE_MAX, "r=%s,s=%s,i=%u", server->nonce, salt, verifier->salt.iterations);
        snprintf(server->auth + n, sizeof(server->auth) - n, ",%s,", ret);
        return 0;
}

/* The client's key comes out of the proof; it is right when it hashes to what is stored. */
static int check_proof(
        struct scram_server *server, const uint8_t proof[static SCRAM_HASH_MAX], char ret[static SCRAM_MESSAGE_MAX]) {
        const struct scram_verifier *v = &server->verifier;
        uint8_t key[SCRAM_HASH_MAX], signature[SCRAM_HASH_MAX], stored[SCRAM_HASH_MAX];
        size_t size = scram_hash_size(v->salt.mechanism);
        int r;

        r = sign(v->salt.mechanism, server->auth, v->stored_key, v->server_key, key, signature);
        if (r >= 0) {
                exclusive_or(key, proof, size);
                r = scram_hash(v->salt.mechanism, key, size, stored);
        }
        if (r >= 0)
                r = make_session_key(v->salt.mechanism, server->auth, v->stored_key, key, server->session_key);
        if (r >= 0)
                r = CRYPTO_memcmp(stored, v->stored_key, size) == 0;
        if (r > 0) {
                strcpy(ret, "v=");
                base64_encode(signature, size, ret + 2);
        }
        explicit_bzero(key, sizeof(key));
        explicit_bzero(stored, sizeof(stored));
        explicit_bzero(signature, sizeof(signature));
        return r;
}

int scram_server_check(struct scram_server *server, const uint8_t *data, size_t n_data, const char *text, size_t n,
        char ret[static SCRAM_MESSAGE_MAX]) {
        const char *bound, *nonce, *proof, *rest = text;
        size_t n_bound, n_nonce, n_proof, n_rest = n, n_expected, n_auth = strlen(server->auth);
        char expected[SCRAM_MESSAGE_MAX];
        uint8_t bytes[SCRAM_HASH_MAX];
        bool same;
        int r;

        if (n >= SCRAM_MESSAGE_MAX || take(&rest, &n_rest, 'c', &bound, &n_bound) < 0 ||
                take(&rest, &n_rest, 'r', &nonce, &n_nonce) < 0 || take(&rest, &n_rest, 'p', &proof, &n_proof) < 0 ||
                n_rest > 0)
                return -EBADMSG;
        r = base64_decode(proof, n_proof, bytes, sizeof(bytes));
        if (r != (int) scram_hash_size(server->verifier.salt.mechanism))
                return -EBADMSG;

        /* One comparison for header, binding and nonce: it is what we would have said. */
        r = without_proof(server->header, data, n_data, server->nonce, expected);
        if (r < 0)
                return r;
        n_expected = strlen(expected);
        same = n_expected + 3 + n_proof == n && CRYPTO_memcmp(text, expected, n_expected) == 0;

        memcpy(server->auth + n_auth, expected, n_expected + 1);
        r = check_proof(server, bytes, ret);
        explicit_bzero(bytes, sizeof(bytes));
        return r < 0 ? r : r > 0 && same;
}
