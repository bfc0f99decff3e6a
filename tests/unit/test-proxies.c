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

        b = proxies_choose(proxies, 0, NULL, &when);
        ASSERT_STREQ(b->address, "b.example:2"); /* priority, then the order of the list */
        ASSERT_EQ(b->priority, 5U);
        proxy_failed(proxies, b, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_EQ(b->state, PROXY_UNREACHABLE);
        ASSERT_STREQ(b->reason, "gone");

        c = proxies_choose(proxies, 0, NULL, &when);
        ASSERT_STREQ(c->address, "c.example:3");
        proxy_failed(proxies, c, 0, PROXY_REFUSED, "no");
        a = proxies_choose(proxies, 0, NULL, &when);
        ASSERT_STREQ(a->address, "a.example:1");
        proxy_failed(proxies, a, 10000000, PROXY_UNREACHABLE, "gone");

        /* All back off: told when the first may be tried, and not an instant earlier. */
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == NULL);
        ASSERT_EQ(when, b->not_before_usec < c->not_before_usec ? b->not_before_usec : c->not_before_usec);
        ASSERT_TRUE(proxies_choose(proxies, when - 1, NULL, &when) == NULL);
        ASSERT_TRUE(proxies_choose(proxies, when, NULL, &when) != NULL);

        /* Equal priority: the one with fewer failures. */
        proxy_failed(proxies, b, b->not_before_usec, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == c);
        proxy_succeeded(b, 1234);
        proxy_served(b);
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == b);
        ASSERT_EQ(b->round_trip_usec, 1234U);
        ASSERT_EQ(b->state, PROXY_ACTIVE);
        ASSERT_STREQ(b->reason, "");
}

/* None answers, and each takes longer to find out than it then backs off: the hours of the others must not go by between the first two. */
static void everybody_gets_a_turn(void) {
        static char a[] = "a:1", b[] = "b:1", c[] = "c:1", d[] = "d:1";
        static const struct proxy_address configured[] = { { a, 0 }, { b, 0 }, { c, 1 }, { d, 2 } };
        _cleanup_(proxies_freep) struct proxies *proxies = NULL;
        unsigned n_tried[4] = {}, n_standby[4] = {};
        uint64_t now = 1, when = 0;

        ASSERT_OK(proxies_new(&proxies, configured, ELEMENTSOF(configured), SEED));
        for (unsigned i = 0; i < 40; i++, now += PROXY_BACKOFF_MAX_USEC + 1) {
                struct proxy *p = proxies_choose(proxies, now, NULL, &when);

                ASSERT_TRUE(p);
                n_tried[p->address[0] - 'a']++;
                proxy_failed(proxies, p, now + PROXY_BACKOFF_MAX_USEC, PROXY_UNREACHABLE, "timed out");
        }
        for (unsigned i = 0; i < 4; i++)
                ASSERT_EQ(n_tried[i], 10U);

        /* The same beside one that serves, of those that might stand by. */
        proxy_succeeded(proxies_get_writable(proxies, 1), 100);
        for (unsigned i = 0; i < 30; i++, now += PROXY_BACKOFF_MAX_USEC + 1) {
                struct proxy *p = proxies_choose(proxies, now, proxies_get(proxies, 1), &when);

                ASSERT_TRUE(p);
                n_standby[p->address[0] - 'a']++;
                proxy_failed(proxies, p, now + PROXY_BACKOFF_MAX_USEC, PROXY_UNREACHABLE, "timed out");
        }
        ASSERT_EQ(n_standby[0], 10U);
        ASSERT_EQ(n_standby[2], 10U);
        ASSERT_EQ(n_standby[3], 10U);

        /* Somebody who hurries gets no shorter turn for the others; who is lost begins anew with the best. */
        proxies_hurry(proxies, NULL);
        proxy_failed(proxies, proxies_get_writable(proxies, 0), now, PROXY_UNREACHABLE, "timed out");
        proxy_failed(proxies, proxies_get_writable(proxies, 1), now, PROXY_UNREACHABLE, "gone");
        proxies_hurry(proxies, NULL);
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) == proxies_get(proxies, 2));
        proxies_start_over(proxies, proxies_get(proxies, 1));
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) == proxies_get(proxies, 0));
}

static void nobody(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = NULL;
        uint64_t when = 0;

        ASSERT_OK(proxies_new(&proxies, NULL, 0, 0));
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == NULL);
        ASSERT_EQ(when, UINT64_MAX);
}

static void backoff(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *p = proxies_get_writable(proxies, 0);
        bool varies = false;
        uint64_t expected = PROXY_BACKOFF_MIN_USEC, capped = 0;

        printf("seed %" PRIu64 "\n", SEED);
        for (unsigned i = 0; i < 200; i++) {
                uint64_t now = UINT64_C(6000000) * i, wait;

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
        proxy_served(p);
        proxy_failed(proxies, p, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(p->not_before_usec <= PROXY_BACKOFF_MIN_USEC);
        ASSERT_EQ(p->failures, 1U);

        /* All sessions to it end at once: that is one failure, and the last word counts. */
        proxy_failed(proxies, p, 1, PROXY_UNREACHABLE, "gone");
        proxy_failed(proxies, p, 2, PROXY_REFUSED, "no");
        ASSERT_EQ(p->failures, 1U);
        ASSERT_EQ(p->state, PROXY_REFUSED);
        ASSERT_STREQ(p->reason, "no");
        ASSERT_TRUE(p->not_before_usec <= PROXY_BACKOFF_MIN_USEC);
}

/* One that lets us in and drops us at once must not be tried without end. */
static void attaches_and_drops(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *p = proxies_get_writable(proxies, 0);
        uint64_t now = 0;

        for (unsigned i = 0; i < 20; i++) {
                proxy_succeeded(p, 100);
                ASSERT_EQ(p->state, PROXY_ACTIVE);
                ASSERT_EQ(p->not_before_usec, 0U);
                ASSERT_EQ(p->failures, i);
                proxy_failed(proxies, p, now, PROXY_UNREACHABLE, "gone");
                ASSERT_TRUE(i < 7 || p->not_before_usec - now > PROXY_BACKOFF_MAX_USEC / 2);
                now = p->not_before_usec;
        }

        proxy_succeeded(p, 100);
        proxy_served(p);
        ASSERT_EQ(p->failures, 0U);
}

static void same_seed_same_times(void) {
        _cleanup_(proxies_freep) struct proxies *one = three(), *two = three();

        for (uint64_t i = 0; i < 20; i++) {
                proxy_failed(one, proxies_get_writable(one, 0), i * 6000000, PROXY_UNREACHABLE, "gone");
                proxy_failed(two, proxies_get_writable(two, 0), i * 6000000, PROXY_UNREACHABLE, "gone");
                ASSERT_EQ(proxies_get(one, 0)->not_before_usec, proxies_get(two, 0)->not_before_usec);
        }
}

static void except_one(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *b, *c;
        uint64_t when = 0;

        b = proxies_choose(proxies, 0, NULL, &when);
        c = proxies_choose(proxies, 0, b, &when);
        ASSERT_STREQ(c->address, "c.example:3");
        ASSERT_TRUE(proxies_choose(proxies, 0, c, &when) == b);

        /* Only the others' back-off counts. */
        for (size_t i = 0; i < 3; i++)
                if (proxies_get(proxies, i) != b)
                        proxy_failed(proxies, proxies_get_writable(proxies, i), 1000, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, 1000, b, &when) == NULL);
        ASSERT_TRUE(when > 1000 && when <= 1000 + PROXY_BACKOFF_MIN_USEC);
        ASSERT_TRUE(proxies_choose(proxies, when, b, &when) != NULL);
        ASSERT_TRUE(proxies_choose(proxies, 1000, NULL, &when) == b);
}

static void latency(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *b = proxies_choose(proxies, 0, NULL, &(uint64_t){ 0 }), *c;
        uint64_t when;

        c = proxies_choose(proxies, 0, b, &when);
        proxy_measured(b, 0); /* not known: says nothing */
        ASSERT_EQ(b->round_trip_usec, 0U);

        proxy_measured(b, 9000);
        ASSERT_EQ(b->round_trip_usec, 9000U);
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == b); /* of c nothing is known yet */
        proxy_measured(c, 8000);
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == b); /* chance */
        proxy_measured(b, 80000); /* and so is a single late one, but it is not forgotten */
        ASSERT_EQ(b->round_trip_usec, (7U * 9000U + 80000U) / 8U);
        for (unsigned i = 0; i < 50; i++)
                proxy_measured(b, 80000);
        ASSERT_TRUE(b->round_trip_usec > 79000);
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == c);

        /* Failures weigh more, priority more still, and whose turn it is most. */
        proxy_failed(proxies, c, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == b);
        proxy_failed(proxies, b, 0, PROXY_UNREACHABLE, "gone");
        proxy_measured(proxies_get_writable(proxies, 0), 1);
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == proxies_get(proxies, 0));
        proxy_failed(proxies, proxies_get_writable(proxies, 0), 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == c);

        /* Microseconds on one machine are chance too. */
        proxy_served(b);
        proxy_served(c);
        b->round_trip_usec = 900;
        c->round_trip_usec = 10;
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == b);
}

static void draining(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *a = proxies_get_writable(proxies, 0), *b, *c;
        uint64_t when = 0, now = 1000000;

        b = proxies_choose(proxies, now, NULL, &when);
        c = proxies_choose(proxies, now, b, &when);
        proxy_succeeded(b, 0);
        proxy_failed(proxies, b, now, PROXY_DRAINING, "the proxy drains");
        proxy_failed(proxies, b, now + 1, PROXY_DRAINING, "the proxy drains"); /* on each session */
        ASSERT_EQ(b->state, PROXY_DRAINING);
        ASSERT_EQ(b->failures, 1U);

        /* Last of all, whatever its priority, and then for long not at all. */
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) == c);
        proxy_failed(proxies, c, now, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) == a);
        ASSERT_TRUE(proxies_choose(proxies, now + PROXY_BACKOFF_MAX_USEC / 2, c, &when) == a);
        proxies_start_over(proxies, b);
        ASSERT_TRUE(proxies_choose(proxies, now + 60000000, NULL, &when) == c);
        proxy_succeeded(a, 0);

        /* In reserve beside another one it has its rest... */
        proxy_failed(proxies, c, now + 60000, PROXY_UNREACHABLE, "gone");
        c->not_before_usec = UINT64_MAX - 1;
        ASSERT_TRUE(proxies_choose(proxies, now + 100000, a, &when) == NULL);
        ASSERT_EQ(when, b->drain_until_usec);
        ASSERT_TRUE(when > now + PROXY_BACKOFF_MAX_USEC / 2 && when <= now + 1 + PROXY_BACKOFF_MAX_USEC);
        ASSERT_TRUE(proxies_choose(proxies, when, a, &when) == b);

        /* ...and with nobody else it is asked again soon: it may be back. */
        proxy_failed(proxies, a, now + 100000, PROXY_DRAINING, "the proxy drains");
        ASSERT_TRUE(proxies_choose(proxies, now + 100000, NULL, &when) == b);
        proxy_failed(proxies, b, now + 100000, PROXY_DRAINING, "the proxy drains");
        ASSERT_TRUE(proxies_choose(proxies, now + 100000, NULL, &when) == NULL);
        ASSERT_TRUE(when <= now + 100000 + PROXY_BACKOFF_MIN_USEC);

        proxy_succeeded(b, 0);
        ASSERT_TRUE(proxies_choose(proxies, now + 100000, NULL, &when) == b);
}

static void tickets(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *p = proxies_get_writable(proxies, 0);
        uint8_t ticket[IVBS_TICKET_MAX + 1], zeroes[IVBS_TICKET_MAX] = {};

        memset(ticket, 0xa5, sizeof(ticket));
        ASSERT_EQ(p->n_ticket, 0U);
        proxy_set_ticket(p, ticket, IVBS_TICKET_MAX);
        ASSERT_EQ(p->n_ticket, IVBS_TICKET_MAX);
        ASSERT_MEMEQ(p->ticket, ticket, IVBS_TICKET_MAX);
        proxy_set_ticket(p, ticket, 8); /* and nothing of the last one is left */
        ASSERT_EQ(p->n_ticket, 8U);
        ASSERT_MEMEQ(p->ticket + 8, zeroes, IVBS_TICKET_MAX - 8);

        proxy_forget_ticket(p);
        ASSERT_EQ(p->n_ticket, 0U);
        ASSERT_MEMEQ(p->ticket, zeroes, IVBS_TICKET_MAX);

        proxy_set_ticket(p, ticket, 8);
        proxy_set_ticket(p, ticket, IVBS_TICKET_MAX + 1);
        ASSERT_EQ(p->n_ticket, 0U);
        proxy_set_ticket(p, ticket, 8);
        proxy_set_ticket(p, ticket, 0);
        ASSERT_EQ(p->n_ticket, 0U);
        proxy_set_ticket(p, ticket, 8); /* for proxies_free() */
}

/* Proved ones go to the next worker, to the same proxy; those that whoever reads them could use do not. */
static void tickets_are_left(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three(), *next = three();
        const struct proxy *taken = proxies_get(next, 1);
        uint8_t ticket[8] = { 1 }, key[IVBS_TICKET_KEY_SIZE] = { 2 };
        struct left_tickets left = {};

        proxy_set_ticket(proxies_get_writable(proxies, 0), ticket, sizeof(ticket));
        proxy_set_proved_ticket(proxies_get_writable(proxies, 1), ticket, sizeof(ticket), key);
        proxies_leave_tickets(proxies, &left);
        ASSERT_EQ(left.n, 1U);

        left.items[left.n] = left.items[0];
        strcpy(left.items[left.n++].proxy, "unknown.example:1");
        proxies_take_tickets(next, &left);
        ASSERT_TRUE(taken->ticket_is_proved);
        ASSERT_EQ(taken->n_ticket, sizeof(ticket));
        ASSERT_MEMEQ(taken->ticket, ticket, sizeof(ticket));
        ASSERT_MEMEQ(taken->ticket_key, key, sizeof(key));
        ASSERT_EQ(proxies_get(next, 0)->n_ticket, 0U);
        ASSERT_EQ(proxies_count(next), 3U);
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

        d = proxies_choose(proxies, 0, NULL, &when);
        ASSERT_STREQ(d->address, "d.example:4");

        /* Not named any more, but in use: stays until it is not. */
        proxy_succeeded(d, 0);
        ASSERT_FALSE(proxies_merge(proxies, list + 1, 2));
        ASSERT_TRUE(proxies_choose(proxies, 0, NULL, &when) == d);
        proxy_failed(proxies, d, 0, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(proxies_merge(proxies, list + 1, 2));
        ASSERT_STREQ(proxies_choose(proxies, 60000000, NULL, &when)->address, "b.example:2");

        /* Named again, with another priority. */
        list[0].priority = 2;
        ASSERT_TRUE(proxies_merge(proxies, list, 3));
        ASSERT_TRUE(proxies_choose(proxies, 60000000, NULL, &when) == d);
        ASSERT_EQ(d->priority, 2U);

        /* An empty list takes away all that were announced, and none that is configured. */
        ASSERT_TRUE(proxies_merge(proxies, NULL, 0));
        ASSERT_STREQ(proxies_choose(proxies, 60000000, NULL, &when)->address, "b.example:2");
        ASSERT_FALSE(proxies_merge(proxies, NULL, 0));
}

static void merge_of_garbage(void) {
        static const char *const garbage[] = { "", ":", "x", "x:", ":1", "x:0", "x:65536", "x:-1", "[::1:5", "a b:5",
                "\xff\xfe:1", "x:1:2:3", "\n:1" };
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct ivbs_proxy list[ELEMENTSOF(garbage)];

        for (size_t i = 0; i < ELEMENTSOF(garbage); i++)
                list[i] = announce(garbage[i], 0);
        ASSERT_TRUE(proxies_merge(proxies, list, ELEMENTSOF(list)));
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
        active = proxies_choose(proxies, 0, NULL, &when);
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
        ASSERT_EQ(proxies_count(proxies), 3U + PROXIES_ANNOUNCED_MAX);
        ASSERT_FALSE(proxies_merge(proxies, list, 10000));
        ASSERT_TRUE(proxies_get(proxies, 0) == first);
        ASSERT_STREQ(first->address, "a.example:1");

        /* They do not stand in the way of those that are announced instead, were it a hundred times. */
        for (unsigned i = 1; i < 100; i++) {
                ASSERT_TRUE(proxies_merge(proxies, list + 100 * i, 2));
                ASSERT_EQ(proxies_count(proxies), 5U);
                ASSERT_TRUE(find(proxies, list[100 * i].address) && find(proxies, list[100 * i + 1].address));
        }
        ASSERT_TRUE(proxies_get(proxies, 0) == first);
        free(list);
}

/* With as many configured as there may be at all, nobody else has room, and all of them have. */
static void configured_have_room(void) {
        struct proxy_address configured[HOST_PROXIES_MAX];
        struct ivbs_proxy extra = announce("other.example:1", 0);
        static char addresses[HOST_PROXIES_MAX][32];
        struct proxies *proxies;

        for (unsigned i = 0; i < HOST_PROXIES_MAX; i++) {
                sprintf(addresses[i], "host-%u.example:1", i);
                configured[i] = (struct proxy_address){ addresses[i], 100 };
        }
        ASSERT_OK(proxies_new(&proxies, configured, HOST_PROXIES_MAX, SEED));
        ASSERT_EQ(proxies_count(proxies), HOST_PROXIES_MAX);
        ASSERT_FALSE(proxies_merge(proxies, &extra, 1));
        proxies_free(proxies);

        ASSERT_OK(proxies_new(&proxies, configured, HOST_PROXIES_MAX - 1, SEED));
        ASSERT_TRUE(proxies_merge(proxies, &extra, 1));
        ASSERT_EQ(proxies_count(proxies), IVBS_PROXIES_MAX);
        strcpy(extra.address, "yet-another.example:1");
        ASSERT_TRUE(proxies_merge(proxies, &extra, 1)); /* in the place of the first */
        ASSERT_EQ(proxies_count(proxies), IVBS_PROXIES_MAX);
        proxies_free(proxies);
}

/* Somebody waits for I/O: others that back off are tried at once, but not the one that was just lost. */
static void hurried(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct proxy *lost = proxies_get_writable(proxies, 0), *other = proxies_get_writable(proxies, 1);
        uint64_t now = 1000000, when;

        for (unsigned i = 0; i < 10; i++) {
                now += 2 * PROXY_BACKOFF_MAX_USEC;
                for (size_t k = 0; k < proxies_count(proxies); k++)
                        proxy_failed(proxies, proxies_get_writable(proxies, k), now, PROXY_UNREACHABLE, "gone");
        }
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) == NULL);
        ASSERT_TRUE(when - now > PROXY_BACKOFF_MAX_USEC / 2);

        proxies_hurry(proxies, lost);
        ASSERT_TRUE(lost->not_before_usec > now);
        ASSERT_TRUE(proxies_choose(proxies, now, NULL, &when) != NULL);
        proxy_failed(proxies, other, now, PROXY_UNREACHABLE, "gone");
        ASSERT_TRUE(other->not_before_usec - now <= 2 * PROXY_BACKOFF_MIN_USEC);
}

/* What a session points to stays what it is, however the lists change. */
static void used_entries_stay(void) {
        _cleanup_(proxies_freep) struct proxies *proxies = three();
        struct ivbs_proxy list[IVBS_PROXIES_MAX];
        uint8_t ticket[16] = { 1 }, zeroes[IVBS_TICKET_MAX] = {};
        struct proxy *kept, *again;
        uint64_t when;

        list[0] = announce("kept.example:1", 1);
        ASSERT_TRUE(proxies_merge(proxies, list, 1));
        kept = proxy_ref(proxies_choose(proxies, 0, NULL, &when));
        ASSERT_STREQ(kept->address, "kept.example:1");
        proxy_set_ticket(kept, ticket, sizeof(ticket));
        proxy_failed(proxies, kept, 0, PROXY_UNREACHABLE, "gone");

        for (unsigned round = 0; round < 3; round++) {
                for (unsigned i = 0; i < ELEMENTSOF(list); i++) {
                        list[i] = announce("", 9);
                        sprintf(list[i].address, "host-%u-%u.example:1", round, i);
                }
                ASSERT_TRUE(proxies_merge(proxies, list, ELEMENTSOF(list)));
                ASSERT_STREQ(kept->address, "kept.example:1");
                /* It takes nobody's place. */
                ASSERT_EQ(proxies_count(proxies), 3U + PROXIES_ANNOUNCED_MAX + 1U);
        }

        ASSERT_TRUE(proxy_unref(kept) == NULL);
        ASSERT_TRUE(proxy_unref(NULL) == NULL);
        for (unsigned i = 0; i < ELEMENTSOF(list); i++)
                sprintf(list[i].address, "new-%u.example:1", i);
        ASSERT_TRUE(proxies_merge(proxies, list, ELEMENTSOF(list)));
        ASSERT_EQ(proxies_count(proxies), 3U + PROXIES_ANNOUNCED_MAX);
        for (size_t i = 0; i < proxies_count(proxies); i++)
                ASSERT_TRUE(strcmp(proxies_get(proxies, i)->address, "kept.example:1") != 0);

        /* Its place was given away, with nothing of it left. */
        again = kept;
        ASSERT_TRUE(memcmp(again->address, "new-", 4) == 0);
        ASSERT_TRUE(again->n_ticket == 0 && again->failures == 0 && again->state == PROXY_UNKNOWN);
        ASSERT_MEMEQ(again->ticket, zeroes, sizeof(zeroes));
}

static void names(void) {
        ASSERT_STREQ(proxy_state_to_string(PROXY_REFUSED), "refused");
        ASSERT_STREQ(proxy_state_to_string(PROXY_STANDBY), "standby");
        ASSERT_STREQ(proxy_state_to_string(PROXY_DRAINING), "draining");
        ASSERT_STREQ(proxy_state_to_string(_PROXY_STATE_MAX), "unknown");
        ASSERT_TRUE(proxies_free(NULL) == NULL);
}

TEST_MAIN(TEST(choice), TEST(everybody_gets_a_turn), TEST(nobody), TEST(backoff), TEST(attaches_and_drops),
        TEST(same_seed_same_times), TEST(except_one), TEST(latency), TEST(draining), TEST(tickets),
        TEST(tickets_are_left), TEST(long_reason), TEST(merge), TEST(merge_of_garbage), TEST(merge_of_duplicates),
        TEST(own_address), TEST(ten_thousand), TEST(configured_have_room), TEST(hurried), TEST(used_entries_stay),
        TEST(names));
