/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may log in, and what they may do: a users file as it was at one moment. Never changed once loaded, so the thread
 * that hashes passwords may read it while the ring's thread does; references are counted by the ring's thread alone.
 */

#include <stdbool.h>
#include <stdint.h>

#include "scram-keys.h"
#include "users-file.h"

struct users;

/* Returns 0 or a negative errno with *ret_message a sentence for the administrator. Takes a password hash's time. */
int users_load(const char *path, struct users **ret, char **ret_message);
struct users *users_ref(struct users *users);
struct users *users_unref(struct users *users);
DEFINE_CLEANUP(struct users *, users_unref);

/* Whether the file is another one now. Blocks on the file system. */
bool users_are_outdated(const struct users *users);

/* Whether the password (as LOGIN carries it) is that user's. It takes as long for a user that does not exist. Returns
 * 1, 0 or a negative errno. */
int users_check(const struct users *users, const char *name, const char password[static IVBS_PASSWORD_SIZE]);

/* What a SCRAM login of that name is to be held against. For a user that does not exist that is something made up, the same each time, that no password fits; key is what it is made
 * from, and all proxies of a store have the same. Both take equally long. Returns 1; 0 when it is made up; -ENOKEY when nothing is stored for SCRAM; -ENOMEM. */
#define USERS_KEY_SIZE 32U
int users_get_verifier(const struct users *users, const uint8_t key[static USERS_KEY_SIZE], const char *name,
        struct scram_verifier *ret);

/* SHA-256 of what is stored of that user's password: with it changes whatever was to hold as long as the password. Returns 0, -ENOENT (no such user) or -ENOMEM. */
#define USERS_DIGEST_SIZE 32U
int users_digest(const struct users *users, const char *name, uint8_t ret[static USERS_DIGEST_SIZE]);

/* Rights. A name that is no user's has none. A snapshot, IMAGE@SNAPSHOT, may be read by who may read its image, and written by nobody. */
bool users_exists(const struct users *users, const char *name);
bool users_is_admin(const struct users *users, const char *name);
bool users_may_read(const struct users *users, const char *name, const char *image);
bool users_may_write(const struct users *users, const char *name, const char *image);
