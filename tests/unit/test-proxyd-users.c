/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>

#include "proxyd-store.h"
#include "users.h"

static void hex_of(const char *password, char ret[static IVBS_PASSWORD_SIZE]) {
        ASSERT_OK(ivbs_hash_password(password, strlen(password), ret));
}

static char *make_file(const char *directory) {
        static char *all[] = { (char *) "*" }, *vms[] = { (char *) "vm-*", (char *) "db-?" },
                    *open[] = { (char *) "open/[ab]" };
        struct users_file_user users[] = {
                { .name = (char *) "root", .read = all, .n_read = 1, .write = all, .n_write = 1, .admin = true },
                { .name = (char *) "some", .read = open, .n_read = 1, .write = vms, .n_write = 2 },
                { .name = (char *) "none" }, { .name = (char *) "modern" }, /* with SCRAM alone */
        };
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        char *path, hex[IVBS_PASSWORD_SIZE];

        ASSERT_TRUE(asprintf(&path, "%s/users.json", directory) > 0);
        ASSERT_OK(users_file_new(&file));
        for (size_t i = 0; i < ELEMENTSOF(users); i++) {
                hex_of(users[i].name, hex);
                if (strcmp(users[i].name, "modern") == 0)
                        ASSERT_OK(users_file_scram(hex, &users[i].scram));
                else
                        ASSERT_OK(users_file_hash(hex, &users[i].hash));
                ASSERT_EQ(users_file_set(file, users + i), 0);
                free(users[i].hash);
                free(users[i].scram);
        }
        ASSERT_OK(users_file_save(file, path));
        return path;
}

static void rights(void) {
        char *directory = make_directory(), *path = make_file(directory);
        _cleanup_free_ char *message = NULL;
        struct users *users;

        ASSERT_OK(users_load(path, &users, &message));
        ASSERT_TRUE(users_exists(users, "some") && !users_exists(users, "Some") && !users_exists(users, ""));
        ASSERT_TRUE(
                users_is_admin(users, "root") && !users_is_admin(users, "some") && !users_is_admin(users, "nobody"));
        ASSERT_TRUE(users_may_write(users, "root", "anything") && users_may_read(users, "root", "any.thing"));
        ASSERT_TRUE(users_may_write(users, "some", "vm-1") && users_may_write(users, "some", "db-x"));
        ASSERT_FALSE(users_may_write(users, "some", "db-xy") || users_may_write(users, "some", "xvm-1"));
        /* Who may write may read. */
        ASSERT_TRUE(users_may_read(users, "some", "vm-1") && users_may_read(users, "some", "open/a"));
        /* A snapshot is its image's to those who read, and nobody's to those who write. */
        ASSERT_TRUE(users_may_read(users, "some", "vm-1@s"));
        ASSERT_FALSE(users_may_write(users, "some", "vm-1@s"));
        ASSERT_FALSE(users_may_read(users, "some", "else@vm-1"));
        ASSERT_FALSE(users_may_read(users, "some", "vm-1@"));
        ASSERT_FALSE(users_may_write(users, "some", "open/a") || users_may_read(users, "some", "open/c"));
        ASSERT_FALSE(users_may_read(users, "none", "vm-1") || users_may_read(users, "nobody", "vm-1"));

        users_unref(users);
        free(path);
        remove_directory(directory);
}

static void passwords(void) {
        char *directory = make_directory(), *path = make_file(directory), hex[IVBS_PASSWORD_SIZE];
        _cleanup_free_ char *message = NULL;
        struct users *users;

        ASSERT_OK(users_load(path, &users, &message));
        hex_of("root", hex);
        ASSERT_EQ(users_check(users, "root", hex), 1);
        ASSERT_EQ(users_check(users, "some", hex), 0);
        /* The decoy is the first user's hash, and its password opens nothing. */
        ASSERT_EQ(users_check(users, "nobody", hex), 0);
        ASSERT_EQ(users_check(users, "", hex), 0);
        hex[0] ^= 1;
        ASSERT_EQ(users_check(users, "root", hex), 0);

        users_unref(users);
        free(path);
        remove_directory(directory);
}

static void verifiers(void) {
        static const uint8_t key[USERS_KEY_SIZE] = "key", other[USERS_KEY_SIZE] = "other";
        char *directory = make_directory(), *path = make_file(directory), hex[IVBS_PASSWORD_SIZE];
        struct scram_verifier real, made_up, again;
        _cleanup_free_ char *message = NULL;
        struct scram_secret secret;
        struct users *users;

        ASSERT_OK(users_load(path, &users, &message));
        ASSERT_EQ(users_get_verifier(users, key, "modern", &real), 1);
        hex_of("modern", hex);
        ASSERT_EQ(users_check(users, "modern", hex), 0);
        ASSERT_OK(scram_derive(&real.salt, hex, sizeof(hex), &secret));
        ASSERT_OK(scram_verifier_make(&real.salt, &secret, &again));
        ASSERT_MEMEQ(again.stored_key, real.stored_key, 64);
        ASSERT_ERROR(users_get_verifier(users, key, "root", &again), ENOKEY);

        /* Who is not there looks like who is, the same each time; and who has the key decides what that is. */
        ASSERT_EQ(users_get_verifier(users, key, "nobody", &made_up), 0);
        ASSERT_EQ(users_get_verifier(users, key, "nobody", &again), 0);
        ASSERT_MEMEQ(&made_up, &again, sizeof(again));
        ASSERT_EQ(made_up.salt.mechanism, real.salt.mechanism);
        ASSERT_EQ(made_up.salt.iterations, real.salt.iterations);
        ASSERT_EQ(made_up.salt.n, real.salt.n);
        ASSERT_EQ(users_get_verifier(users, key, "nobody2", &again), 0);
        ASSERT_FALSE(scram_salt_equal(&made_up.salt, &again.salt));
        ASSERT_EQ(users_get_verifier(users, other, "nobody", &again), 0);
        ASSERT_FALSE(scram_salt_equal(&made_up.salt, &again.salt));

        users_unref(users);
        free(path);
        remove_directory(directory);
}

static void outdated(void) {
        char *directory = make_directory(), *path = make_file(directory);
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        _cleanup_free_ char *message = NULL;
        struct users *users;

        ASSERT_OK(users_load(path, &users, &message));
        ASSERT_FALSE(users_are_outdated(users));
        ASSERT_OK(users_file_load(path, &file, &message));
        ASSERT_OK(users_file_remove(file, "none"));
        ASSERT_OK(users_file_save(file, path));
        ASSERT_TRUE(users_are_outdated(users));
        ASSERT_OK(unlink(path));
        ASSERT_FALSE(users_are_outdated(users));

        users_unref(users);
        free(path);
        remove_directory(directory);
}

static void missing(void) {
        _cleanup_free_ char *message = NULL;
        struct users *users;

        ASSERT_ERROR(users_load("/nonexistent/users.json", &users, &message), ENOENT);
        ASSERT_TRUE(strstr(message, "/nonexistent/users.json") && strstr(message, "blockstorectl user add"));
}

TEST_MAIN(TEST(rights), TEST(passwords), TEST(verifiers), TEST(outdated), TEST(missing));
