/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is kept of an import, and what an image is called meanwhile. */

#include "scratch.h"
#include "test.h"
#include "transfer-record.h"
#include "transfer.h"

static void keep(void) {
        static const struct transfer_record written = {
                .uuid = "01234567-89ab-cdef-0123-456789abcdef",
                .format = "qcow2",
                .size = UINT64_C(5) << 40,
                .done = UINT64_C(3) << 40,
                .file_size = 12345,
                .changed_usec = INT64_C(1700000000123456),
        };
        struct transfer_record read = {}, later = written;

        scratch_make();
        ASSERT_EQ(setenv("BLOCKSTORE_STATE_DIRECTORY", scratch, 1), 0);
        ASSERT_ERROR(transfer_record_read("a", &read), ENOENT);
        ASSERT_OK(transfer_record_write("a", &written));
        ASSERT_OK(transfer_record_read("a", &read));
        ASSERT_STREQ(read.uuid, written.uuid);
        ASSERT_STREQ(read.format, written.format);
        ASSERT_EQ(read.size, written.size);
        ASSERT_EQ(read.done, written.done);
        ASSERT_EQ(read.file_size, written.file_size);
        ASSERT_EQ(read.changed_usec, written.changed_usec);

        later.done = later.size;
        ASSERT_OK(transfer_record_write("a", &later));
        ASSERT_OK(transfer_record_read("a", &read));
        ASSERT_EQ(read.done, later.size);
        ASSERT_OK(transfer_record_remove("a"));
        ASSERT_OK(transfer_record_remove("a"));
        ASSERT_ERROR(transfer_record_read("a", &read), ENOENT);
        scratch_remove();
}

static void damaged(void) {
        static const char *const texts[] = {
                "",
                "[]",
                "{\"uuid\": \"x\"}",
                "{\"uuid\": \"x\", \"format\": \"raw\", \"size\": 5, \"done\": 6, \"file-size\": 5, \"file-changed\": "
                "1}",
                "{\"uuid\": \"x\", \"format\": \"raw\", \"size\": \"5\", \"done\": 5, \"file-size\": 5, "
                "\"file-changed\": 1}",
                "{\"uuid\": \"0123456789012345678901234567890123456789\", \"format\": \"raw\", \"size\": 5, \"done\": "
                "5, \"file-size\": 5, "
                "\"file-changed\": 1}",
        };
        struct transfer_record read = { .size = 77 };

        scratch_make();
        ASSERT_EQ(setenv("BLOCKSTORE_STATE_DIRECTORY", scratch, 1), 0);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                scratch_file("b.json", texts[i]);
                ASSERT_ERROR(transfer_record_read("b", &read), EBADMSG);
                ASSERT_EQ(read.size, 77U);
        }
        scratch_remove();
}

static void names(void) {
        char a[TRANSFER_LOCAL_NAME_SIZE], b[TRANSFER_LOCAL_NAME_SIZE];

        transfer_local_name("vm1.import", a);
        transfer_local_name("vm2.import", b);
        ASSERT_TRUE(strcmp(a, b) != 0);
        transfer_local_name("vm1.import", b);
        ASSERT_STREQ(a, b);
        ASSERT_TRUE(transfer_is_local_name(a));
        ASSERT_FALSE(transfer_is_local_name("transfer-1"));
        ASSERT_FALSE(transfer_is_local_name("transfer-0123456789abcdeg"));
        ASSERT_FALSE(transfer_is_local_name("xransfer-0123456789abcdef"));
        ASSERT_FALSE(transfer_is_local_name("transfer-0123456789abcdef0"));
}

TEST_MAIN(TEST(keep), TEST(damaged), TEST(names));
