/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Failed logins, counted: with a clock of the test's own. */

#include <arpa/inet.h>
#include <netinet/in.h>

#include "login-limits.h"
#include "test.h"

#define SEC UINT64_C(1000000)

static struct login_address at(const char *text) {
        struct sockaddr_in in = { .sin_family = AF_INET };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
        struct login_address address;

        if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
                login_address_of((struct sockaddr *) &in, &address);
        else {
                ASSERT_EQ(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
                login_address_of((struct sockaddr *) &in6, &address);
        }
        return address;
}

static void addresses(void) {
        struct login_address a = at("10.0.0.1"), b = at("::ffff:10.0.0.1"), c = at("10.0.0.2");
        struct login_address d = at("2001:db8:1:2::1"), e = at("2001:db8:1:2:ffff::9"), f = at("2001:db8:1:3::1");

        ASSERT_MEMEQ(&a, &b, sizeof(a));
        ASSERT_TRUE(memcmp(&a, &c, sizeof(a)) != 0);
        ASSERT_MEMEQ(&d, &e, sizeof(d));
        ASSERT_TRUE(memcmp(&d, &f, sizeof(d)) != 0);
}

static void of_an_address(void) {
        struct login_address bad = at("10.0.0.1"), good = at("10.0.0.2");
        struct login_limits *limits;
        uint64_t now = 1000 * SEC;
        char user[32];

        ASSERT_OK(login_limits_new(&limits, 6));
        for (unsigned i = 0; i < 6; i++) {
                snprintf(user, sizeof(user), "user%u", i);
                ASSERT_TRUE(login_limits_admit(limits, &bad, user, now));
                login_limits_failed(limits, &bad, user, now);
        }
        ASSERT_FALSE(login_limits_admit(limits, &bad, "anybody", now));
        ASSERT_TRUE(login_limits_admit(limits, &good, "user1", now));

        /* One more each ten seconds, and all of them after a minute. */
        now += 10 * SEC - 1;
        ASSERT_FALSE(login_limits_admit(limits, &bad, "anybody", now));
        now += 1;
        ASSERT_TRUE(login_limits_admit(limits, &bad, "anybody", now));
        login_limits_failed(limits, &bad, "anybody", now);
        ASSERT_FALSE(login_limits_admit(limits, &bad, "anybody", now));
        now += 60 * SEC;
        for (unsigned i = 0; i < 6; i++) {
                ASSERT_TRUE(login_limits_admit(limits, &bad, "x", now));
                login_limits_failed(limits, &bad, "x", now);
        }
        ASSERT_FALSE(login_limits_admit(limits, &bad, "x", now));
        login_limits_free(limits);
}

/* From many addresses, so that none of them is full. */
static void of_a_user(void) {
        struct login_limits *limits;
        uint64_t now = 1000 * SEC;
        unsigned n = 0;

        ASSERT_OK(login_limits_new(&limits, 6));
        for (; n < 1000; n++) {
                struct login_address address = { .bytes = { (uint8_t) n, (uint8_t) (n >> 8) } };

                if (!login_limits_admit(limits, &address, "alice", now))
                        break;
                login_limits_failed(limits, &address, "alice", now);
        }
        ASSERT_EQ(n, 6 * LOGIN_LIMITS_USER_FACTOR);
        ASSERT_TRUE(login_limits_admit(limits, &(struct login_address){}, "bob", now));
        login_limits_free(limits);
}

/* More than the table holds: whoever has failed most stays in it. */
static void full_table(void) {
        struct login_address bad = at("10.0.0.1");
        struct login_limits *limits;
        uint64_t now = 1000 * SEC;

        ASSERT_OK(login_limits_new(&limits, 6));
        for (unsigned i = 0; i < 6; i++)
                login_limits_failed(limits, &bad, "alice", now);
        for (unsigned i = 0; i < 4 * LOGIN_LIMITS_ENTRIES; i++) {
                struct login_address address = { .bytes = {
                                                         9, (uint8_t) i, (uint8_t) (i >> 8), (uint8_t) (i >> 16) } };
                char user[32];

                snprintf(user, sizeof(user), "u%u", i);
                login_limits_failed(limits, &address, user, now);
        }
        ASSERT_FALSE(login_limits_admit(limits, &bad, "bob", now));
        login_limits_free(limits);
}

static void without(void) {
        struct login_address bad = at("10.0.0.1");
        struct login_limits *limits;

        ASSERT_OK(login_limits_new(&limits, 0));
        for (unsigned i = 0; i < 1000; i++)
                login_limits_failed(limits, &bad, "alice", 0);
        ASSERT_TRUE(login_limits_admit(limits, &bad, "alice", 0));
        ASSERT_TRUE(login_limits_free(limits) == NULL && login_limits_free(NULL) == NULL);
}

TEST_MAIN(TEST(addresses), TEST(of_an_address), TEST(of_a_user), TEST(full_table), TEST(without));
