/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "cleanup.h"
#include "query-sources.h"
#include "scratch.h"
#include "test.h"

static struct query_sources look(void) {
        struct query_sources sources;

        query_sources_look(scratch, &sources);
        return sources;
}

/* Something was done since, and one look later nothing more was. */
static void expect_changed(struct query_sources *last, const char *what) {
        struct query_sources now = look(), again = look();

        if (query_sources_equal(last, &now))
                TEST_FAIL("not noticed: %s", what);
        ASSERT_TRUE(query_sources_equal(&now, &again));
        *last = now;
}

static void each_change_is_noticed(void) {
        static const char *const files[] = {
                "configuration/blockstore.json",
                "etc/credstore/blockstore.default",
                "run/credstore/blockstore.default",
                "usr/lib/credstore.encrypted/blockstore.default",
        };
        struct query_sources last, now;

        scratch_make();
        ASSERT_EQ(setenv("BLOCKSTORE_CONFIG_DIRECTORY", scratch_path("configuration"), 1), 0);
        last = look();
        now = look();
        ASSERT_TRUE(query_sources_equal(&last, &now)); /* of nothing at all */

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000000000, .tv_nsec = 1 } };
                _cleanup_free_ char *path = strdup(scratch_path(files[i])), *other = strdup(scratch_path("new"));

                ASSERT_TRUE(path && other);
                scratch_file(files[i], "one");
                expect_changed(&last, "it is there");
                scratch_file(files[i], "another");
                expect_changed(&last, "its length");
                ASSERT_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
                expect_changed(&last, "its time");
                times[1].tv_nsec++;
                ASSERT_EQ(utimensat(AT_FDCWD, path, times, 0), 0);
                expect_changed(&last, "its time, by a nanosecond");

                /* Another file in its place, as long and of the same time. */
                scratch_file("new", "another");
                ASSERT_EQ(utimensat(AT_FDCWD, other, times, 0), 0);
                ASSERT_EQ(rename(other, path), 0);
                expect_changed(&last, "it was replaced");
                ASSERT_EQ(unlink(path), 0);
                expect_changed(&last, "it is gone");
        }
        scratch_remove();
        ASSERT_EQ(unsetenv("BLOCKSTORE_CONFIG_DIRECTORY"), 0);
}

/* What is no source of a query worker does not stop one. */
static void others_do_not_matter(void) {
        struct query_sources last, now;

        scratch_make();
        ASSERT_EQ(setenv("BLOCKSTORE_CONFIG_DIRECTORY", scratch_path("configuration"), 1), 0);
        scratch_file("configuration/blockstore.json", "{}");
        last = look();
        scratch_file("configuration/images.d/vm1.json", "{}");
        scratch_file("etc/credstore/blockstore.vm1", "secret");
        scratch_file("etc/credstore/nginx.key", "secret");
        now = look();
        ASSERT_TRUE(query_sources_equal(&last, &now));
        scratch_remove();
        ASSERT_EQ(unsetenv("BLOCKSTORE_CONFIG_DIRECTORY"), 0);
}

TEST_MAIN(TEST(each_change_is_noticed), TEST(others_do_not_matter));
