/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "credentials.h"
#include "scratch.h"

static char user[64] = "alice";
static struct host_config config = { .user = user };
static const struct passed_password *passed;

static void expect_password(const char *password, size_t n) {
        _cleanup_(credentials_freep) struct credentials *credentials = NULL;
        char expected[IVBS_PASSWORD_SIZE], *message = NULL;
        int r;

        r = credentials_load(&config, "vm1", passed, &credentials, &message);
        if (r < 0)
                TEST_FAIL("%s", message);
        ASSERT_TRUE(!message);
        ASSERT_OK(ivbs_hash_password(password, n, expected));
        ASSERT_MEMEQ(credentials->password, expected, IVBS_PASSWORD_SIZE);
        ASSERT_STREQ(credentials->user, user);
}

static void expect_failure(int error, const char *a, const char *b) {
        struct credentials *credentials = NULL;
        _cleanup_free_ char *message = NULL;

        ASSERT_EQ(credentials_load(&config, "vm1", passed, &credentials, &message), -error);
        ASSERT_TRUE(!credentials && message);
        if (!strstr(message, a) || !strstr(message, b))
                TEST_FAIL("\"%s\" says neither \"%s\" nor \"%s\"", message, a, b);
        ASSERT_EQ(message[strlen(message) - 1], '.');
}

static void remove_both(void) {
        (void) unlink(scratch_path("password"));
        (void) unlink(scratch_path("password-default"));
}

static void own_before_default(void) {
        scratch_file("password-default", "for everybody");
        expect_password("for everybody", 13);
        scratch_file("password", "its own");
        expect_password("its own", 7);
        remove_both();
}

/* The unit has an empty line where nothing was decrypted. */
static void decrypted(void) {
        scratch_file("blockstore.vm1", "\n");
        scratch_file("blockstore.default", "\n");
        expect_failure(ENOKEY, "blockstore.vm1", "blockstore.default");
        scratch_file("blockstore.default", "decrypted for all");
        expect_password("decrypted for all", 17);
        scratch_file("password-default", "for everybody");
        expect_password("for everybody", 13);
        scratch_file("blockstore.vm1", "decrypted\n");
        expect_password("decrypted", 9);
        scratch_file("password", "its own");
        expect_password("its own", 7);
        (void) unlink(scratch_path("blockstore.vm1"));
        (void) unlink(scratch_path("blockstore.default"));
        remove_both();
}

/* What a drop-in gives comes first. */
static void passed_by_the_unit(void) {
        struct passed_password given = { .there = true, .n = 6, .line = "passed" };

        passed = &given;
        expect_password("passed", 6);
        scratch_file("password-default", "for everybody");
        expect_password("for everybody", 13);
        remove_both();
        ASSERT_OK(unsetenv("CREDENTIALS_DIRECTORY"));
        expect_password("passed", 6);
        given.n = 0;
        expect_failure(ENOKEY, "alice", "empty");
        given = (struct passed_password){ .there = true, .refused = true, .n = 9, .line = "Mice ate." };
        expect_failure(ENOKEY, "alice", "Mice ate.");
        given = (struct passed_password){};
        expect_failure(ENOKEY, "blockstore.vm1", "/etc/credstore/blockstore.default");
        ASSERT_OK(setenv("CREDENTIALS_DIRECTORY", scratch, 1));
        passed = NULL;
}

static void newlines(void) {
        static const struct {
                const char *text, *password;
        } cases[] = {
                { "secret", "secret" },
                { "secret\n", "secret" },
                { "secret\nsecond line\n", "secret" },
                { "secret\n\n\n", "secret" },
                { " with spaces \n", " with spaces " },
                { "s\xc3\xa9"
                  "cret\n",
                        "s\xc3\xa9"
                        "cret" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                scratch_file("password", cases[i].text);
                expect_password(cases[i].password, strlen(cases[i].password));
        }
        remove_both();
}

static void missing(void) {
        expect_failure(ENOKEY, "blockstore.vm1", "/etc/credstore/blockstore.default");
        ASSERT_OK(unsetenv("CREDENTIALS_DIRECTORY"));
        expect_failure(ENOKEY, "alice", "blockstore.default");
        ASSERT_OK(setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1));
        expect_failure(ENOKEY, "alice", "blockstore.default");
        ASSERT_OK(setenv("CREDENTIALS_DIRECTORY", scratch, 1));
}

/* A default does not stand in for an own password that is there and broken: it would be another one's. */
static void broken(void) {
        char text[2000];

        scratch_file("password-default", "for everybody");
        scratch_file("password", "");
        expect_failure(ENOKEY, "alice", "empty");
        scratch_file("password", "\nsecond line");
        expect_failure(ENOKEY, "alice", "empty");

        memset(text, 'x', sizeof(text));
        text[sizeof(text) - 1] = 0;
        scratch_file("password", text);
        expect_failure(EFBIG, "alice", "cannot be read");
        text[1024] = 0;
        scratch_file("password", text);
        expect_failure(EFBIG, "alice", "cannot be read");
        text[1023] = 0;
        scratch_file("password", text);
        expect_password(text, 1023);

        ASSERT_OK(unlink(scratch_path("password")));
        ASSERT_OK(mkdir(scratch_path("password"), 0700));
        expect_failure(EISDIR, "alice", "cannot be read");
        ASSERT_OK(rmdir(scratch_path("password")));
        remove_both();
}

static void users(void) {
        scratch_file("password", "secret\n");
        config.user = NULL;
        expect_failure(EINVAL, "\"user\"", "blockstore.json");
        config.user = user;

        strcpy(user, "");
        expect_failure(EINVAL, "user name", "1-32");
        memset(user, 'u', 33);
        user[33] = 0;
        expect_failure(EINVAL, "user name", "1-32");
        user[32] = 0;
        expect_password("secret", 6);
        strcpy(user, "alice");
        remove_both();
}

static const struct test tests[] = { TEST(own_before_default), TEST(decrypted), TEST(passed_by_the_unit),
        TEST(newlines), TEST(missing), TEST(broken), TEST(users) };

int main(void) {
        int r;

        scratch_make();
        ASSERT_OK(setenv("CREDENTIALS_DIRECTORY", scratch, 1));
        r = test_run_all(tests, ELEMENTSOF(tests));
        scratch_remove();
        ASSERT_TRUE(credentials_free(NULL) == NULL);
        return r;
}
