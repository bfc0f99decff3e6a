/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "cleanup.h"
#include "lease.h"
#include "test.h"

static const uint8_t token_a[LEASE_TOKEN_SIZE] = "token of a 1234", token_b[LEASE_TOKEN_SIZE] = "token of b 1234";
static const struct lease_holder host_a = { .machine_id = "a", .host = "a", .since_usec = 1 };
static const struct lease_holder host_b = { .machine_id = "b", .host = "b", .since_usec = 2 };
static const struct lease_holder unknown = { .host = "classic" };

static void takes_a_free_one(void) {
        struct lease lease = {};

        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        ASSERT_EQ(lease.generation, 1U);
        ASSERT_TRUE(lease.live);
        ASSERT_STREQ(lease.holder.host, "a");
        /* The record must not give the token away. */
        ASSERT_TRUE(memcmp(lease.token_hash, token_a, LEASE_TOKEN_SIZE) != 0);
}

static void another_machine_is_refused(void) {
        struct lease lease = {}, before;

        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        before = lease;
        ASSERT_EQ(lease_take(&lease, &host_b, false, token_b), LEASE_HELD);
        ASSERT_MEMEQ(&lease, &before, sizeof(lease));

        ASSERT_EQ(lease_take(&lease, &host_b, true, token_b), 0);
        ASSERT_EQ(lease.generation, 2U);
        ASSERT_EQ(lease_resume(&lease, token_a, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_b, 2), 0);
}

static void the_same_machine_attaches_anew(void) {
        struct lease lease = {};

        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        ASSERT_EQ(lease_take(&lease, &host_a, false, token_b), 0);
        ASSERT_EQ(lease.generation, 2U);
        ASSERT_EQ(lease_resume(&lease, token_a, 1), LEASE_EXPIRED);
}

static void nobody_is_not_the_same_as_nobody(void) {
        struct lease lease = {};

        ASSERT_FALSE(lease_same_machine(&unknown, &unknown));
        ASSERT_EQ(lease_take(&lease, &unknown, false, token_a), 0);
        ASSERT_EQ(lease_take(&lease, &unknown, false, token_b), LEASE_HELD);
}

static void resumes_only_with_both(void) {
        struct lease lease = {};

        ASSERT_EQ(lease_resume(&lease, token_a, 0), LEASE_EXPIRED);
        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        ASSERT_EQ(lease_resume(&lease, token_a, 1), 0);
        ASSERT_EQ(lease_resume(&lease, token_b, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_a, 0), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_a, 2), LEASE_EXPIRED);
}

static void gives_back_only_its_own(void) {
        struct lease lease = {};

        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        ASSERT_EQ(lease_give_back(&lease, token_b, 1), LEASE_EXPIRED);
        ASSERT_TRUE(lease.live);
        ASSERT_EQ(lease_give_back(&lease, token_a, 1), 0);
        ASSERT_FALSE(lease.live);
        ASSERT_EQ(lease.generation, 1U);
        ASSERT_EQ(lease_give_back(&lease, token_a, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_a, 1), LEASE_EXPIRED);

        /* A generation is never used twice. */
        ASSERT_EQ(lease_take(&lease, &host_b, false, token_b), 0);
        ASSERT_EQ(lease.generation, 2U);
}

static void fences_only_its_own(void) {
        struct lease lease = {}, before;

        ASSERT_EQ(lease_fence(&lease, token_a, 0), LEASE_EXPIRED);
        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        before = lease;
        ASSERT_EQ(lease_fence(&lease, token_b, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_fence(&lease, token_a, 2), LEASE_EXPIRED);
        ASSERT_MEMEQ(&lease, &before, sizeof(lease));

        /* Token and holder stay, and the same fence does not work twice. */
        ASSERT_EQ(lease_fence(&lease, token_a, 1), 0);
        ASSERT_EQ(lease.generation, 2U);
        ASSERT_TRUE(lease.live);
        ASSERT_MEMEQ(&lease.holder, &host_a, sizeof(host_a));
        ASSERT_EQ(lease_fence(&lease, token_a, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_a, 1), LEASE_EXPIRED);
        ASSERT_EQ(lease_resume(&lease, token_a, 2), 0);

        /* Who was robbed cannot fence the robber. */
        ASSERT_EQ(lease_take(&lease, &host_b, true, token_b), 0);
        ASSERT_EQ(lease_fence(&lease, token_a, 2), LEASE_EXPIRED);
        ASSERT_EQ(lease_fence(&lease, token_a, 3), LEASE_EXPIRED);
}

static void generations_end(void) {
        struct lease lease = { .generation = INT64_MAX - 1 };

        ASSERT_EQ(lease_take(&lease, &host_a, false, token_a), 0);
        ASSERT_EQ(lease.generation, (uint64_t) INT64_MAX);
        ASSERT_ERROR(lease_take(&lease, &host_a, false, token_b), EOVERFLOW);
        ASSERT_EQ(lease_resume(&lease, token_a, INT64_MAX), 0);
        ASSERT_ERROR(lease_fence(&lease, token_a, INT64_MAX), EOVERFLOW);
        ASSERT_EQ(lease_resume(&lease, token_a, INT64_MAX), 0);
}

TEST_MAIN(TEST(takes_a_free_one), TEST(another_machine_is_refused), TEST(the_same_machine_attaches_anew),
        TEST(nobody_is_not_the_same_as_nobody), TEST(resumes_only_with_both), TEST(gives_back_only_its_own),
        TEST(fences_only_its_own), TEST(generations_end));
