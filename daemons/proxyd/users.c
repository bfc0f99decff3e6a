/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fnmatch.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "ivbs-lifecycle.h"
#include "users.h"

struct users {
        unsigned n_ref;
        char *path;
        struct users_file *file;
        char *decoy;                  /* the hash that an unknown user's password is held against */
        struct scram_salt decoy_salt; /* likewise: mechanism and iterations, the salt is each name's own */
        struct stat st;
};

static int make_decoy(struct users *users) {
        char password[IVBS_PASSWORD_SIZE];
        uint8_t random[IVBS_PASSWORD_SIZE / 2];

        /* One of the file's own hashes costs what the others cost, whatever method made them. */
        for (size_t i = 0; i < users->file->n_users; i++)
                if (users->file->users[i].hash) {
                        users->decoy = strdup(users->file->users[i].hash);
                        return users->decoy ? 0 : -ENOMEM;
                }

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(password); i++)
                password[i] = "0123456789abcdef"[(random[i / 2] >> (i % 2 * 4)) & 15];
        return users_file_hash(password, &users->decoy);
}

/* As the first user's that has one, for it is seen by who asks. */
static void make_decoy_salt(struct users *users) {
        struct scram_verifier verifier;

        users->decoy_salt = (struct scram_salt){ .mechanism = SCRAM_DEFAULT, .iterations = SCRAM_ITERATIONS_DEFAULT };
        for (size_t i = 0; i < users->file->n_users; i++)
                if (users->file->users[i].scram && scram_text_decode(users->file->users[i].scram, &verifier) >= 0) {
                        users->decoy_salt.mechanism = verifier.salt.mechanism;
                        users->decoy_salt.iterations = verifier.salt.iterations;
                        explicit_bzero(&verifier, sizeof(verifier));
                        break;
                }
        users->decoy_salt.n = SCRAM_SALT_SIZE;
}

int users_load(const char *path, struct users **ret, char **ret_message) {
        _cleanup_(users_unrefp) struct users *users = NULL;
        int r;

        users = calloc(1, sizeof(*users));
        if (!users)
                return -ENOMEM;
        users->n_ref = 1;
        users->path = strdup(path);
        if (!users->path)
                return -ENOMEM;

        /* Before it is read: what changes meanwhile is noticed the next time. */
        if (stat(path, &users->st) < 0)
                users->st = (struct stat){};
        r = users_file_load(path, &users->file, ret_message);
        if (r == -ENOENT) {
                free(*ret_message);
                if (asprintf(ret_message,
                            "There is no users file %s. Make one with: blockstorectl user add --file %s NAME", path,
                            path) < 0)
                        *ret_message = NULL;
        }
        if (r < 0)
                return r;
        r = make_decoy(users);
        if (r < 0)
                return r;
        make_decoy_salt(users);

        *ret = TAKE_PTR(users);
        return 0;
}

struct users *users_ref(struct users *users) {
        users->n_ref++;
        return users;
}

struct users *users_unref(struct users *users) {
        if (!users || --users->n_ref > 0)
                return NULL;

        users_file_free(users->file);
        free(users->decoy);
        free(users->path);
        free(users);
        return NULL;
}

bool users_are_outdated(const struct users *users) {
        struct stat st;

        /* A file that is gone for a moment is no reason to lock everybody out. */
        if (stat(users->path, &st) < 0)
                return false;

        return st.st_ino != users->st.st_ino || st.st_dev != users->st.st_dev || st.st_size != users->st.st_size ||
               st.st_mtim.tv_sec != users->st.st_mtim.tv_sec || st.st_mtim.tv_nsec != users->st.st_mtim.tv_nsec;
}

int users_check(const struct users *users, const char *name, const char password[static IVBS_PASSWORD_SIZE]) {
        const struct users_file_user *user = users_file_find(users->file, name);
        int r;

        r = users_file_verify(user && user->hash ? user->hash : users->decoy, password);
        return user && user->hash ? r : 0;
}

/* HMAC-SHA512 of label and name, cut to n bytes. */
static int make_up(
        const uint8_t key[static USERS_KEY_SIZE], const char *label, const char *name, uint8_t *ret, size_t n) {
        uint8_t digest[SCRAM_HASH_MAX];
        unsigned size = sizeof(digest);
        char text[64];

        snprintf(text, sizeof(text), "%s %s", label, name);
        if (!HMAC(EVP_sha512(), key, USERS_KEY_SIZE, (const uint8_t *) text, strlen(text), digest, &size))
                return -ENOMEM;
        memcpy(ret, digest, n);
        return 0;
}

int users_get_verifier(const struct users *users, const uint8_t key[static USERS_KEY_SIZE], const char *name,
        struct scram_verifier *ret) {
        const struct users_file_user *user = users_file_find(users->file, name);
        struct scram_verifier verifier = { .salt = users->decoy_salt };
        int r;

        r = make_up(key, "scram salt", name, verifier.salt.salt, SCRAM_SALT_SIZE);
        if (r >= 0)
                r = make_up(key, "scram key", name, verifier.stored_key, SCRAM_HASH_MAX);
        if (r < 0)
                return r;
        memcpy(verifier.server_key, verifier.stored_key, SCRAM_HASH_MAX);

        if (user && !user->scram)
                return -ENOKEY;
        if (user && scram_text_decode(user->scram, &verifier) < 0)
                return -ENOKEY;
        *ret = verifier;
        explicit_bzero(&verifier, sizeof(verifier));
        return user != NULL;
}

/* Both hashes, with the terminator of the first between them where there is a second. */
int users_digest(const struct users *users, const char *name, uint8_t ret[static USERS_DIGEST_SIZE]) {
        const struct users_file_user *user = users_file_find(users->file, name);
        char text[512 + SCRAM_TEXT_MAX];
        int n;

        if (!user)
                return -ENOENT;
        n = snprintf(text, sizeof(text), "%s%c%s", user->hash ?: "", '\0', user->scram ?: "");
        if (!user->scram)
                n--;
        return EVP_Digest(text, (size_t) n, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

bool users_exists(const struct users *users, const char *name) {
        return users_file_find(users->file, name);
}

bool users_is_admin(const struct users *users, const char *name) {
        const struct users_file_user *user = users_file_find(users->file, name);

        return user && user->admin;
}

static bool match_any(char **patterns, size_t n, const char *image) {
        for (size_t i = 0; i < n; i++)
                if (fnmatch(patterns[i], image, 0) == 0)
                        return true;
        return false;
}

bool users_may_write(const struct users *users, const char *name, const char *image) {
        const struct users_file_user *user = users_file_find(users->file, name);

        return user && !strchr(image, IVBS_SNAPSHOT_SEPARATOR) && match_any(user->write, user->n_write, image);
}

bool users_may_read(const struct users *users, const char *name, const char *image) {
        const struct users_file_user *user = users_file_find(users->file, name);
        char base[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE];

        if (!user)
                return false;
        if (strchr(image, IVBS_SNAPSHOT_SEPARATOR)) {
                if (ivbs_snapshot_name_split(image, base, snapshot) < 0)
                        return false;
                image = base;
        }
        return match_any(user->read, user->n_read, image) || match_any(user->write, user->n_write, image);
}
