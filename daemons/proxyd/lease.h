/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may write an image: the rules, without storage, clock or wire. docs/protocol.md tells them from the client's
 * side.
 *
 * A lease is taken by an attachment for writing and lives until it is given back or taken over; it does not run out by
 * time, because a host that is merely cut off from every proxy still has a mounted file system. Taking it makes a new
 * token and the next generation. The token proves that whoever comes back is that same attachment; the store keeps
 * only its hash. */

#include <stdbool.h>
#include <stdint.h>

#define LEASE_TOKEN_SIZE 16U
#define LEASE_HASH_SIZE  32U /* SHA-256 */
#define LEASE_ID_SIZE    16U
#define LEASE_HOST_SIZE  33U

struct lease_holder {
        uint8_t machine_id[LEASE_ID_SIZE]; /* of the client's machine, as HELLO told it; all zero: a classic client,
                                              which tells nothing */
        uint8_t boot_id[LEASE_ID_SIZE];
        char host[LEASE_HOST_SIZE]; /* for people */
        uint64_t since_usec;        /* CLOCK_REALTIME */
};

struct lease {
        uint64_t generation; /* of the last attachment for writing; 0: there was none yet */
        bool live;           /* the rest counts only then */
        uint8_t token_hash[LEASE_HASH_SIZE];
        struct lease_holder holder;
};

/* Outcomes besides 0. */
enum {
        LEASE_HELD = 1,    /* another host holds it */
        LEASE_EXPIRED = 2, /* it is not, or no longer, this attachment's */
};

/* A new attachment for writing by who. Another machine's live lease stands in its way unless steal; the same machine's
 * does not, for a host that attaches anew has lost its token, and the older attachment is what has to end. token:
 * fresh random bytes. Returns 0 with *lease changed, LEASE_HELD, or -EOVERFLOW (no generation is left). */
int lease_take(
        struct lease *lease, const struct lease_holder *who, bool steal, const uint8_t token[static LEASE_TOKEN_SIZE]);

/* An attachment comes back. Returns 0 or LEASE_EXPIRED. */
int lease_resume(const struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation);

/* The attachment goes on under the next generation, and whatever it had sent under the present one is refused. Returns 0 with *lease changed, LEASE_EXPIRED, or
 * -EOVERFLOW. */
int lease_fence(struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation);

/* The attachment ends. The generation stays. Returns 0 with *lease changed, or LEASE_EXPIRED. */
int lease_give_back(struct lease *lease, const uint8_t token[static LEASE_TOKEN_SIZE], uint64_t generation);

/* Whether two holders are one machine. Classic clients never are. */
bool lease_same_machine(const struct lease_holder *a, const struct lease_holder *b);
