/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The payloads of an image's life: against bytes written out by hand, cut at every length, and with every name that is none. */

#include "guarded.h"
#include "hex.h"
#include "ivbs-lifecycle.h"
#include "test.h"

static void fill(uint8_t *uuid, uint8_t start) {
        for (unsigned i = 0; i < IVBS_UUID_SIZE; i++)
                uuid[i] = (uint8_t) (start + i);
}

#define ASSERT_NEEDS(bytes, full, call)                                 \
        do {                                                            \
                uint8_t _longer[(full) + 16] = {};                      \
                memcpy(_longer, bytes, full);                           \
                for (size_t n = 0; n < (full); n++) {                   \
                        const uint8_t *data = guarded_copy(bytes, n);   \
                        ASSERT_ERROR(call, EBADMSG);                    \
                }                                                       \
                for (size_t n = (full); n < (full) + 9; n++) {          \
                        const uint8_t *data = guarded_copy(_longer, n); \
                        ASSERT_OK(call);                                \
                }                                                       \
        } while (0)

static void image_change(void) {
        struct ivbs_image_change change = { .name = "vm", .snapshot = "s", .new_name = "n" }, decoded;
        uint8_t bytes[IVBS_IMAGE_CHANGE_SIZE], wanted[IVBS_IMAGE_CHANGE_SIZE] = {};

        fill(change.uuid, 0xa0);
        fill(wanted + 8, 0xa0);
        memcpy(wanted + 24, "vm", 2);
        wanted[280] = 's';
        wanted[536] = 'n';
        ASSERT_OK(ivbs_image_change_encode(&change, bytes));
        ASSERT_MEMEQ(bytes, wanted, sizeof(bytes));
        ASSERT_NEEDS(bytes, IVBS_IMAGE_CHANGE_SIZE, ivbs_image_change_decode(data, n, &decoded));
        ASSERT_STREQ(decoded.name, "vm");
        ASSERT_STREQ(decoded.snapshot, "s");
        ASSERT_STREQ(decoded.new_name, "n");
        ASSERT_EQ(decoded.flags, 0U);
        ASSERT_MEMEQ(decoded.uuid, change.uuid, IVBS_UUID_SIZE);

        /* The image's name is needed, the others are not. */
        change.snapshot[0] = change.new_name[0] = 0;
        ASSERT_OK(ivbs_image_change_encode(&change, bytes));
        ASSERT_OK(ivbs_image_change_decode(bytes, sizeof(bytes), &decoded));
        ASSERT_STREQ(decoded.snapshot, "");
        bytes[24] = 0;
        ASSERT_ERROR(ivbs_image_change_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        for (unsigned at = 24; at < 792; at += 256) {
                ASSERT_OK(ivbs_image_change_encode(&change, bytes));
                memcpy(bytes + at, "a/b", 3);
                ASSERT_ERROR(ivbs_image_change_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
                memset(bytes + at, 'x', 256);
                ASSERT_ERROR(ivbs_image_change_decode(bytes, sizeof(bytes), &decoded), EBADMSG);
        }
        strcpy(change.new_name, ".n");
        ASSERT_ERROR(ivbs_image_change_encode(&change, bytes), EINVAL);
}

static void replies(void) {
        struct ivbs_job_reply job = { .state = IVBS_JOB_FAILED,
                .status = 102,
                .done = 1,
                .total = 0x200,
                .elapsed_usec = 3 },
                              decoded_job;
        uint8_t bytes[IVBS_JOB_REPLY_SIZE], change_bytes[IVBS_CHANGE_REPLY_SIZE];
        struct ivbs_change_reply change, decoded_change;

        fill(job.uuid, 0xb0);
        ivbs_job_reply_encode(&job, bytes);
        ASSERT_HEX(bytes, sizeof(bytes),
                "00000003 00000066 0000000000000001 0000000000000200 b0b1b2b3b4b5b6b7b8b9babbbcbdbebf "
                "0000000000000003");
        ASSERT_NEEDS(bytes, IVBS_JOB_REPLY_SIZE, ivbs_job_reply_decode(data, n, &decoded_job));
        ASSERT_EQ(decoded_job.status, 102U);
        ASSERT_EQ(decoded_job.total, 0x200U);
        ASSERT_EQ(decoded_job.elapsed_usec, 3U);
        bytes[3] = 77;
        ASSERT_OK(ivbs_job_reply_decode(bytes, sizeof(bytes), &decoded_job));
        ASSERT_EQ(decoded_job.state, (uint32_t) IVBS_JOB_FAILED);

        fill(change.job, 0xa0);
        fill(change.uuid, 0xb0);
        ivbs_change_reply_encode(&change, change_bytes);
        ASSERT_HEX(change_bytes, sizeof(change_bytes),
                "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf b0b1b2b3b4b5b6b7b8b9babbbcbdbebf");
        ASSERT_NEEDS(change_bytes, IVBS_CHANGE_REPLY_SIZE, ivbs_change_reply_decode(data, n, &decoded_change));
        ASSERT_MEMEQ(decoded_change.uuid, change.uuid, IVBS_UUID_SIZE);
}

static void lists(void) {
        struct ivbs_listed_snapshot one = { .size = 512, .used = 16, .created_usec = 9, .flags = 1, .name = "ab" },
                                    decoded;
        struct ivbs_list_snapshots list = { .limit = 2, .name = "vm" }, decoded_list;
        uint8_t bytes[8 + 2 * IVBS_LISTED_SNAPSHOT_SIZE_MAX], list_bytes[IVBS_LIST_SNAPSHOTS_SIZE];
        size_t end, at;

        ASSERT_OK(ivbs_list_snapshots_encode(&list, list_bytes));
        ASSERT_NEEDS(list_bytes, IVBS_LIST_SNAPSHOTS_SIZE, ivbs_list_snapshots_decode(data, n, &decoded_list));
        ASSERT_STREQ(decoded_list.after, "");
        for (unsigned limit = 0; limit < 300; limit += 257) {
                list.limit = limit;
                ASSERT_OK(ivbs_list_snapshots_encode(&list, list_bytes));
                ASSERT_ERROR(ivbs_list_snapshots_decode(list_bytes, sizeof(list_bytes), &decoded_list), EBADMSG);
        }

        fill(one.uuid, 0xa0);
        end = ivbs_listed_snapshot_encode(&one, bytes);
        ASSERT_HEX(bytes, end,
                "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 0000000000000200 0000000000000010 0000000000000009 00000001 0002 "
                "0000 6162");
        for (size_t cut = 0; cut < end; cut++) {
                at = 0;
                ASSERT_ERROR(ivbs_listed_snapshot_decode(guarded_copy(bytes, cut), cut, &at, &decoded), EBADMSG);
                ASSERT_EQ(at, 0U);
        }
        at = 0;
        ASSERT_OK(ivbs_listed_snapshot_decode(guarded_copy(bytes, end), end, &at, &decoded));
        ASSERT_EQ(at, end);
        ASSERT_STREQ(decoded.name, "ab");
        ASSERT_EQ(decoded.created_usec, 9U);
        bytes[48] = '/';
        at = 0;
        ASSERT_ERROR(ivbs_listed_snapshot_decode(bytes, end, &at, &decoded), EBADMSG);
        at = SIZE_MAX;
        ASSERT_ERROR(ivbs_listed_snapshot_decode(bytes, end, &at, &decoded), EBADMSG);
}

static void names(void) {
        char name[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE], longest[300];

        ASSERT_OK(ivbs_snapshot_name_split("vm", name, snapshot));
        ASSERT_STREQ(name, "vm");
        ASSERT_STREQ(snapshot, "");
        ASSERT_OK(ivbs_snapshot_name_split("vm@s", name, snapshot));
        ASSERT_STREQ(name, "vm");
        ASSERT_STREQ(snapshot, "s");
        ASSERT_OK(ivbs_snapshot_name_split("old@name@s", name, snapshot));
        ASSERT_STREQ(name, "old@name");
        ASSERT_STREQ(snapshot, "s");
        ASSERT_ERROR(ivbs_snapshot_name_split("", name, snapshot), EINVAL);
        ASSERT_ERROR(ivbs_snapshot_name_split("@", name, snapshot), EINVAL);
        ASSERT_ERROR(ivbs_snapshot_name_split("vm@", name, snapshot), EINVAL);
        ASSERT_ERROR(ivbs_snapshot_name_split("@s", name, snapshot), EINVAL);
        ASSERT_ERROR(ivbs_snapshot_name_split("vm@.s", name, snapshot), EINVAL);
        ASSERT_ERROR(ivbs_snapshot_name_split("vm@a/b", name, snapshot), EINVAL);

        ASSERT_TRUE(ivbs_new_name_is_valid("vm"));
        ASSERT_FALSE(ivbs_new_name_is_valid("vm@s"));
        ASSERT_FALSE(ivbs_new_name_is_valid(""));
        memset(longest, 'x', sizeof(longest));
        longest[252] = 0;
        ASSERT_TRUE(ivbs_snapshot_name_fits(longest, "ab"));
        ASSERT_FALSE(ivbs_snapshot_name_fits(longest, "abc"));
}

TEST_MAIN(TEST(image_change), TEST(replies), TEST(lists), TEST(names));
