/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is told of a connection, and what is set on it. Whether the machine is left cannot be tried here: the rule for it is that the addresses differ. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "tcp-tune.h"
#include "test.h"

/* Returns false where the machine has no such addresses. */
static bool connect_both(const struct sockaddr *at, socklen_t size, const struct sockaddr *from, int ret[static 2]) {
        _cleanup_close_ int listener = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_storage bound;
        socklen_t bound_size = sizeof(bound);

        if (listener < 0 || bind(listener, at, size) < 0)
                return false;
        ASSERT_OK(listen(listener, 1));
        ASSERT_OK(getsockname(listener, (struct sockaddr *) &bound, &bound_size));
        ret[0] = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_TRUE(ret[0] >= 0);
        if (from)
                ASSERT_OK(bind(ret[0], from, size));
        ASSERT_OK(connect(ret[0], (struct sockaddr *) &bound, bound_size));
        ret[1] = accept(listener, NULL, NULL);
        ASSERT_TRUE(ret[1] >= 0);
        return true;
}

static void check(const int fds[static 2]) {
        for (unsigned i = 0; i < 2; i++) {
                char name[16] = "";
                socklen_t n = sizeof(name), size = sizeof(int);
                int value = 0;

                ASSERT_TRUE(tcp_is_within_machine(fds[i]));
                tcp_tune(fds[i]);
                ASSERT_OK(getsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &value, &size));
                ASSERT_TRUE(value);
                ASSERT_OK(getsockopt(fds[i], IPPROTO_TCP, TCP_CONGESTION, name, &n));
                ASSERT_STREQ(name, "reno");
                close(fds[i]);
        }
}

static void within_the_machine(void) {
        const struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        /* All of 127.0.0.0/8 is here. */
        const struct sockaddr_in other = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 7) };
        const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        int fds[2];

        ASSERT_TRUE(connect_both((const struct sockaddr *) &v4, sizeof(v4), NULL, fds));
        check(fds);
        ASSERT_TRUE(connect_both((const struct sockaddr *) &v4, sizeof(v4), (const struct sockaddr *) &other, fds));
        check(fds);
        if (connect_both((const struct sockaddr *) &v6, sizeof(v6), NULL, fds))
                check(fds);
}

static void other_sockets(void) {
        int fds[2];

        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        ASSERT_FALSE(tcp_is_within_machine(fds[0]));
        tcp_tune(fds[0]);
        ASSERT_EQ(write(fds[0], "x", 1), (ssize_t) 1);
        close(fds[0]);
        close(fds[1]);
        ASSERT_FALSE(tcp_is_within_machine(-EBADF));
        tcp_tune(-EBADF);
}

TEST_MAIN(TEST(within_the_machine), TEST(other_sockets));
