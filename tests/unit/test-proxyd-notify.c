/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"
#include "test.h"

/* The kernel gives it an abstract name. */
static int listen_somewhere(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t size = sizeof(sa_family_t);
        char name[64];
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ASSERT_TRUE(fd >= 0);
        ASSERT_EQ(bind(fd, (struct sockaddr *) &address, size), 0);
        size = sizeof(address);
        ASSERT_EQ(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        size -= (socklen_t) offsetof(struct sockaddr_un, sun_path);
        ASSERT_TRUE(size < sizeof(name));
        memcpy(name, address.sun_path, size);
        name[0] = '@';
        name[size] = '\0';
        ASSERT_EQ(setenv("NOTIFY_SOCKET", name, 1), 0);
        return fd;
}

static void told(void) {
        int fd = listen_somewhere();
        char got[64] = "";

        ASSERT_OK(notify_in_passing("STATUS=well"));
        ASSERT_EQ(recv(fd, got, sizeof(got) - 1, 0), 11);
        ASSERT_STREQ(got, "STATUS=well");
        close(fd);
}

static void never_waits(void) {
        int fd = listen_somewhere(), r = 0;

        /* Until the socket is full; the kernel's bound is some hundred messages at most. */
        for (unsigned i = 0; i < 100000 && r >= 0; i++)
                r = notify_in_passing("WATCHDOG=1");
        ASSERT_EQ(r, -EAGAIN);
        close(fd);
        ASSERT_ERROR(notify_in_passing("WATCHDOG=1"), ECONNREFUSED);
}

static void nobody(void) {
        unsetenv("NOTIFY_SOCKET");
        ASSERT_OK(notify_in_passing("STATUS=x"));
        setenv("NOTIFY_SOCKET", "relative", 1);
        ASSERT_ERROR(notify_in_passing("STATUS=x"), EINVAL);
}

TEST_MAIN(TEST(told), TEST(never_waits), TEST(nobody));
