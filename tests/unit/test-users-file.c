/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <sys/stat.h>

#include "test.h"
#include "users-file.h"

#define HASH "$6$rounds=1000$saltsalt$8mQbH0YxC1mL0xkS9pD1"

static char *make_path(void) {
        char directory[] = "/tmp/test-users-XXXXXX", *path;

        ASSERT_TRUE(mkdtemp(directory));
        ASSERT_TRUE(asprintf(&path, "%s/users.json", directory) > 0);
        return path;
}

static void remove_path(char *path) {
        (void) unlink(path);
        *strrchr(path, '/') = 0;
        /* Fails when something was left beside it. */
        ASSERT_OK(rmdir(path));
        free(path);
}

static void write_text(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        ASSERT_TRUE(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void edit(void) {
        char *patterns[] = { (char *) "vm-*", (char *) "\"quoted\" \\ \xc3\xa9" };
        struct users_file_user user = {
                .name = (char *) "alice", .hash = (char *) HASH, .read = patterns, .n_read = 2, .admin = true
        };
        _cleanup_(users_file_freep) struct users_file *file = NULL, *again = NULL;
        _cleanup_free_ char *message = NULL;
        const struct users_file_user *found;
        char *path = make_path();

        ASSERT_OK(users_file_new(&file));
        ASSERT_EQ(users_file_set(file, &user), 0);
        user.name = (char *) "bob";
        user.n_read = 0;
        ASSERT_EQ(users_file_set(file, &user), 0);
        user.admin = false;
        ASSERT_EQ(users_file_set(file, &user), 1);
        ASSERT_EQ(file->n_users, 2U);
        ASSERT_ERROR(users_file_remove(file, "carol"), ENOENT);
        ASSERT_OK(users_file_save(file, path));

        ASSERT_OK(users_file_load(path, &again, &message));
        ASSERT_EQ(again->n_users, 2U);
        found = users_file_find(again, "alice");
        ASSERT_TRUE(found && found->admin);
        ASSERT_EQ(found->n_read, 2U);
        ASSERT_STREQ(found->read[1], patterns[1]);
        ASSERT_STREQ(found->hash, HASH);
        ASSERT_OK(users_file_remove(again, "alice"));
        ASSERT_EQ(again->n_users, 1U);
        ASSERT_STREQ(again->users[0].name, "bob");
        ASSERT_FALSE(again->users[0].admin);
        ASSERT_OK(users_file_remove(again, "bob"));
        ASSERT_OK(users_file_save(again, path));
        remove_path(path);
}

static void refused_users(void) {
        char long_name[34], long_pattern[257], *patterns[] = { long_pattern }, *empty[] = { (char *) "" };
        const struct users_file_user bad[] = {
                { .name = (char *) "", .hash = (char *) HASH },
                { .name = long_name, .hash = (char *) HASH },
                { .name = (char *) "a\nb", .hash = (char *) HASH },
                { .name = (char *) "a" },
                { .name = (char *) "a", .hash = (char *) "" },
                { .name = (char *) "a", .hash = (char *) "*0*0*0*0*0*0*0*0" },
                { .name = (char *) "a", .hash = (char *) "plain:text:secret" },
                { .name = (char *) "a", .hash = (char *) HASH, .read = patterns, .n_read = 1 },
                { .name = (char *) "a", .hash = (char *) HASH, .write = empty, .n_write = 1 },
        };
        _cleanup_(users_file_freep) struct users_file *file = NULL;

        memset(long_name, 'x', 33);
        long_name[33] = 0;
        memset(long_pattern, 'x', 256);
        long_pattern[256] = 0;
        ASSERT_OK(users_file_new(&file));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ASSERT_ERROR(users_file_set(file, bad + i), EINVAL);
        ASSERT_EQ(file->n_users, 0U);
        long_name[32] = 0;
        ASSERT_EQ(
                users_file_set(file, &(const struct users_file_user){ .name = long_name, .hash = (char *) HASH }), 0);
}

static void refused_files(void) {
        static const struct {
                const char *text, *expected;
        } bad[] = {
                { "", ":1:" },
                { "{}", "users" },
                { "{\"users\": {}}", "users" },
                { "{\"users\": [\n{}]}", ":2:" },
                { "{\"users\": [{\"name\": \"a\"}]}", "hash" },
                { "{\"users\": [{\"hash\": \"" HASH "\"}]}", "name" },
                { "{\"users\": [{\"name\": \"a\", \"hash\": \"" HASH "\"},\n{\"name\": \"a\", \"hash\": \"" HASH
                  "\"}]}",
                        "once" },
                { "{\"users\": [{\"name\": \"a\", \"hash\": \"" HASH "\", \"read\": \"*\"}]}", "read" },
                { "{\"users\": [{\"name\": \"a\", \"hash\": \"" HASH "\", \"write\": [1]}]}", "write[0]" },
                { "{\"users\": [{\"name\": \"a\", \"hash\": \"" HASH "\", \"admin\": 1}]}", "admin" },
                { "{\"users\": [{\"name\": \"a\", \"hash\": \"" HASH "\", \"pass\": \"x\"}]}", "pass" },
        };
        char *path = make_path();

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct users_file *file = NULL;
                _cleanup_free_ char *message = NULL;

                write_text(path, bad[i].text);
                ASSERT_ERROR(users_file_load(path, &file, &message), EINVAL);
                ASSERT_TRUE(message && strstr(message, "users.json") && strstr(message, bad[i].expected));
                ASSERT_FALSE(strstr(message, HASH));
        }
        remove_path(path);
}

/* What looks like a password in the wrong place is not repeated. */
static void secrets_are_not_quoted(void) {
        struct users_file *file = NULL;
        _cleanup_free_ char *message = NULL;
        char *path = make_path();

        write_text(path, "{\"users\": [{\"name\": \"a\", \"hash\": \"my secret password\"}]}");
        ASSERT_ERROR(users_file_load(path, &file, &message), EINVAL);
        ASSERT_TRUE(message && strstr(message, "hash"));
        ASSERT_FALSE(strstr(message, "secret"));
        free(TAKE_PTR(message));
        write_text(path, "{\"users\": [{\"name\": \"a\", \"scram\": \"my secret password\"}]}");
        ASSERT_ERROR(users_file_load(path, &file, &message), EINVAL);
        ASSERT_TRUE(message && strstr(message, "scram"));
        ASSERT_FALSE(strstr(message, "secret"));
        remove_path(path);
}

static void mode_and_group_are_kept(void) {
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        char *path = make_path();
        struct stat st;

        ASSERT_OK(users_file_new(&file));
        ASSERT_OK(users_file_save(file, path));
        ASSERT_OK(stat(path, &st));
        ASSERT_EQ(st.st_mode & 07777, 0640U);
        ASSERT_OK(chmod(path, 0604));
        if (geteuid() == 0)
                ASSERT_OK(chown(path, 12345, 23456));
        ASSERT_OK(users_file_save(file, path));
        ASSERT_OK(stat(path, &st));
        ASSERT_EQ(st.st_mode & 07777, 0604U);
        if (geteuid() == 0) {
                ASSERT_EQ(st.st_uid, 12345U);
                ASSERT_EQ(st.st_gid, 23456U);
        }
        remove_path(path);
}

static void not_over_something_else(void) {
        _cleanup_(users_file_freep) struct users_file *file = NULL;
        char *path = make_path();
        struct stat st;

        ASSERT_OK(users_file_new(&file));
        ASSERT_OK(symlink("/nonexistent/target", path));
        ASSERT_ERROR(users_file_save(file, path), EINVAL);
        ASSERT_OK(lstat(path, &st));
        ASSERT_TRUE(S_ISLNK(st.st_mode));
        ASSERT_ERROR(users_file_save(file, "/nonexistent/users.json"), ENOENT);
        remove_path(path);
}

static void lock(void) {
        char *path = make_path();
        int fd, second;

        ASSERT_ERROR(users_file_lock("/nonexistent/users.json", &fd), ENOENT);
        ASSERT_OK(users_file_lock(path, &fd));
        safe_close(fd);
        ASSERT_OK(users_file_lock(path, &second));
        safe_close(second);
        remove_path(path);
}

static void hashes(void) {
        _cleanup_free_ char *one = NULL, *two = NULL;
        char hex[IVBS_PASSWORD_SIZE];

        ASSERT_OK(ivbs_hash_password("secret", 6, hex));
        ASSERT_OK(users_file_hash(hex, &one));
        ASSERT_OK(users_file_hash(hex, &two));
        ASSERT_TRUE(strncmp(one, "$y$", 3) == 0);
        ASSERT_TRUE(strcmp(one, two) != 0);
        ASSERT_EQ(users_file_verify(one, hex), 1);
        ASSERT_EQ(users_file_verify(two, hex), 1);
        hex[127] = hex[127] == '0' ? '1' : '0';
        ASSERT_EQ(users_file_verify(one, hex), 0);
        ASSERT_TRUE(users_file_verify("no such method", hex) < 0);
}

TEST_MAIN(TEST(edit), TEST(refused_users), TEST(refused_files), TEST(secrets_are_not_quoted),
        TEST(mode_and_group_are_kept), TEST(not_over_something_else), TEST(lock), TEST(hashes));
