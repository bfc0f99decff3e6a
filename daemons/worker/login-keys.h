/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The password, and what has been derived from it for SCRAM. A derivation is slow on purpose, so it is made on a thread, once for each salt, and kept: in memory that is locked, not dumped, and
 * wiped when the last user lets go. All sessions of a process share one. */

#include <stdbool.h>

#include "ivbs.h"
#include "ring.h"
#include "scram-keys.h"

#define LOGIN_KEYS_MAX 8U /* salts that are remembered; one user of one store has one */

struct login_keys;

/* password: as LOGIN carries it, which is what SCRAM takes for the password here: ASCII, so there is nothing to normalise. Copied. Returns 0 or a negative errno. */
int login_keys_new(struct login_keys **ret, const char password[static IVBS_PASSWORD_SIZE]);
/* A derivation that is under way keeps it until it is over. Accepts NULL, returns NULL. */
struct login_keys *login_keys_free(struct login_keys *keys);

struct derivation_work;

struct derivation {
        struct ring_op op;
        void (*done)(struct derivation *derivation, int error, const struct scram_secret *secret);
        struct derivation_work *work; /* not NULL: under way */
        int fd;
        uint64_t counter;
};

/* Returns 1 with *ret when it is known; 0 when done() follows, with error 0 or a negative errno; or a negative errno (-EINVAL: the salt is not valid). derivation must stay in
 * place until then. */
int derivation_start(struct derivation *derivation, struct ring *ring, struct login_keys *keys,
        const struct scram_salt *salt,
        void (*done)(struct derivation *derivation, int error, const struct scram_secret *secret),
        struct scram_secret *ret);
/* done() comes soon, with -ECANCELED, if one is under way. */
void derivation_cancel(struct derivation *derivation, struct ring *ring);
