/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "find.h"
#include "passed-password.h"
#include "scratch.h"

static void expect(const char *image, const char *password) {
        _cleanup_free_ char *message = NULL;
        char text[PASSWORD_LINE_MAX];
        size_t n = 4711;
        int r;

        r = password_find(scratch, image, text, &n, &message);
        if (r < 0)
                TEST_FAIL("%s: %s", image, message);
        ASSERT_EQ(r, password ? 1 : 0);
        if (!password)
                return;
        ASSERT_EQ(n, strlen(password));
        ASSERT_MEMEQ(text, password, n);
}

static void expect_failure(const char *image, const char *a, const char *b) {
        _cleanup_free_ char *message = NULL;
        char text[PASSWORD_LINE_MAX];
        size_t n;

        ASSERT_TRUE(password_find(scratch, image, text, &n, &message) < 0);
        if (!message || !strstr(message, a) || !strstr(message, b))
                TEST_FAIL("\"%s\" says neither \"%s\" nor \"%s\"", message ?: "", a, b);
}

/* In place of the real one, which needs a key of this machine: a script. */
static void install_decrypt(const char *script) {
        char path[PATH_MAX + 64];

        scratch_file("bin/systemd-creds", script);
        ASSERT_OK(chmod(scratch_path("bin/systemd-creds"), 0700));
        (void) snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", scratch);
        ASSERT_OK(setenv("PATH", path, 1));
}

/* First its own, then the one for all; as it stands before encrypted; in systemd's order of directories. */
static void order(void) {
        scratch_make();
        install_decrypt("#!/bin/sh\necho \"$3 ${4##*/}\"\n");
        expect("vm1", NULL);
        scratch_file("usr/lib/credstore.encrypted/blockstore.default", "x");
        expect("vm1", "--name=blockstore.default blockstore.default");
        scratch_file("usr/lib/credstore/blockstore.default", "vendor's\n");
        expect("vm1", "vendor's");
        scratch_file("etc/credstore/blockstore.default", "for all\n");
        expect("vm1", "for all");
        scratch_file("etc/credstore.encrypted/blockstore.vm1", "x");
        expect("vm1", "--name=blockstore.vm1 blockstore.vm1");
        scratch_file("run/credstore/blockstore.vm1", "its own\nand more\n");
        expect("vm1", "its own");
        scratch_file("run/credentials/@system/blockstore.vm1", "of the machine");
        expect("vm1", "of the machine");
        expect("vm2", "for all");
        expect("default", "for all");
        /* No name of a credential: never looked for. */
        scratch_file("etc/credstore/blockstore.vm1:monday", "not this");
        expect("vm1:monday", "for all");
        scratch_remove();
}

/* A default does not stand in for an own password that is there and broken: it would be another one's. */
static void broken(void) {
        char text[2000];

        scratch_make();
        scratch_file("etc/credstore/blockstore.default", "for all\n");
        scratch_file("etc/credstore/blockstore.vm1", "");
        expect("vm1", "");
        ASSERT_OK(unlink(scratch_path("etc/credstore/blockstore.vm1")));
        scratch_link("etc/credstore/blockstore.vm1", "blockstore.vm1");
        expect_failure("vm1", "etc/credstore/blockstore.vm1", "symbolic links");
        ASSERT_OK(unlink(scratch_path("etc/credstore/blockstore.vm1")));
        ASSERT_OK(mkdir(scratch_path("etc/credstore/blockstore.vm1"), 0700));
        expect_failure("vm1", "etc/credstore/blockstore.vm1", "directory");
        ASSERT_OK(rmdir(scratch_path("etc/credstore/blockstore.vm1")));

        memset(text, 'x', sizeof(text));
        text[PASSWORD_LINE_MAX] = 0;
        scratch_file("etc/credstore/blockstore.vm1", text);
        expect_failure("vm1", "etc/credstore/blockstore.vm1", "too large");
        text[PASSWORD_LINE_MAX - 1] = 0;
        scratch_file("etc/credstore/blockstore.vm1", text);
        expect("vm1", text);
        ASSERT_OK(unlink(scratch_path("etc/credstore/blockstore.vm1")));

        scratch_file("etc/credstore.encrypted/blockstore.vm1", "x");
        install_decrypt("#!/bin/sh\necho secret\necho 'Bad things.' >&2\nexit 1\n");
        expect_failure("vm1", "cannot be decrypted on this machine (Bad things.)",
                "systemd-creds encrypt --name=blockstore.vm1 - ");
        /* More than a password, and more than a pipe holds. */
        install_decrypt("#!/bin/sh\necho secret\nexec head -c 1000000 /dev/zero\n");
        expect("vm1", "secret");
        install_decrypt("#!/bin/sh\nexec head -c 1000000 /dev/zero\n");
        expect_failure("vm1", "blockstore.vm1", "too large");
        ASSERT_OK(unlink(scratch_path("bin/systemd-creds")));
        ASSERT_OK(setenv("PATH", scratch_path("bin"), 1));
        expect_failure("vm1", "blockstore.vm1", "systemd-creds is not installed");
        scratch_remove();
}

/* As systemd passes it: a process of its own, since the descriptors have fixed numbers. */
static void expect_passed(const char *name, const char *line, void (*judge)(const struct passed_password *passed)) {
        int ends[2], status;
        pid_t pid;

        ASSERT_OK(pipe(ends));
        ASSERT_EQ(write(ends[1], line, strlen(line)), (ssize_t) strlen(line));
        ASSERT_OK(close(ends[1]));
        pid = fork();
        ASSERT_TRUE(pid >= 0);
        if (pid == 0) {
                struct passed_password passed;
                char number[16], names[64];

                (void) snprintf(number, sizeof(number), "%d", getpid());
                (void) snprintf(names, sizeof(names), "connection:%s", name);
                ASSERT_OK(setenv("LISTEN_PID", number, 1));
                ASSERT_OK(setenv("LISTEN_FDS", "2", 1));
                ASSERT_OK(setenv("LISTEN_FDNAMES", names, 1));
                if (ends[0] != 4)
                        ASSERT_EQ(dup2(ends[0], 4), 4);
                ASSERT_EQ(dup2(4, 3), 3);
                ASSERT_OK(passed_password_take(&passed));
                judge(&passed);
                passed_password_wipe(&passed);
                for (size_t i = 0; i < sizeof(passed); i++)
                        ASSERT_EQ(((const unsigned char *) &passed)[i], 0);
                _exit(0);
        }
        ASSERT_OK(close(ends[0]));
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_EQ(status, 0);
}

static void is_password(const struct passed_password *passed) {
        ASSERT_TRUE(passed->there && !passed->refused);
        ASSERT_STREQ(passed->line, "secret");
        ASSERT_EQ(passed->n, 6);
}

static void is_refused(const struct passed_password *passed) {
        ASSERT_TRUE(passed->there && passed->refused);
        ASSERT_STREQ(passed->line, "It is gone.");
}

static void is_nothing(const struct passed_password *passed) {
        ASSERT_TRUE(!passed->there);
}

static void taken(void) {
        struct passed_password passed;

        expect_passed(PASSWORD_PASSED, "secret\n", is_password);
        expect_passed(PASSWORD_REFUSED, "It is gone.\n", is_refused);
        expect_passed("succession", "secret\n", is_nothing);
        ASSERT_OK(passed_password_take(&passed));
        is_nothing(&passed);
}

TEST_MAIN(TEST(order), TEST(broken), TEST(taken));
