/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "guard.h"

#include "test.h"

static char name[] = "store.example";
static char *const names[] = { name };

static void hosts(void) {
        static const char *const good[] = { "localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1",
                "192.0.2.7:65535", "[::1]", "[2001:db8::1]:8080", "store.example", "STORE.example:80" };
        static const char *const bad[] = { "", ":80", "evil.example", "localhost.evil.example", "evil.example:80",
                "store.example.", "::1", "[::1", "[localhost]", "[::1]x", "localhost:", "localhost:x",
                "localhost:123456", "127.0.0.1.nip.example", "127.1", "0x7f.1", "store.example/x", "user@localhost",
                " localhost" };
        char longest[400];

        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
                ASSERT_TRUE(guard_host_is_allowed(good[i], names, 1));
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                ASSERT_FALSE(guard_host_is_allowed(bad[i], names, 1));
        ASSERT_FALSE(guard_host_is_allowed(NULL, names, 1));
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = 0;
        ASSERT_FALSE(guard_host_is_allowed(longest, names, 1));
}

static void origins(void) {
        ASSERT_TRUE(guard_origin_matches(NULL, "localhost:8080"));
        ASSERT_TRUE(guard_origin_matches("http://localhost:8080", "localhost:8080"));
        ASSERT_TRUE(guard_origin_matches("https://Store.example", "store.example"));
        ASSERT_FALSE(guard_origin_matches("http://localhost:8081", "localhost:8080"));
        ASSERT_FALSE(guard_origin_matches("http://localhost", "localhost:8080"));
        ASSERT_FALSE(guard_origin_matches("null", "null"));
        ASSERT_FALSE(guard_origin_matches("file://localhost:8080", "localhost:8080"));
        ASSERT_FALSE(guard_origin_matches("", "localhost"));
        ASSERT_FALSE(guard_origin_matches("http://localhost", NULL));

        ASSERT_TRUE(guard_site_is_own(NULL));
        ASSERT_TRUE(guard_site_is_own("same-origin"));
        ASSERT_TRUE(guard_site_is_own("none"));
        ASSERT_FALSE(guard_site_is_own("same-site"));
        ASSERT_FALSE(guard_site_is_own("cross-site"));
        ASSERT_FALSE(guard_site_is_own(""));
}

static void tokens(void) {
        ASSERT_TRUE(guard_token_equals("abc", "abc"));
        ASSERT_FALSE(guard_token_equals("ab", "abc"));
        ASSERT_FALSE(guard_token_equals("abcabc", "abc")); /* what a comparison that goes round would take */
        ASSERT_FALSE(guard_token_equals("abcd", "abc"));
        ASSERT_FALSE(guard_token_equals("", "abc"));
        ASSERT_FALSE(guard_token_equals("", ""));
        ASSERT_FALSE(guard_token_equals(NULL, "abc"));
        ASSERT_FALSE(guard_token_equals("abc", NULL));

        ASSERT_STREQ(guard_bearer("Bearer abc"), "abc");
        ASSERT_STREQ(guard_bearer("bearer abc"), "abc");
        ASSERT_TRUE(guard_bearer("Bearerabc") == NULL);
        ASSERT_TRUE(guard_bearer("Basic abc") == NULL);
        ASSERT_TRUE(guard_bearer(NULL) == NULL);
}

static void content_types(void) {
        ASSERT_TRUE(guard_content_is_json("application/json"));
        ASSERT_TRUE(guard_content_is_json("Application/JSON; charset=utf-8"));
        ASSERT_FALSE(guard_content_is_json("application/json-patch+json"));
        ASSERT_FALSE(guard_content_is_json("text/plain"));
        ASSERT_FALSE(guard_content_is_json(NULL));
}

int main(void) {
        static const struct test tests[] = { TEST(hosts), TEST(origins), TEST(tokens), TEST(content_types) };

        return test_run_all(tests, sizeof tests / sizeof tests[0]);
}
