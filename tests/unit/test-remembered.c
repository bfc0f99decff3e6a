/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a restarted supervisor still knows of an image: all of it, or nothing. */

#include "remembered.h"
#include "scratch.h"

static void save_text(const char *text) {
        FILE *file = fopen(scratch_path("remembered/vm1.json"), "we");

        ASSERT_TRUE(file && fputs(text, file) >= 0);
        ASSERT_EQ(fclose(file), 0);
}

static void check(uint32_t owner, bool pending) {
        struct remembered found = { .owner_uid = 4711, .detach_pending = !pending };

        remembered_load("vm1", &found);
        ASSERT_EQ(found.owner_uid, owner);
        ASSERT_EQ(found.detach_pending, pending);
}

static void kept(void) {
        scratch_make();
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch, 1));
        check(0, false);
        ASSERT_OK(remembered_save("vm1", &(struct remembered){ .owner_uid = 4294967294U, .detach_pending = true }));
        check(4294967294U, true);
        ASSERT_OK(remembered_save("vm1", &(struct remembered){ .detach_pending = true }));
        check(0, true);
        ASSERT_OK(remembered_save("vm1", &(struct remembered){ .owner_uid = 1000 }));
        check(1000, false);
        ASSERT_OK(remembered_save("vm1", &(struct remembered){}));
        ASSERT_TRUE(access(scratch_path("remembered/vm1.json"), F_OK) < 0);
        scratch_remove();
}

/* Nobody owns what a broken file says. */
static void broken(void) {
        static const char *const texts[] = { "", "[]", "{", "{\"owner\": \"1000\"}", "{\"owner\": -1}",
                "{\"owner\": 4294967295}", "{\"owner\": 99999999999}", "{\"detach-pending\": 1}" };

        scratch_make();
        ASSERT_OK(setenv("BLOCKSTORE_RUNTIME_DIRECTORY", scratch, 1));
        ASSERT_OK(remembered_save("vm1", &(struct remembered){ .owner_uid = 1000 }));
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                save_text(texts[i]);
                check(0, false);
        }
        scratch_remove();
}

TEST_MAIN(TEST(kept), TEST(broken));
