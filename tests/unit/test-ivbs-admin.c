/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* STORE_STATUS: there and back, cut at every length, and with lengths that lie. */

#include "guarded.h"
#include "ivbs-admin.h"
#include "test.h"

static const struct ivbs_store_session sessions[] = {
        { .flags = IVBS_SESSION_WRITES | IVBS_SESSION_LEASED,
                .generation = UINT64_C(0x0102030405060708),
                .image = "vm1",
                .user = "alice",
                .address = "[fd00::1]:4711",
                .host = "host1" },
        { .image = "a@b" },
};

static size_t encode(uint8_t *bytes) {
        const struct ivbs_store_status status = { .total = 1000, .available = 10, .clients = 7, .sessions = 2 };
        size_t n = IVBS_STORE_STATUS_SIZE;

        ivbs_store_status_encode(&status, bytes);
        for (size_t i = 0; i < 2; i++)
                n += ivbs_store_session_encode(sessions + i, bytes + n);
        return n;
}

static void there_and_back(void) {
        uint8_t bytes[IVBS_STORE_STATUS_SIZE + 2 * IVBS_STORE_SESSION_SIZE_MAX];
        struct ivbs_store_session session;
        struct ivbs_store_status status;
        size_t n = encode(bytes), offset;

        ASSERT_EQ(n, 40U + 40U + 3U + 5U + 14U + 5U + 40U + 3U);
        ASSERT_OK(ivbs_store_status_decode(bytes, n, &status, &offset));
        ASSERT_EQ(status.total, 1000U);
        ASSERT_EQ(status.available, 10U);
        ASSERT_EQ(status.clients, 7U);
        ASSERT_EQ(status.sessions, 2U);
        ASSERT_EQ(offset, IVBS_STORE_STATUS_SIZE);

        ASSERT_OK(ivbs_store_session_decode(bytes, n, &offset, &session));
        ASSERT_EQ(session.flags, sessions[0].flags);
        ASSERT_EQ(session.generation, sessions[0].generation);
        ASSERT_STREQ(session.image, "vm1");
        ASSERT_STREQ(session.user, "alice");
        ASSERT_STREQ(session.address, "[fd00::1]:4711");
        ASSERT_STREQ(session.host, "host1");
        ASSERT_OK(ivbs_store_session_decode(bytes, n, &offset, &session));
        ASSERT_STREQ(session.image, "a@b");
        ASSERT_STREQ(session.host, "");
        ASSERT_EQ(offset, n);
        ASSERT_ERROR(ivbs_store_session_decode(bytes, n, &offset, &session), EBADMSG);
}

static void cut(void) {
        uint8_t bytes[IVBS_STORE_STATUS_SIZE + 2 * IVBS_STORE_SESSION_SIZE_MAX];
        struct ivbs_store_session session;
        struct ivbs_store_status status;
        size_t full = encode(bytes);

        for (size_t n = 0; n < full; n++) {
                const uint8_t *data = guarded_copy(bytes, n);
                size_t offset = 0;
                int r = ivbs_store_status_decode(data, n, &status, &offset);

                ASSERT_EQ(r, n < IVBS_STORE_STATUS_SIZE ? -EBADMSG : 0);
                for (unsigned i = 0; i < 2 && r >= 0; i++)
                        r = ivbs_store_session_decode(data, n, &offset, &session);
                ASSERT_EQ(r, -EBADMSG);
        }
}

static void lies(void) {
        uint8_t bytes[IVBS_STORE_STATUS_SIZE + 2 * IVBS_STORE_SESSION_SIZE_MAX];
        /* Offset and value of a byte that makes nonsense of it. */
        static const uint8_t wrong[][2] = {
                { 20, 1 },       /* 16 million sessions */
                { 31, 39 },      /* the beginning shorter than it is */
                { 30, 255 },     /* ... or longer than everything */
                { 40 + 3, 39 },  /* a session shorter than its fields */
                { 40 + 0, 1 },   /* ... or longer than everything */
                { 40 + 17, 99 }, /* texts longer than the session */
                { 40 + 16, 2 },  /* a name longer than one can be */
                { 40 + 17, 0 },  /* an image without a name: its texts are shifted */
                { 40 + 41, 0 },  /* NUL within a text */
                { 40 + 41, '/' },
        };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct ivbs_store_session session = { .flags = 77 };
                struct ivbs_store_status status = { .clients = 88 };
                size_t n = encode(bytes), offset = 0;
                int r;

                bytes[wrong[i][0]] = wrong[i][1];
                r = ivbs_store_status_decode(bytes, n, &status, &offset);
                if (r < 0)
                        ASSERT_EQ(status.clients, 88U);
                else {
                        r = ivbs_store_session_decode(bytes, n, &offset, &session);
                        ASSERT_EQ(session.flags, 77U);
                }
                ASSERT_EQ(r, -EBADMSG);
        }
}

TEST_MAIN(TEST(there_and_back), TEST(cut), TEST(lies));
