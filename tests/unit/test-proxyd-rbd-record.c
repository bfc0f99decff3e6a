/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "hand-over.h"
#include "store-rbd-record.h"
#include "test.h"

static const struct rbd_record full = {
        .size = UINT64_C(0x0102030405060708),
        .size_epoch = 3,
        .rolling_back = 17,
        .lease = { .generation = INT64_MAX,
                .live = true,
                .token_hash = "hash of 32 bytes, or nearly so.",
                .holder = { .machine_id = "machine id.....",
                        .boot_id = "boot id........",
                        .host = "a-host",
                        .since_usec = 5 } },
        .limits = { .iops = 500, .bandwidth = UINT64_C(1) << 50, .burst_usec = 2000000 },
};

static void record_comes_back(void) {
        uint8_t data[RBD_RECORD_SIZE_MAX];
        struct rbd_record found;

        ASSERT_EQ(rbd_record_encode(&full, data), sizeof(data));
        ASSERT_OK(rbd_record_decode(data, sizeof(data), &found));
        ASSERT_EQ(found.size, full.size);
        ASSERT_EQ(found.size_epoch, 3U);
        ASSERT_EQ(found.rolling_back, 17U);
        ASSERT_EQ(found.lease.generation, (uint64_t) INT64_MAX);
        ASSERT_TRUE(found.lease.live);
        ASSERT_MEMEQ(found.lease.token_hash, full.lease.token_hash, LEASE_HASH_SIZE);
        ASSERT_MEMEQ(&found.lease.holder, &full.lease.holder, sizeof(found.lease.holder));
        ASSERT_MEMEQ(&found.limits, &full.limits, sizeof(found.limits));
        /* As documented: numbers in network order. */
        ASSERT_MEMEQ(data, "BSIMAGE1\1\2\3\4\5\6\7\10", 16);
}

/* What older proxies can read they can use. */
static void without_limits_it_is_as_ever(void) {
        uint8_t data[RBD_RECORD_SIZE_MAX];
        struct rbd_record plain = full, found = full;

        plain.limits = (struct store_limits){ .burst_usec = 7 };
        ASSERT_EQ(rbd_record_encode(&plain, data), RBD_RECORD_SIZE);
        ASSERT_OK(rbd_record_decode(data, RBD_RECORD_SIZE, &found));
        ASSERT_EQ(found.limits.iops, 0U);
        ASSERT_EQ(found.limits.bandwidth, 0U);
        ASSERT_EQ(found.limits.burst_usec, 0U);
        ASSERT_TRUE(found.lease.live);
}

static void a_dead_lease_leaves_nothing(void) {
        uint8_t data[RBD_RECORD_SIZE_MAX];
        struct rbd_record dead = full, found;

        dead.lease.live = false;
        rbd_record_encode(&dead, data);
        ASSERT_OK(rbd_record_decode(data, sizeof(data), &found));
        ASSERT_FALSE(found.lease.live);
        ASSERT_EQ(found.lease.generation, (uint64_t) INT64_MAX);
        for (size_t i = 0; i < LEASE_HASH_SIZE; i++)
                ASSERT_EQ(data[48 + i], 0);
}

static void none_is_nobodys(void) {
        struct rbd_record found = full;

        ASSERT_OK(rbd_record_decode(NULL, 0, &found));
        ASSERT_EQ(found.size, 0U);
        ASSERT_EQ(found.lease.generation, 0U);
        ASSERT_FALSE(found.lease.live);
}

static void damaged_records_are_refused(void) {
        uint8_t good[RBD_RECORD_SIZE_MAX + 1] = {}, bad[RBD_RECORD_SIZE_MAX];
        struct rbd_record found = { .size = 7 };
        static const struct {
                size_t at;
                uint8_t value;
        } damages[] = { { 0, 'X' }, { 7, '2' }, { 8, 0x80 }, { 16, 0x80 }, { 24, 0xff }, { 32, 2 }, { 152, 0x80 },
                { 160, 0x80 }, { 168, 0x80 } };

        rbd_record_encode(&full, good);
        for (size_t n = 1; n <= sizeof(good); n++)
                if (n != RBD_RECORD_SIZE && n != RBD_RECORD_SIZE_MAX)
                        ASSERT_ERROR(rbd_record_decode(good, n, &found), EUCLEAN);
        for (size_t i = 0; i < ELEMENTSOF(damages); i++) {
                memcpy(bad, good, sizeof(bad));
                bad[damages[i].at] = damages[i].value;
                ASSERT_ERROR(rbd_record_decode(bad, sizeof(bad), &found), EUCLEAN);
        }
        ASSERT_EQ(found.size, 7U);
}

static void messages(void) {
        const struct rbd_message sent = { RBD_MESSAGE_ASK, HAND_OVER_PROVEN,
                SD_ID128_MAKE(01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10),
                SD_ID128_MAKE(11, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10),
                UINT64_C(0xfedcba9876543210) };
        uint8_t data[RBD_MESSAGE_SIZE + 1] = {};
        struct rbd_message found;

        rbd_message_encode(&sent, data);
        ASSERT_OK(rbd_message_decode(data, RBD_MESSAGE_SIZE, &found));
        ASSERT_EQ(found.type, sent.type);
        ASSERT_EQ(found.why, sent.why);
        ASSERT_TRUE(sd_id128_equal(found.uuid, sent.uuid));
        ASSERT_TRUE(sd_id128_equal(found.sender, sent.sender));
        ASSERT_EQ(found.question, sent.question);

        /* librbd and others may watch and notify what they like. */
        for (size_t n = 0; n <= sizeof(data); n++)
                if (n != RBD_MESSAGE_SIZE)
                        ASSERT_ERROR(rbd_message_decode(data, n, &found), EBADMSG);
        data[4] = _RBD_MESSAGE_TYPE_MAX;
        ASSERT_ERROR(rbd_message_decode(data, RBD_MESSAGE_SIZE, &found), EBADMSG);
        data[4] = RBD_MESSAGE_ACK;
        data[5] = _HAND_OVER_WHY_MAX;
        ASSERT_ERROR(rbd_message_decode(data, RBD_MESSAGE_SIZE, &found), EBADMSG);
        data[5] = 0;
        data[0] = 'X';
        ASSERT_ERROR(rbd_message_decode(data, RBD_MESSAGE_SIZE, &found), EBADMSG);
}

static void addresses(void) {
        static const char *const spellings[][2] = {
                { "127.0.0.1:0/4711", "127.0.0.1:0/4711" },
                { "v1:127.0.0.1:0/4711", "127.0.0.1:0/4711" },
                { "any:127.0.0.1:0/4711", "127.0.0.1:0/4711" },
                { "[v2:127.0.0.1:0/4711,v1:127.0.0.1:0/4711]", "127.0.0.1:0/4711" },
                { "[v2:127.0.0.1:0/4711]", "127.0.0.1:0/4711" },
                { "v2:[fd00::1]:0/4711", "[fd00::1]:0/4711" },
                { "[fd00::1]:0/4711", "[fd00::1]:0/4711" },
                { "", "" },
        };
        char found[64];

        for (size_t i = 0; i < ELEMENTSOF(spellings); i++) {
                rbd_address_normalise(spellings[i][0], found, sizeof(found));
                ASSERT_STREQ(found, spellings[i][1]);
        }
        rbd_address_normalise("v1:127.0.0.1:0/4711", found, 6);
        ASSERT_STREQ(found, "127.0");
}

TEST_MAIN(TEST(record_comes_back), TEST(without_limits_it_is_as_ever), TEST(a_dead_lease_leaves_nothing),
        TEST(none_is_nobodys), TEST(damaged_records_are_refused), TEST(messages), TEST(addresses));
