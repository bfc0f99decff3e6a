/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "proxies.h"
#include "test.h"

#define SEED UINT64_C(0x5eed)

static struct proxies *three(void) {
        static char a[] = "a.example:1", b[] = "b.example:2", c[] = "c.example:3";
        static const struct proxy_address configured[] = { { a, 10 }, { b, 5 }, { c, 5 }, { a, 0 } };
        struct proxies *proxies;

        ASSERT_OK(proxies_new(&proxies, configured, ELEMENTSOF(configured), SEED));
        ASSERT_EQ(proxies_count(proxies), 3U); /* a second mention of one changes nothing */
        return proxies;
}

static const struct proxy *find(const struct proxies *proxies, const char *address) {
        for (size_t i = 0; i < proxies_count(proxies); i++)
                if (strcmp(proxies_get(proxies, i)->address, address) == 0)
                        return proxies_get(proxies, i);
        TEST_FAIL("%s is not in the list", address);
}

static struct ivbs_proxy announce(const char *address, uint16_t priority) {
        struct ivbs_proxy p = { .priority = priority };

        strcpy(p.address, address);
        return p;
}

static void choice(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *a, *b, *c;
        uint64_t when = 0;

        b = proxies_choose(proxies, 0, &when);
        ASSERT_STREQ(b->address, "b.example:2"); /* priority, then the order of the list */
        ASSERT_EQ(b->priority, 5U);
        proxy_failed(proxies, b, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_EQ(b->state, PROXY_UNREACHABLE);
        ASSERT_STREQ(b->reason, "gone");

        c = proxies_choose(proxies, 0, &when);
        ASSERT_STREQ(c->address, "c.example:3");
        proxy_failed(proxies, c, 0, PROXY_REFUSED, "no");
        a = proxies_choose(proxies, 0, &when);
        ASSERT_STREQ(a->address, "a.example:1");
        proxy_failed(proxies, a, 10000000, PROXY_UNREACHABLE, "gone");

        /* All back off: told when the first may be tried, and not an instant earlier. */
        ASSERT_TRUE(proxies_choose(proxies, 0, &when) == NULL);
        ASSERT_EQ(when, b->not_before_usec < c->not_before_usec ? b->not_before_usec : c->not_before_usec);
        ASSERT_TRUE(proxies_choose(proxies, when - 1, &when) == NULL);
        ASSERT_TRUE(proxies_choose(proxies, when, &when) != NULL);

        /* Equal priority: the one with fewer failures. */
        proxy_failed(proxies, b, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, 60000000, &when) == c);
        proxy_succeeded(b, 1234);
        ASSERT_TRUE(proxies_choose(proxies, 0, &when) == b);
        ASSERT_EQ(b->round_trip_usec, 1234U);
        ASSERT_EQ(b->state, PROXY_ACTIVE);
        ASSERT_STREQ(b->reason, "");
}

static void nobody(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = NULL;
        uint64_t when = 0;

        ASSERT_OK(proxies_new(&proxies, NULL, 0, 0));
        ASSERT_TRUE(proxies_choose(proxies, 0, &when) == NULL);
        ASSERT_EQ(when, UINT64_MAX);
}

static void backoff(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *p = proxies_get_writable(proxies, 0);
        bool varies = false;
        uint64_t expected = PROXY_BACKOFF_MIN_USEC, capped = 0;

        printf("seed %" PRIu64 "\n", SEED);
        for (unsigned i = 0; i < 200; i++) {
                uint64_t now = UINT64_C(1000000) * i, wait;

                proxy_failed(proxies, p, now, PROXY_UNREACHABLE, "gone");
                wait = p->not_before_usec - now;
                ASSERT_TRUE(wait <= expected);
                ASSERT_TRUE(wait > expected - expected / 4);
                if (expected == PROXY_BACKOFF_MAX_USEC) {
                        varies |= capped && wait != capped;
                        capped = wait;
                }
                expected = expected * 2 < PROXY_BACKOFF_MAX_USEC ? expected * 2 : PROXY_BACKOFF_MAX_USEC;
        }
        ASSERT_TRUE(varies);

        proxy_succeeded(p, 0);
        proxy_failed(proxies, p, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(p->not_before_usec <= PROXY_BACKOFF_MIN_USEC);
}

static void long_reason(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        char reason[2 * PROXY_REASON_MAX];

        memset(reason, 'x', sizeof(reason) - 1);
        reason[sizeof(reason) - 1] = 0;
        proxy_failed(proxies, proxies_get_writable(proxies, 0), 0, PROXY_REFUSED, reason);
        ASSERT_EQ(strlen(proxies_get(proxies, 0)->reason), PROXY_REASON_MAX - 1);
        proxy_failed(proxies, proxies_get_writable(proxies, 0), 0, PROXY_REFUSED, "short");
        ASSERT_STREQ(proxies_get(proxies, 0)->reason, "short");
}

static void merge(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct ivbs_proxy list[] = { announce("d.example:4", 1), announce("[::1]:5", 20), announce("b.example:2", 0) };
        struct proxy *d;
        uint64_t when;

        ASSERT_TRUE(proxies_merge(proxies, list, 3));
        ASSERT_EQ(proxies_count(proxies), 5U);
        ASSERT_FALSE(proxies_merge(proxies, list, 3));
        ASSERT_EQ(find(proxies, "b.example:2")->priority, 5U); /* what is configured stays as it is configured */
        ASSERT_FALSE(find(proxies, "b.example:2")->announced);
        ASSERT_TRUE(find(proxies, "[::1]:5")->announced);

        d = proxies_choose(proxies, 0, &when);
        ASSERT_STREQ(d->address, "d.example:4");

        /* Not named any more, but in use: stays until it is not. */
        proxy_succeeded(d, 0);
        ASSERT_FALSE(proxies_merge(proxies, list + 1, 2));
        ASSERT_TRUE(proxies_choose(proxies, 0, &when) == d);
        proxy_failed(proxies, d, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_merge(proxies, list + 1, 2));
        ASSERT_STREQ(proxies_choose(proxies, 60000000, &when)->address, "b.example:2");

        /* Named again, with another priority. */
        list[0].priority = 2;
        ASSERT_TRUE(proxies_merge(proxies, list, 3));
        ASSERT_TRUE(proxies_choose(proxies, 60000000, &when) == d);
        ASSERT_EQ(d->priority, 2U);

        /* An empty list takes away all that were announced, and none that is configured. */
        ASSERT_TRUE(proxies_merge(proxies, NULL, 0));
        ASSERT_STREQ(proxies_choose(proxies, 60000000, &when)->address, "b.example:2");
        ASSERT_FALSE(proxies_merge(proxies, NULL, 0));
}

static void merge_of_garbage(void) {
        static const char *const garbage[] = { "", ":", "x", "x:", ":1", "x:0", "x:65536", "x:-1", "[::1:5", "a b:5",
                "\xff\xfe:1", "x:1:2:3", "\n:1" };
        _cleanup_(proxies_freep) struct proxies *proxies = three();

        for (size_t i = 0; i < ELEMENTSOF(garbage); i++) {
                struct ivbs_proxy p = announce(garbage[i], 0);

                if (proxies_merge(proxies, &p, 1))
                        printf("taken: %s as %s\n", garbage[i],
                                proxies_get(proxies, proxies_count(proxies) - 1)->address);
        }
        /* "x" is a host with the usual port. */
        ASSERT_EQ(proxies_count(proxies), 4U);
        ASSERT_STREQ(proxies_get(proxies, 3)->address, "x:11417");
}

static void merge_of_duplicates(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct ivbs_proxy list[] = {
                announce("d.example:4", 7),
                announce("d.example:4", 9),
                announce("a.example:1", 0),
                announce("d.example:4", 8),
        };

        ASSERT_TRUE(proxies_merge(proxies, list, ELEMENTSOF(list)));
        ASSERT_EQ(proxies_count(proxies), 4U);
        ASSERT_EQ(find(proxies, "d.example:4")->priority, 7U); /* the first counts */
        ASSERT_FALSE(proxies_merge(proxies, list, ELEMENTSOF(list)));
}

/* A proxy that lists itself, in other words than the configuration has for it. */
static void own_address(void) {
        static char configured[] = "store.example:11417";
        const struct proxy_address own = { configured, 3 };
        struct ivbs_proxy list[] = { announce("store.example", 1), announce("other.example", 1) };
        _cleanup_(proxies_freep) struct proxies *proxies = NULL;
        struct proxy *active;
        uint64_t when;

        ASSERT_OK(proxies_new(&proxies, &own, 1, SEED));
        active = proxies_choose(proxies, 0, &when);
        proxy_succeeded(active, 0);
        ASSERT_TRUE(proxies_merge(proxies, list, 2));
        ASSERT_EQ(proxies_count(proxies), 2U);
        ASSERT_EQ(active->priority, 3U);
        ASSERT_EQ(active->state, PROXY_ACTIVE);
}

static void ten_thousand(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct ivbs_proxy *list = calloc(10000, sizeof(*list));
        const struct proxy *first = proxies_get(proxies, 0);

        ASSERT_TRUE(list);
        for (unsigned i = 0; i < 10000; i++)
                sprintf(list[i].address, "host-%u.example:%u", i, 1000 + i);
        ASSERT_TRUE(proxies_merge(proxies, list, 10000));
        ASSERT_EQ(proxies_count(proxies), IVBS_PROXIES_MAX);
        ASSERT_FALSE(proxies_merge(proxies, list, 10000));
        ASSERT_TRUE(proxies_get(proxies, 0) == first);
        ASSERT_STREQ(first->address, "a.example:1");
        free(list);
}

static void names(void) {
        ASSERT_STREQ(proxy_state_to_string(PROXY_REFUSED), "refused");
        ASSERT_STREQ(proxy_state_to_string(_PROXY_STATE_MAX), "unknown");
        ASSERT_TRUE(proxies_free(NULL) == NULL);
}

TEST_MAIN(TEST(choice), TEST(nobody), TEST(backoff), TEST(long_reason), TEST(merge), TEST(merge_of_garbage),
        TEST(merge_of_duplicates), TEST(own_address), TEST(ten_thousand), TEST(names));
