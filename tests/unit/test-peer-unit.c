/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which image a unit is of, and that this process is in none. */

#include <sys/socket.h>

#include "cleanup.h"
#include "peer-unit.h"
#include "test.h"

static void units(void) {
        static const char *const wrong[] = {
                "",
                "image@.service",
                "image@a.socket",
                "image@a.service.d",
                "ximage@a.service",
                "image@a/b.service",
                "image@-a.service",
                "image@a b.service",
                "user@1000.service",
                "init.scope",
                "image@a\\x2fb.service",
                "image.service",
        };
        char *name = NULL;

        ASSERT_OK(peer_unit_parse("image@vm-1.x:2.service", &name));
        ASSERT_STREQ(name, "vm-1.x:2");
        free(name);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                name = (char *) "untouched";
                ASSERT_ERROR(peer_unit_parse(wrong[i], &name), EINVAL);
                ASSERT_STREQ(name, "untouched");
        }
}

static void longest_name(void) {
        char unit[100] = "image@";
        char *name;

        memset(unit + 6, 'a', 64);
        memcpy(unit + 70, ".service", 9);
        ASSERT_OK(peer_unit_parse(unit, &name));
        ASSERT_EQ(strlen(name), (size_t) 64);
        free(name);

        memset(unit + 6, 'a', 65);
        memcpy(unit + 71, ".service", 9);
        ASSERT_ERROR(peer_unit_parse(unit, &name), EINVAL);
}

static void strangers(void) {
        char *name;
        uid_t uid;
        pid_t pid;
        int fds[2];

        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        ASSERT_ERROR(peer_unit_identify(fds[0], &name, &pid, &uid), EACCES);
        close(fds[0]);
        close(fds[1]);

        fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_TRUE(peer_unit_identify(fds[0], &name, &pid, &uid) < 0);
        close(fds[0]);
}

TEST_MAIN(TEST(units), TEST(longest_name), TEST(strangers));
