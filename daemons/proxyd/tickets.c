/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The digest of the stored password hash is sealed in and not sent: it is looked up anew each time, which is what makes a changed password void a ticket without a list of
 * tickets anywhere. The hash itself has a salt, so setting the same password again voids it, too. */

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "bytes.h"
#include "tickets.h"

#define VERSION     1U
#define RANDOM_SIZE 16U
#define SEAL_SIZE   32U /* HMAC-SHA256 */
#define FIXED_SIZE  (2U + 8U + RANDOM_SIZE)
#define BODY_MAX    (FIXED_SIZE + IVBS_USER_SIZE)

_Static_assert(BODY_MAX + SEAL_SIZE <= IVBS_TICKET_MAX, "a ticket fits its packet");

static int seal(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *body, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint8_t ret[static SEAL_SIZE]) {
        uint8_t sealed[BODY_MAX + TICKET_DIGEST_SIZE];
        unsigned size = SEAL_SIZE;

        memcpy(sealed, body, n);
        memcpy(sealed + n, digest, TICKET_DIGEST_SIZE);
        return HMAC(EVP_sha256(), key, TICKET_KEY_SIZE, sealed, n + TICKET_DIGEST_SIZE, ret, &size) ? 0 : -ENOMEM;
}

int ticket_make(const uint8_t key[static TICKET_KEY_SIZE], const char *user,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec, uint8_t ret[static IVBS_TICKET_MAX],
        size_t *ret_n) {
        uint8_t ticket[BODY_MAX + SEAL_SIZE];
        size_t n_user = strlen(user), n;
        int r;

        if (n_user == 0 || n_user > IVBS_USER_SIZE)
                return -EINVAL;

        n = FIXED_SIZE + n_user;
        ticket[0] = VERSION;
        ticket[1] = (uint8_t) n_user;
        put_be64(ticket + 2, now_sec + TICKET_LIFE_SEC);
        if (getrandom(ticket + 10, RANDOM_SIZE, 0) != (ssize_t) RANDOM_SIZE)
                return -EIO;
        memcpy(ticket + FIXED_SIZE, user, n_user);
        r = seal(key, ticket, n, digest, ticket + n);
        if (r < 0)
                return r;

        memcpy(ret, ticket, n + SEAL_SIZE);
        *ret_n = n + SEAL_SIZE;
        explicit_bzero(ticket, sizeof(ticket));
        return 0;
}

int ticket_claims(const uint8_t *ticket, size_t n, char ret_user[static IVBS_USER_SIZE + 1]) {
        size_t n_user;

        if (n < FIXED_SIZE + 1 + SEAL_SIZE || ticket[0] != VERSION)
                return -EBADMSG;
        n_user = ticket[1];
        if (n_user == 0 || n_user > IVBS_USER_SIZE || n != FIXED_SIZE + n_user + SEAL_SIZE)
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
        uint64_t expiry;
        int r;

        if (ticket_claims(ticket, n, user) < 0)
                return 0;

        n -= SEAL_SIZE;
        r = seal(key, ticket, n, digest, expected);
        if (r < 0)
                return r;
        r = CRYPTO_memcmp(expected, ticket + n, SEAL_SIZE);
        explicit_bzero(expected, sizeof(expected));
        if (r != 0)
                return 0;

        expiry = get_be64(ticket + 2);
        return expiry > now_sec && expiry - now_sec <= TICKET_LIFE_SEC;
}
