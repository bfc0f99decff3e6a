/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Addresses of proxies: one spelling for each, and nothing taken for one that is none. */

#include "cleanup.h"
#include "config.h"
#include "test.h"

static void good(void) {
        static const struct {
                const char *text, *normal, *host;
                unsigned port;
        } cases[] = {
                { "localhost", "localhost:11417", "localhost", 11417 },
                { "localhost:1", "localhost:1", "localhost", 1 },
                { "Proxy-1.Example.ORG", "proxy-1.example.org:11417", "proxy-1.example.org", 11417 },
                { "host.example.", "host.example.:11417", "host.example.", 11417 },
                { "under_score", "under_score:11417", "under_score", 11417 },
                { "3com.example:80", "3com.example:80", "3com.example", 80 },
                { "127.0.0.1", "127.0.0.1:11417", "127.0.0.1", 11417 },
                { "127.0.0.1:65535", "127.0.0.1:65535", "127.0.0.1", 65535 },
                { "[::1]", "[::1]:11417", "::1", 11417 },
                { "[::1]:8080", "[::1]:8080", "::1", 8080 },
                { "[::]:1", "[::]:1", "::", 1 },
                { "[2001:DB8:0:0:0:0:0:1]:2", "[2001:db8::1]:2", "2001:db8::1", 2 },
                { "[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]:11417", "::ffff:192.0.2.1", 11417 },
                { "[fe80::1%eth0]:3", "[fe80::1%eth0]:3", "fe80::1%eth0", 3 },
                { "tls://Storage1", "tls://storage1:11418", "storage1", 11418 },
                { "tls://[::1]:4", "tls://[::1]:4", "::1", 4 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_free_ char *normal = NULL, *again = NULL, *host = NULL;
                uint16_t port;

                ASSERT_OK(address_normalise(cases[i].text, &normal));
                ASSERT_STREQ(normal, cases[i].normal);
                ASSERT_OK(address_normalise(normal, &again));
                ASSERT_STREQ(again, normal);
                ASSERT_OK(address_split(cases[i].text, &host, &port));
                ASSERT_STREQ(host, cases[i].host);
                ASSERT_EQ(port, cases[i].port);
        }
}

static void bad(void) {
        static const char *const cases[] = {
                "",
                ":",
                ":80",
                "host:",
                "host:0",
                "host:00",
                "host:080",
                "host:65536",
                "host:99999999999999999999",
                "host:-1",
                "host:+1",
                "host: 1",
                "host:1 ",
                "host:1x",
                "host:1:2",
                " host",
                "host ",
                "ho st",
                "ho\nst",
                "host/path",
                "http://host",
                "tls://",
                "tls://tls://host",
                "TLS://host",
                "user@host",
                "-host",
                ".host",
                "a..b",
                ".",
                "..",
                "h\xc3\xb6st",
                "host\x7f",
                "*",
                "*:1",
                "1.2.3",
                "1.2.3.4.5",
                "256.1.1.1",
                "1.2.3.04",
                "1",
                "4711:1",
                "::1",
                "::1:80",
                "2001:db8::1",
                "[",
                "]",
                "[]",
                "[]:1",
                "[::1",
                "::1]",
                "[::1]1",
                "[::1]:",
                "[::1]:0",
                "[::1]:65536",
                "[::1]x:1",
                "[[::1]]",
                "[:::]",
                "[1.2.3.4]",
                "[host]",
                "[::1%]",
                "[::1%a/b]",
                "[::1%0123456789abcdef]",
                "[::1% x]",
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char *normal = (char *) "untouched", *host = (char *) "untouched";
                uint16_t port = 4711;

                if (address_normalise(cases[i], &normal) != -EINVAL)
                        TEST_FAIL("\"%s\" is accepted", cases[i]);
                ASSERT_ERROR(address_split(cases[i], &host, &port), EINVAL);
                ASSERT_STREQ(normal, "untouched");
                ASSERT_STREQ(host, "untouched");
                ASSERT_EQ(port, 4711);
        }
}

/* What is accepted always fits into an entry of LIST_PROXIES: 255 bytes. */
static void lengths(void) {
        size_t longest = 0;

        for (size_t n = 1; n < 400; n++) {
                _cleanup_free_ char *text = malloc(n + 1), *normal = NULL;

                ASSERT_TRUE(text);
                for (size_t i = 0; i < n; i++)
                        text[i] = i % 32 == 31 ? '.' : 'a';
                text[n] = '\0';
                if (address_normalise(text, &normal) < 0)
                        continue;
                ASSERT_TRUE(strlen(normal) <= 255);
                longest = n;
        }
        ASSERT_EQ(longest, 249);

        for (size_t n = 1; n < 100; n++) {
                _cleanup_free_ char *text = calloc(1, n + 1), *normal = NULL;

                ASSERT_TRUE(text);
                memset(text, 'a', n);
                ASSERT_EQ(address_normalise(text, &normal), n <= 63 ? 0 : -EINVAL);
        }
}

TEST_MAIN(TEST(good), TEST(bad), TEST(lengths));
