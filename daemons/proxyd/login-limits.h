/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How often a login may fail: guessing gets slow, and a flood of guesses costs neither hashes nor lines in the journal. Counted by address and by user's name, each in a
 * bucket that fills with failures and drains with time; who finds one full is put off before anything is checked. The table is bounded: when it is full, whoever has failed least makes room.
 *
 * Only passwords are counted. A ticket cannot be guessed, so a host that has logged in before is not kept out by somebody who fails under its user's name. Knows no sockets and no clock. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "cleanup.h"

#define LOGIN_LIMITS_ENTRIES 4096U /* addresses and names together */
#define LOGIN_LIMITS_USER_FACTOR \
        10U /* many hosts may share a user, and somebody else's failures must not keep them out easily */

struct login_limits;

/* per_minute: failures of an address in a minute, and how many it may have at once; 0: no limit. Returns 0, -ENOMEM or -EIO. */
int login_limits_new(struct login_limits **ret, unsigned per_minute);
struct login_limits *login_limits_free(struct login_limits *limits);
DEFINE_CLEANUP(struct login_limits *, login_limits_free);

/* What an address counts as: an IPv4 address by itself, an IPv6 one with its whole /64, since a host has all of that. Anything else is one address. */
struct login_address {
        uint8_t bytes[16];
};
void login_address_of(const struct sockaddr *sa, struct login_address *ret);

/* Whether another attempt may be made now. now_usec: monotonic. */
bool login_limits_admit(
        struct login_limits *limits, const struct login_address *address, const char *user, uint64_t now_usec);
/* One has failed. */
void login_limits_failed(
        struct login_limits *limits, const struct login_address *address, const char *user, uint64_t now_usec);
