/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel shows of NBD devices, read from a made-up /sys. */

#include "device-sysfs.h"
#include "scratch.h"

#define UUID_1 "6e6b5a2e-2a53-4b0e-9d0b-3d3e1a3c9a11"
#define UUID_2 "00000000-1111-2222-3333-aaaaAAAA4444"

static void identities(void) {
        static const char *const wrong[] = {
                "",
                "/",
                "vm1",
                "vm1/",
                "/" UUID_1,
                "vm1/" UUID_1 "0",
                "vm1/x" UUID_1,
                "../" UUID_1,
                "a b/" UUID_1,
                "vm1/" UUID_1 "/x",
                "-vm1/" UUID_1,
                "vm1/6e6b5a2e02a53-4b0e-9d0b-3d3e1a3c9a11",
        };
        _cleanup_free_ char *name = NULL, *uuid = NULL;

        ASSERT_OK(device_identity_parse("vm1/" UUID_1, &name, &uuid));
        ASSERT_STREQ(name, "vm1");
        ASSERT_STREQ(uuid, UUID_1);
        ASSERT_TRUE(device_uuid_is_valid(UUID_2));

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char *a = (char *) "untouched", *b = a;

                ASSERT_ERROR(device_identity_parse(wrong[i], &a, &b), EINVAL);
                ASSERT_STREQ(a, "untouched");
                ASSERT_STREQ(b, "untouched");
        }
}

static void listing(void) {
        struct device_found *found;
        uint64_t size;
        bool read_only;
        size_t n;

        scratch_make();
        ASSERT_OK(device_sysfs_list(scratch, &found, &n));
        ASSERT_EQ(n, 0U);
        device_found_free_many(found, n);

        scratch_file("block/nbd0/size", "0\n"); /* not connected */
        scratch_file("block/nbd12/backend", "b.2/" UUID_2 "\n");
        scratch_file("block/nbd12/size", "2048\n");
        scratch_file("block/nbd12/ro", "1\n");
        scratch_file("block/nbd2/backend", "a/" UUID_1 "\n");
        scratch_file("block/nbd2/size", "nonsense\n");
        scratch_file("block/nbd3/backend", "of somebody else\n");
        scratch_file("block/nbdx/backend", "c/" UUID_1 "\n");
        scratch_file("block/sda/backend", "d/" UUID_1 "\n");

        ASSERT_OK(device_sysfs_list(scratch, &found, &n));
        ASSERT_EQ(n, 2U);
        ASSERT_EQ(found[0].index, 2U);
        ASSERT_STREQ(found[0].name, "a");
        ASSERT_EQ(found[1].index, 12U);
        ASSERT_STREQ(found[1].uuid, UUID_2);
        device_found_free_many(found, n);

        ASSERT_OK(device_sysfs_size(scratch, 12, &size));
        ASSERT_EQ(size, 1048576U);
        ASSERT_OK(device_sysfs_read_only(scratch, 12, &read_only));
        ASSERT_TRUE(read_only);
        ASSERT_ERROR(device_sysfs_size(scratch, 2, &size), EBADMSG);
        ASSERT_ERROR(device_sysfs_size(scratch, 7, &size), ENOENT);
        scratch_remove();
}

TEST_MAIN(TEST(identities), TEST(listing));
