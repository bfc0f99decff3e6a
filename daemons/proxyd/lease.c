/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "lease.h"

static int hash_token(const uint8_t token[static LEASE_TOKEN_SIZE], uint8_t ret[static LEASE_HASH_SIZE]) {
        if (EVP_Digest(token, LEASE_TOKEN_SIZE, ret, NULL, EVP_sha256(), NULL) != 1)
                return -ENOMEM;
        return 0;
}

bool lease_same_machine(const struct lease_holder *a, const struct lease_holder *b) {
        static const uint8_t nobody[LEASE_ID_SIZE];

        return memcmp(a->machine_id, nobody, LEASE_ID_SIZE) != 0 &&
               memcmp(a->machine_id, b->machine_id, LEASE_ID_SIZE) == 0;
}

int lease_take(struct lease *lease, const struct lease_holder *who, bool steal,
        const uint8_t token[static LEASE_TOKEN_SIZE]) {
        struct lease taken = { .live = true, .holder = *who };
        int r;

        if (lease->live && !steal && !lease_same_machine(&lease->holder, who))
                return LEASE_HELD;

        /* Generations are compared, never reused: the last one is INT64_MAX, which is what the record can hold. */
        if (lease->generation >= INT64_MAX)
                return -EOVERFLOW;
        taken.generation = lease->generation + 1;

        r = hash_token(token, taken.token_hash);
        if (r < 0)
                return r;

        *lease = taken;
        return 0;
}

int lease_resume(const struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation) {
        uint8_t hash[LEASE_HASH_SIZE];
        int r;

        r = hash_token(token, hash);
        if (r < 0)
                return r;

        if (!lease->live || lease->generation != generation ||
                CRYPTO_memcmp(hash, lease->token_hash, LEASE_HASH_SIZE) != 0)
                return LEASE_EXPIRED;
        return 0;
}

int lease_fence(struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation) {
        int r;

        r = lease_resume(lease, token, generation);
        if (r != 0)
                return r;
        if (lease->generation >= INT64_MAX)
                return -EOVERFLOW;

        lease->generation++;
        return 0;
}

int lease_give_back(struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation) {
        int r;

        r = lease_resume(lease, token, generation);
        if (r != 0)
                return r;

        *lease = (struct lease){ .generation = generation };
        return 0;
}
