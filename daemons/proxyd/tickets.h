/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tickets: a login that was checked once, so that the next one needs no slow hash. Stateless, see docs/protocol.md for the layout: whoever has the store's key can make
 * and check them, so every proxy of the store can. Pure: no store, no clock, no users. */

#include <stddef.h>
#include <stdint.h>

#include "ivbs-scram.h"

#define TICKET_KEY_SIZE    32U
#define TICKET_DIGEST_SIZE 32U /* SHA-256 of the user's stored password hash */
#define TICKET_LIFE_SEC    (24U * 3600U)

/* user: 1-32 bytes. digest: of what is stored of his password; with another one the ticket is void. now_sec: CLOCK_REALTIME in s. Returns 0 with the bytes written in
 * *ret_n, -EINVAL (the name), -EIO (no random bytes), -ENOMEM. The ticket is as good as a password for a day: wipe it. */
int ticket_make(const uint8_t key[static TICKET_KEY_SIZE], const char *user,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec, uint8_t ret[static IVBS_TICKET_MAX],
        size_t *ret_n);

/* Whose ticket it claims to be, to look up the digest: nothing is proved yet. Returns 0, or -EBADMSG when it is none. */
int ticket_claims(const uint8_t *ticket, size_t n, char ret_user[static IVBS_USER_SIZE + 1]);

/* Returns 1 when it is good; 0 when it has expired, was made for another digest or with another key, or was tampered with; -ENOMEM. A ticket that will hold for longer than
 * any is made for has seen another clock, and is refused. */
int ticket_check(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *ticket, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec);

/* The same for a client that has logged in with SCRAM: the ticket holds a secret that only the client and who has the key know, so seeing it is of no use. Returns as ticket_make(). */
int ticket_make_proved(const uint8_t key[static TICKET_KEY_SIZE], const char *user,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec,
        const uint8_t secret[static IVBS_TICKET_KEY_SIZE], uint8_t ret[static IVBS_TICKET_MAX], size_t *ret_n);
/* Returns as ticket_check(), with the secret when it is 1. That the client knows it, too, has still to be proved. */
int ticket_open_proved(const uint8_t key[static TICKET_KEY_SIZE], const uint8_t *ticket, size_t n,
        const uint8_t digest[static TICKET_DIGEST_SIZE], uint64_t now_sec,
        uint8_t ret_secret[static IVBS_TICKET_KEY_SIZE]);
