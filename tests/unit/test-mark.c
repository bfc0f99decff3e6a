/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "mark.h"
#include "scratch.h"
#include "test.h"

static const struct ivbs_identity none, some = {
        .boot_id = { 1, 2, 3 },
        .store_uuid = { 4, 5, 6 },
        .mount_instance = 7,
        .error_epoch = 8,
};

static struct mark *open_mark(bool found, const struct ivbs_identity *identity, bool dirty) {
        struct ivbs_identity got;
        bool got_found, got_dirty;
        struct mark *mark;

        ASSERT_OK(mark_open(&mark, scratch, &got_found, &got, &got_dirty));
        ASSERT_EQ(got_found, found);
        ASSERT_EQ(got_dirty, dirty);
        ASSERT_MEMEQ(&got, identity, sizeof(got));
        return mark;
}

static size_t read_file(uint8_t *ret, size_t n) {
        FILE *file = fopen(scratch_path("durability"), "re");
        size_t size;

        ASSERT_TRUE(file);
        size = fread(ret, 1, n, file);
        fclose(file);
        return size;
}

static void write_file(const uint8_t *bytes, size_t n) {
        FILE *file = fopen(scratch_path("durability"), "we");

        ASSERT_TRUE(file);
        ASSERT_EQ(fwrite(bytes, 1, n, file), n);
        ASSERT_TRUE(fclose(file) == 0);
}

static void comes_back(void) {
        struct ivbs_identity raised = some;
        struct mark *mark;

        scratch_make();
        mark = open_mark(false, &none, false);
        ASSERT_TRUE(access(scratch_path("durability"), F_OK) < 0); /* looking leaves nothing half-done */
        mark_close(mark);

        mark = open_mark(false, &none, false);
        ASSERT_OK(mark_set(mark, &some, false));
        mark_close(open_mark(true, &some, false)); /* a second one sees it at once, as a successor does */
        ASSERT_OK(mark_set(mark, &some, true));
        mark_close(open_mark(true, &some, true));
        raised.error_epoch++;
        ASSERT_OK(mark_set(mark, &raised, true));
        ASSERT_OK(mark_set(mark, &raised, false));
        mark_close(mark);

        mark = open_mark(true, &raised, false);
        ASSERT_OK(mark_set(mark, &some, true)); /* in the file that was found */
        mark_close(mark);
        mark_close(open_mark(true, &some, true));

        ASSERT_OK(mark_remove(scratch));
        ASSERT_OK(mark_remove(scratch));
        mark_close(open_mark(false, &none, false));
        scratch_remove();
}

/* Whatever is wrong with the file, it is not clean. */
static void damaged_is_dirty(void) {
        uint8_t good[128], bad[128];
        struct mark *mark;
        size_t n;

        scratch_make();
        mark = open_mark(false, &none, false);
        ASSERT_OK(mark_set(mark, &some, false));
        mark_close(mark);
        n = read_file(good, sizeof(good));
        ASSERT_EQ(n, 72U);

        for (size_t short_by = 1; short_by <= n; short_by++) {
                write_file(good, n - short_by);
                mark_close(open_mark(true, &none, true));
        }
        for (size_t bit = 0; bit < n * 8; bit++) {
                memcpy(bad, good, n);
                bad[bit / 8] ^= (uint8_t) (1U << bit % 8);
                write_file(bad, n);
                mark_close(open_mark(true, &none, true));
        }
        memcpy(bad, good, n);
        bad[n] = 0;
        write_file(bad, n + 1);
        mark_close(open_mark(true, &none, true));
        memset(bad, 0, sizeof(bad)); /* what a torn write may leave */
        write_file(bad, n);
        mark_close(open_mark(true, &none, true));

        /* The next mark replaces it. */
        mark = open_mark(true, &none, true);
        ASSERT_OK(mark_set(mark, &some, false));
        mark_close(mark);
        mark_close(open_mark(true, &some, false));

        /* A new file that was left over by a crash is no obstacle, and no mark. */
        ASSERT_OK(mark_remove(scratch));
        scratch_file("durability.new", "half");
        mark = open_mark(false, &none, false);
        ASSERT_OK(mark_set(mark, &some, true));
        mark_close(mark);
        mark_close(open_mark(true, &some, true));
        ASSERT_TRUE(access(scratch_path("durability.new"), F_OK) < 0);
        scratch_remove();
}

static void without_a_directory(void) {
        struct ivbs_identity identity = some;
        bool found = true, dirty = true;
        struct mark *mark;

        ASSERT_OK(mark_open(&mark, NULL, &found, &identity, &dirty));
        ASSERT_TRUE(!found && !dirty);
        ASSERT_MEMEQ(&identity, &none, sizeof(none));
        ASSERT_OK(mark_set(mark, &some, true));
        ASSERT_TRUE(mark_close(mark) == NULL);
        ASSERT_OK(mark_remove(NULL));

        ASSERT_TRUE(mark_close(NULL) == NULL);
        ASSERT_ERROR(mark_open(&mark, "/nonexistent/directory", &found, &identity, &dirty), ENOENT);
        ASSERT_OK(mark_remove("/nonexistent/directory"));
}

/* What is no file is not read, and a reader is not held up by it. */
static void not_a_file(void) {
        struct ivbs_identity identity;
        bool found, dirty;
        struct mark *mark;

        scratch_make();
        ASSERT_EQ(mkfifo(scratch_path("durability"), 0600), 0);
        ASSERT_ERROR(mark_open(&mark, scratch, &found, &identity, &dirty), EINVAL);
        ASSERT_EQ(unlink(scratch_path("durability")), 0);
        scratch_link("durability", "/etc/passwd");
        ASSERT_ERROR(mark_open(&mark, scratch, &found, &identity, &dirty), ELOOP);
        scratch_remove();
}

TEST_MAIN(TEST(comes_back), TEST(damaged_is_dirty), TEST(without_a_directory), TEST(not_a_file));
