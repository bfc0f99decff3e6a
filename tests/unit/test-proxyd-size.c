/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images of the file store grow and shrink; and what is found after a crash at any step of that. */

#include <fcntl.h>
#include <sys/wait.h>

#include "proxyd-steps.h"
#include "proxyd-store.h"

#define SMALL 65536U
#define LARGE 262144U

static struct store_size size_of(struct store_image *image) {
        struct store_size size;

        image->store->ops->get_size(image, &size);
        return size;
}

static uint64_t length_of(struct store_image *image) {
        struct stat st;

        ASSERT_OK(fstat(FILE_IMAGE(image)->data_fd, &st));
        return (uint64_t) st.st_size;
}

static int allow(const struct lease *lease, uint64_t old_size, uint64_t new_size, void *userdata) {
        return 0;
}

static int forbid(const struct lease *lease, uint64_t old_size, uint64_t new_size, void *userdata) {
        return 7;
}

static int resize(struct store_image *image, uint64_t size) {
        struct lease lease;

        return image->store->ops->resize(image, size, allow, NULL, &lease);
}

static void grows_and_shrinks(void) {
        char *path = make_directory(), byte = 'x';
        struct store *store = open_store(path), *other = open_store(path);
        struct store_image *image, *same;
        struct lease lease;
        sd_id128_t uuid;

        ASSERT_OK(store->ops->create(store, "x", SMALL, false, &uuid));
        ASSERT_OK(store->ops->open_image(store, "x", &image));
        ASSERT_OK(other->ops->open_image(other, "x", &same));

        ASSERT_EQ(resize(image, LARGE), 0);
        ASSERT_EQ(size_of(image).bytes, LARGE);
        ASSERT_EQ(size_of(image).epoch, 1U);
        ASSERT_EQ(length_of(image), LARGE);
        /* Nothing to do. */
        ASSERT_EQ(resize(image, LARGE), 0);
        ASSERT_EQ(size_of(image).epoch, 1U);
        /* Refused. */
        ASSERT_EQ(store->ops->resize(image, SMALL, forbid, NULL, &lease), 7);
        ASSERT_EQ(size_of(image).bytes, LARGE);
        ASSERT_ERROR(resize(image, INT64_MAX - 511), EFBIG);
        ASSERT_EQ(size_of(image).bytes, LARGE);
        ASSERT_EQ(length_of(image), LARGE);

        /* Another proxy knows it when it reads the record. */
        ASSERT_EQ(size_of(same).bytes, SMALL);
        ASSERT_EQ(other->ops->change_lease(same, NULL, NULL, &lease), 0);
        ASSERT_EQ(size_of(same).bytes, LARGE);
        ASSERT_EQ(size_of(same).epoch, 1U);

        ASSERT_EQ(pwrite(FILE_IMAGE(image)->data_fd, &byte, 1, SMALL), 1);
        ASSERT_EQ(resize(same, SMALL), 0);
        ASSERT_EQ(length_of(image), SMALL);
        ASSERT_EQ(resize(image, LARGE), 0);
        ASSERT_EQ(size_of(image).epoch, 3U);
        /* What was cut off does not come back. */
        ASSERT_EQ(pread(FILE_IMAGE(image)->data_fd, &byte, 1, SMALL), 1);
        ASSERT_EQ(byte, 0);

        store->ops->close_image(image);
        other->ops->close_image(same);
        ASSERT_OK(other->ops->open_image(other, "x", &same));
        ASSERT_EQ(size_of(same).bytes, LARGE);
        ASSERT_EQ(size_of(same).epoch, 3U);
        other->ops->close_image(same);
        other->ops->close(other);
        store->ops->close(store);
        remove_directory(path);
}

/* --- crashes --- */

/* Returns whether it ended before the step. */
static bool resize_and_die(const char *path, unsigned step, uint64_t size) {
        int status;
        pid_t pid = fork();

        ASSERT_OK(pid);
        if (pid == 0) {
                struct store *store = open_store(path);
                struct store_image *image;

                if (store->ops->open_image(store, "x", &image) < 0)
                        _exit(3);
                die_at(step);
                _exit(resize(image, size) < 0 ? 2 : 1);
        }
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_TRUE(WEXITSTATUS(status) < 2);
        return WEXITSTATUS(status) == 1;
}

/* From one size to another, cut short at every step: the old size or the new one, and the bytes that both have in common are there; and growing after it shows zeroes. */
static void crash(uint64_t from, uint64_t to) {
        unsigned n_old = 0, n_new = 0;
        bool ended = false;

        for (unsigned step = 1; !ended; step++) {
                char *path = make_directory(), first = 'a', last = 'z', found[2];
                struct store *store = open_store(path);
                struct store_image *image;
                sd_id128_t uuid;

                ASSERT_OK(store->ops->create(store, "x", from, false, &uuid));
                ASSERT_OK(store->ops->open_image(store, "x", &image));
                ASSERT_EQ(pwrite(FILE_IMAGE(image)->data_fd, &first, 1, SMALL - 1), 1);
                ASSERT_EQ(pwrite(FILE_IMAGE(image)->data_fd, &last, 1, (off_t) from - 1), 1);
                store->ops->close_image(image);

                ended = resize_and_die(path, step, to);

                ASSERT_OK(store->ops->open_image(store, "x", &image));
                if (size_of(image).epoch == 0) {
                        n_old++;
                        ASSERT_FALSE(ended);
                        ASSERT_EQ(size_of(image).bytes, from);
                } else {
                        n_new++;
                        ASSERT_EQ(size_of(image).epoch, 1U);
                        ASSERT_EQ(size_of(image).bytes, to);
                }
                ASSERT_TRUE(length_of(image) >= size_of(image).bytes);

                if (size_of(image).bytes == SMALL) {
                        ASSERT_EQ(resize(image, LARGE), 0);
                        ASSERT_EQ(pread(FILE_IMAGE(image)->data_fd, &found[1], 1, LARGE - 1), 1);
                        ASSERT_EQ(found[1], 0);
                }
                ASSERT_EQ(pread(FILE_IMAGE(image)->data_fd, &found[0], 1, SMALL - 1), 1);
                ASSERT_EQ(found[0], from == SMALL ? 'z' : 'a');

                store->ops->close_image(image);
                store->ops->close(store);
                remove_directory(path);
        }
        ASSERT_TRUE(n_old > 2 && n_new > 1);
}

static void crash_while_growing(void) {
        crash(SMALL, LARGE);
}

static void crash_while_shrinking(void) {
        crash(LARGE, SMALL);
}

TEST_MAIN(TEST(grows_and_shrinks), TEST(crash_while_growing), TEST(crash_while_shrinking));
