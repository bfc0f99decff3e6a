/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One image, one name on this host. */

#include "one-name.h"
#include "scratch.h"

static struct proxy_address ab[] = { { .address = (char *) "a:1" }, { .address = (char *) "b:2" } };
static struct proxy_address ba[] = { { .address = (char *) "b:2" }, { .address = (char *) "a:1" } };
static struct proxy_address c[] = { { .address = (char *) "c:3" } };

static void claims(void) {
        struct host_config config = { .proxies = ab, .n_proxies = 2 };
        struct host_config same = { .proxies = ba, .n_proxies = 2 };
        struct host_config elsewhere = { .proxies = c, .n_proxies = 1 };
        char other[IMAGE_LOCAL_NAME_MAX + 1] = "";
        int first, second, third;

        scratch_make();
        ASSERT_EQ(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch, 1), 0);
        ASSERT_ERROR(one_name_claim(&config, "data", "data", other, sizeof(other)), ENOENT);
        scratch_file("claims/.keep", "");

        first = (int) ASSERT_OK(one_name_claim(&config, "data", "a-long-name", other, sizeof(other)));
        ASSERT_ERROR(one_name_claim(&same, "data", "twin", other, sizeof(other)), EBUSY);
        ASSERT_STREQ(other, "a-long-name");
        second = (int) ASSERT_OK(one_name_claim(&config, "other", "twin", other, sizeof(other)));
        third = (int) ASSERT_OK(one_name_claim(&elsewhere, "data", "third", other, sizeof(other)));

        /* It ends with the descriptor. */
        safe_close(first);
        first = (int) ASSERT_OK(one_name_claim(&same, "data", "twin", other, sizeof(other)));
        ASSERT_ERROR(one_name_claim(&config, "data", "data", other, sizeof(other)), EBUSY);
        ASSERT_STREQ(other, "twin");
        safe_close(first);
        safe_close(second);
        safe_close(third);
        scratch_remove();
}

TEST_MAIN(TEST(claims));
