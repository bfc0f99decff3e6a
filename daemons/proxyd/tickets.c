/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The digest of the stored password hash is sealed in and not sent: it is looked up anew each time, which is what makes a changed password void a ticket without a list of
 * tickets anywhere. The hash itself has a salt, so setting the same password again voids it, too. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bytes.h"
#include "tickets.h"

#define VERSION        1U
#define VERSION_PROVED 2U
#define RANDOM_SIZE    16U
#define SEAL_SIZE      32U /* HMAC-SHA256 */
#define FIXED_SIZE     (2U + 8U + RANDOM_SIZE)
#define BODY_MAX       (FIXED_SIZE + IVBS_USER_SIZE)
#define TAG_SIZE       16U
#define LOCKED_SIZE    (IVBS_TICKET_KEY_SIZE + TAG_SIZE) /* of a proved one, instead of a seal */

_Static_assert(BODY_MAX + SEAL_SIZE <= IVBS_TICKET_MAX && BODY_MAX + LOCKED_SIZE <= IVBS_TICKET_MAX,
        "a ticket fits its packet");

static int seal(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *body, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint8_t ret[static SEAL_SIZE]) {
        uint8_t sealed[BODY_MAX + TICKET_DIGEST_SIZE];
        unsigned size = SEAL_SIZE;

        memcpy(sealed, body, n);
        memcpy(sealed + n, digest, TICKET_DIGEST_SIZE);
        return HMAC(EVP_sha256(), key, TICKET_KEY_SIZE, sealed, n + TICKET_DIGEST_SIZE, ret, &size) ? 0 : -ENOMEM;
}

/* What stands in front of the seal. Returns its length, or a negative errno. */
static int make_body(uint8_t version, const char *user, uint64_t now_sec, uint8_t ret[static BODY_MAX]) {
        size_t n_user = strlen(user);

        if (n_user == 0 || n_user > IVBS_USER_SIZE)
                return -EINVAL;

        ret[0] = version;
        ret[1] = (uint8_t) n_user;
        put_be64(ret + 2, now_sec + TICKET_LIFE_SEC);
        if (getrandom(ret + 10, RANDOM_SIZE, 0) != (ssize_t) RANDOM_SIZE)
                return -EIO;
        memcpy(ret + FIXED_SIZE, user, n_user);
        return (int) (FIXED_SIZE + n_user);
}

/* Ones from the future have seen another clock. */
static bool is_in_time(const uint8_t *ticket, uint64_t now_sec) {
        uint64_t expiry = get_be64(ticket + 2);

        return expiry > now_sec && expiry - now_sec <= TICKET_LIFE_SEC;
}

int ticket_make(const uint8_t key[static TICKET_KEY_SIZE], const char *user,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec, uint8_t ret[static IVBS_TICKET_MAX],
        size_t *ret_n) {
        uint8_t ticket[BODY_MAX + SEAL_SIZE];
        int n, r;

        n = make_body(VERSION, user, now_sec, ticket);
        if (n < 0)
                return n;
        r = seal(key, ticket, (size_t) n, digest, ticket + n);
        if (r < 0)
                return r;

        memcpy(ret, ticket, (size_t) n + SEAL_SIZE);
        *ret_n = (size_t) n + SEAL_SIZE;
        explicit_bzero(ticket, sizeof(ticket));
        return 0;
}

/* AES-256-GCM under a key of this ticket alone, made from its 16 random bytes: so no nonce is ever used twice under one key, however many tickets are made. The rest of the ticket and the digest are
 * authenticated with it. lock: from in to out and tag; else back, -EBADMSG when anything does not fit. */
static int crypt_secret(bool lock, const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *body, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], const uint8_t *in, uint8_t *out,
        uint8_t tag[static TAG_SIZE]) {
        static const uint8_t nonce[12];
        uint8_t own[TICKET_KEY_SIZE], rest[TAG_SIZE], label[sizeof("ticket") + RANDOM_SIZE] = "ticket";
        EVP_CIPHER_CTX *context;
        unsigned size = sizeof(own);
        int k, r = -ENOMEM;

        memcpy(label + sizeof("ticket"), body + 10, RANDOM_SIZE);
        context = EVP_CIPHER_CTX_new();
        if (!context || !HMAC(EVP_sha256(), key, TICKET_KEY_SIZE, label, sizeof(label), own, &size))
                goto finish;
        if (EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, own, nonce, lock) != 1 ||
                EVP_CipherUpdate(context, NULL, &k, body, (int) n) != 1 ||
                EVP_CipherUpdate(context, NULL, &k, digest, TICKET_DIGEST_SIZE) != 1 ||
                EVP_CipherUpdate(context, out, &k, in, IVBS_TICKET_KEY_SIZE) != 1)
                goto finish;
        if (!lock && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) != 1)
                goto finish;
        if (EVP_CipherFinal_ex(context, rest, &k) != 1) { /* there is none: GCM is a stream */
                r = lock ? -ENOMEM : -EBADMSG;
                goto finish;
        }
        if (lock && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) != 1)
                goto finish;
        r = 0;

finish:
        EVP_CIPHER_CTX_free(context);
        explicit_bzero(own, sizeof(own));
        return r;
}

int ticket_make_proved(const uint8_t key[static TICKET_KEY_SIZE], const char *user,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec,
        const uint8_t secret[static IVBS_TICKET_KEY_SIZE], uint8_t ret[static IVBS_TICKET_MAX], size_t *ret_n) {
        uint8_t ticket[BODY_MAX + LOCKED_SIZE];
        int n, r;

        n = make_body(VERSION_PROVED, user, now_sec, ticket);
        if (n < 0)
                return n;
        r = crypt_secret(true, key, ticket, (size_t) n, digest, secret, ticket + n, ticket + n + IVBS_TICKET_KEY_SIZE);
        if (r < 0)
                return r;

        memcpy(ret, ticket, (size_t) n + LOCKED_SIZE);
        *ret_n = (size_t) n + LOCKED_SIZE;
        return 0;
}

int ticket_open_proved(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *ticket, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec,
        uint8_t ret_secret[static IVBS_TICKET_KEY_SIZE]) {
        uint8_t secret[IVBS_TICKET_KEY_SIZE], tag[TAG_SIZE];
        char user[IVBS_USER_SIZE + 1];
        int r;

        if (ticket_claims(ticket, n, user) < 0 || ticket[0] != VERSION_PROVED)
                return 0;

        n -= LOCKED_SIZE;
        memcpy(tag, ticket + n + IVBS_TICKET_KEY_SIZE, TAG_SIZE);
        r = crypt_secret(false, key, ticket, n, digest, ticket + n, secret, tag);
        if (r >= 0 && is_in_time(ticket, now_sec)) {
                memcpy(ret_secret, secret, sizeof(secret));
                r = 1;
        } else if (r == -EBADMSG)
                r = 0;
        explicit_bzero(secret, sizeof(secret));
        return r;
}

int ticket_claims(const uint8_t *ticket, size_t n, char ret_user[static IVBS_USER_SIZE + 1]) {
        size_t n_user;

        if (n < FIXED_SIZE + 1 + SEAL_SIZE || (ticket[0] != VERSION && ticket[0] != VERSION_PROVED))
                return -EBADMSG;
        n_user = ticket[1];
        if (n_user == 0 || n_user > IVBS_USER_SIZE ||
                n != FIXED_SIZE + n_user + (ticket[0] == VERSION ? SEAL_SIZE : LOCKED_SIZE))
                return -EBADMSG;
        /* It may be shown to people before anything is proved. */
        for (size_t i = 0; i < n_user; i++)
                if (ticket[FIXED_SIZE + i] < 0x20 || ticket[FIXED_SIZE + i] == 0x7f)
                        return -EBADMSG;

        memcpy(ret_user, ticket + FIXED_SIZE, n_user);
        ret_user[n_user] = '\0';
        return 0;
}

int ticket_check(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *ticket, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec) {
        char user[IVBS_USER_SIZE + 1];
        uint8_t expected[SEAL_SIZE];
        int r;

        if (ticket_claims(ticket, n, user) < 0 || ticket[0] != VERSION)
                return 0;

        n -= SEAL_SIZE;
        r = seal(key, ticket, n, digest, expected);
        if (r < 0)
                return r;
        r = CRYPTO_memcmp(expected, ticket + n, SEAL_SIZE);
        explicit_bzero(expected, sizeof(expected));
        return r == 0 && is_in_time(ticket, now_sec);
}
