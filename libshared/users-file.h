/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The file of a proxy's users: who may log in, and which images each may read and write. The proxy reads it, blockstorectl edits it.
 *
 *     { "users": [ { "name": "alice", "hash": "$y$j9T$...",
 *                    "scram": "SCRAM-SHA-512$100000:...", "read": ["*"], "write": ["vm-*"], "admin": false } ] }
 *
 * A hash is crypt(3) of what LOGIN carries (128 hex digits, see ivbs_hash_password()): that string is equivalent to the password, so the file holds
 * only a salted, slow hash of it. "scram" is what is stored of the same string for SCRAM (scram-keys.h). At least one of the two has to be there: without "hash" the user cannot log in with
 * LOGIN, without "scram" not with SCRAM. Patterns are those of fnmatch(3) without flags: "*" also matches what begins with a dot or holds a slash. An edit
 * is: users_file_lock(), users_file_load(), users_file_set() or users_file_remove(), users_file_save(), close the lock. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"
#include "ivbs.h"

#define USERS_FILE_USERS_MAX    4096U
#define USERS_FILE_PATTERNS_MAX 256U /* of one list of one user */

struct users_file_user {
        char *name;  /* 1-32 bytes (IVBS_USER_SIZE) of UTF-8 without control characters */
        char *hash;  /* as users_file_hash() makes it; NULL: none */
        char *scram; /* as users_file_scram() makes it; NULL: none */
        char **read; /* patterns of images that may be read */
        size_t n_read;
        char **write; /* ... and written, which implies read */
        size_t n_write;
        bool admin; /* may create, list and remove any image; says nothing about reading or writing one */
};

struct users_file {
        struct users_file_user *users; /* in the file's order */
        size_t n_users;
};

/* An empty set of users. Returns 0 or -ENOMEM. */
int users_file_new(struct users_file **ret);

/* Reads a file. Returns 0, or a negative errno with *ret_message a sentence for a user that names file, line and what was expected (-ENOENT when there is
 * no such file, -EINVAL when it is not valid); the caller frees it. */
int users_file_load(const char *path, struct users_file **ret, char **ret_message);

struct users_file *users_file_free(struct users_file *file);
DEFINE_CLEANUP(struct users_file *, users_file_free);

/* What a user may be called. */
bool users_file_name_is_valid(const char *name);

/* Borrowed; NULL when there is none. */
struct users_file_user *users_file_find(const struct users_file *file, const char *name);

/* Adds the user, or replaces the one of that name; everything is copied. Returns 1 when one was replaced, 0 when added, -EINVAL (name, hash or a pattern is not
 * valid), -E2BIG (too many users or patterns), -ENOMEM. */
int users_file_set(struct users_file *file, const struct users_file_user *user);

/* Returns 0, or -ENOENT. */
int users_file_remove(struct users_file *file, const char *name);

/* Replaces the file atomically and durably. Owner, group and mode of an existing file are kept (group and owner as far as the caller may set them: -EPERM otherwise, and nothing is
 * changed); a new one gets mode 0640 and the group of the directory it lies in. Returns 0 or a negative errno. */
int users_file_save(const struct users_file *file, const char *path);

/* Serialises edits: waits for, and takes, a lock on the directory that the file lies in. It is held until *ret_fd is closed; readers need none. Returns 0 or a negative errno
 * (-ENOENT: no such directory). */
int users_file_lock(const char *path, int *ret_fd);

/* A salted yescrypt hash of what LOGIN carries, to be freed by the caller; takes some tens of ms and about 16 MiB. Returns 0, -ENOMEM, or another negative errno when libcrypt
 * refuses. */
int users_file_hash(const char password[static IVBS_PASSWORD_SIZE], char **ret);

/* A SCRAM verifier of what LOGIN carries, as text, with a salt of its own; to be freed by the caller. Takes some tens of ms. Returns 0 or a negative errno. */
int users_file_scram(const char password[static IVBS_PASSWORD_SIZE], char **ret);

/* Whether hash (any method of libcrypt) is one of password; takes as long as users_file_hash(). Returns 1, 0, or a negative errno (-EINVAL: libcrypt does not know the method,
 * -ENOMEM). Thread-safe. */
int users_file_verify(const char *hash, const char password[static IVBS_PASSWORD_SIZE]);
