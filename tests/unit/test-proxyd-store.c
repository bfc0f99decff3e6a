/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file store's images as things: made, listed, removed, leased; and what is found after a crash at any step of that. */

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "proxyd-steps.h"
#include "proxyd-store.h"

static void create_and_open(void) {
        char *path = make_directory();
        struct store *store = open_store(path);
        struct store_image *image;
        struct store_size size;
        sd_id128_t uuid;

        ASSERT_ERROR(store->ops->open_image(store, "one", &image), ENOENT);
        ASSERT_OK(store->ops->create(store, "one", 1 << 20, false, &uuid));
        ASSERT_ERROR(store->ops->create(store, "one", 1 << 20, false, &uuid), EEXIST);
        ASSERT_OK(store->ops->open_image(store, "one", &image));
        store->ops->get_size(image, &size);
        ASSERT_EQ(size.bytes, 1U << 20);
        ASSERT_EQ(size.epoch, 0U);
        ASSERT_TRUE(sd_id128_equal(image->uuid, uuid));
        ASSERT_EQ(image->block_size, 4096U);
        store->ops->close_image(image);
        ASSERT_EQ(count_images(store), 1U);

        ASSERT_ERROR(
                store->ops->remove(store, "one", SD_ID128_MAKE(1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f, 1), false),
                ENOENT);
        ASSERT_OK(store->ops->remove(store, "one", uuid, false));
        ASSERT_ERROR(store->ops->remove(store, "one", uuid, false), ENOENT);
        ASSERT_EQ(count_images(store), 0U);

        store->ops->close(store);
        remove_directory(path);
}

static void longest_name(void) {
        char *path = make_directory(), name[256];
        struct store *store = open_store(path);
        struct store_image *image;
        sd_id128_t uuid;

        memset(name, 'n', 255);
        name[255] = 0;
        ASSERT_OK(store->ops->create(store, name, 4096, false, &uuid));
        ASSERT_OK(store->ops->open_image(store, name, &image));
        store->ops->close_image(image);
        ASSERT_OK(store->ops->remove(store, name, SD_ID128_NULL, false));

        store->ops->close(store);
        remove_directory(path);
}

static bool not_b(const char *name, void *userdata) {
        return strcmp(name, "b") != 0;
}

static void pages(void) {
        static const char *const names[] = { "c", "a", "e", "b", "d" };
        char *path = make_directory();
        struct store *store = open_store(path);
        struct store_listed *listed;
        sd_id128_t uuid;
        bool more;
        size_t n;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                ASSERT_OK(store->ops->create(store, names[i], 4096, false, &uuid));

        ASSERT_OK(store->ops->list(store, NULL, NULL, NULL, 2, &listed, &n, &more));
        ASSERT_EQ(n, 2U);
        ASSERT_TRUE(more);
        ASSERT_STREQ(listed[0].name, "a");
        ASSERT_STREQ(listed[1].name, "b");
        free(listed);
        ASSERT_OK(store->ops->list(store, "b", NULL, NULL, 3, &listed, &n, &more));
        ASSERT_EQ(n, 3U);
        ASSERT_FALSE(more);
        ASSERT_STREQ(listed[0].name, "c");
        free(listed);
        ASSERT_OK(store->ops->list(store, NULL, not_b, NULL, 2, &listed, &n, &more));
        ASSERT_STREQ(listed[1].name, "c");
        free(listed);
        ASSERT_OK(store->ops->list(store, "e", NULL, NULL, 2, &listed, &n, &more));
        ASSERT_EQ(n, 0U);
        ASSERT_FALSE(more);
        free(listed);

        store->ops->close(store);
        remove_directory(path);
}

static int take(struct lease *lease, void *userdata) {
        static const uint8_t token[LEASE_TOKEN_SIZE] = "token";

        return lease_take(lease, &(const struct lease_holder){ .machine_id = "m", .host = "h" }, false, token);
}

static int refuse(struct lease *lease, void *userdata) {
        lease->generation = 99;
        return LEASE_HELD;
}

static void leases(void) {
        char *path = make_directory();
        struct store *store = open_store(path), *other;
        struct store_image *image, *same, *fresh;
        struct lease lease;
        sd_id128_t uuid;

        ASSERT_OK(store->ops->create(store, "leased", 4096, false, &uuid));
        ASSERT_OK(store->ops->open_image(store, "leased", &image));
        ASSERT_EQ(store->ops->change_lease(image, NULL, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 0U);
        ASSERT_EQ(store->ops->change_lease(image, take, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 1U);
        /* An outcome that is no change is not stored. */
        ASSERT_EQ(store->ops->change_lease(image, refuse, NULL, &lease), LEASE_HELD);
        ASSERT_ERROR(store->ops->remove(store, "leased", SD_ID128_NULL, false), EBUSY);

        /* Another proxy on the same store. */
        other = open_store(path);
        ASSERT_OK(other->ops->open_image(other, "leased", &same));
        ASSERT_EQ(other->ops->change_lease(same, NULL, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 1U);
        ASSERT_TRUE(lease.live);
        ASSERT_EQ(other->ops->change_lease(same, take, NULL, &lease), 0);
        ASSERT_EQ(store->ops->change_lease(image, NULL, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 2U);

        /* The name goes to another image: the open ones are stale. */
        {
                _cleanup_free_ char *from = NULL, *to = NULL;

                ASSERT_TRUE(
                        asprintf(&from, "%s/images/leased", path) > 0 && asprintf(&to, "%s/images/moved", path) > 0);
                ASSERT_OK(rename(from, to));
        }
        ASSERT_ERROR(store->ops->change_lease(image, take, NULL, &lease), ESTALE);
        ASSERT_OK(store->ops->create(store, "leased", 8192, false, &uuid));
        ASSERT_ERROR(store->ops->change_lease(image, take, NULL, &lease), ESTALE);
        ASSERT_OK(store->ops->open_image(store, "leased", &fresh));
        ASSERT_EQ(store->ops->change_lease(fresh, take, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 1U);

        store->ops->close_image(fresh);
        store->ops->close_image(image);
        other->ops->close_image(same);
        other->ops->close(other);
        store->ops->close(store);
        remove_directory(path);
}

/* --- crashes --- */

static void check_no_leftovers(const char *path) {
        _cleanup_free_ char *images = NULL;
        struct dirent *entry;
        DIR *directory;

        ASSERT_TRUE(asprintf(&images, "%s/images", path) > 0);
        directory = opendir(images);
        ASSERT_TRUE(directory);
        while ((entry = readdir(directory)))
                ASSERT_TRUE(entry->d_name[0] != '.' || strcmp(entry->d_name, ".") == 0 ||
                            strcmp(entry->d_name, "..") == 0);
        closedir(directory);
}

/* An image is there, whole, or it is not, and can be made again. Returns which. */
static bool check_image(const char *path) {
        struct store *store = open_store(path);
        struct store_image *image;
        struct store_size size;
        struct lease lease;
        int r;

        check_no_leftovers(path);
        r = store->ops->open_image(store, "x", &image);
        if (r >= 0) {
                store->ops->get_size(image, &size);
                ASSERT_EQ(size.bytes, 65536U);
                ASSERT_EQ(store->ops->change_lease(image, NULL, NULL, &lease), 0);
                store->ops->close_image(image);
                ASSERT_EQ(count_images(store), 1U);
        } else {
                ASSERT_EQ(r, -ENOENT);
                ASSERT_EQ(count_images(store), 0U);
        }
        store->ops->close(store);
        return r >= 0;
}

static int create(struct store *store) {
        sd_id128_t uuid;

        return store->ops->create(store, "x", 65536, false, &uuid);
}

static int delete (struct store *store) {
        return store->ops->remove(store, "x", SD_ID128_NULL, false);
}

/* Runs it in a process that dies at the given step. Returns whether it ended before. */
static bool run_and_die(const char *path, unsigned step, int (*run)(struct store *store)) {
        int status;
        pid_t pid = fork();

        ASSERT_OK(pid);
        if (pid == 0) {
                struct store *store = open_store(path);

                die_at(step);
                _exit(run(store) < 0 ? 2 : 1);
        }
        ASSERT_EQ(waitpid(pid, &status, 0), pid);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_TRUE(WEXITSTATUS(status) < 2);
        return WEXITSTATUS(status) == 1;
}

static void crash_while_creating(void) {
        unsigned n_there = 0, n_absent = 0, step;

        for (step = 1;; step++) {
                char *path = make_directory();
                bool ended = run_and_die(path, step, create), there = check_image(path);

                there ? n_there++ : n_absent++;
                if (!there) {
                        struct store *store = open_store(path);

                        ASSERT_OK(create(store));
                        store->ops->close(store);
                }
                ASSERT_TRUE(there || !ended);
                remove_directory(path);
                if (ended)
                        break;
        }
        ASSERT_TRUE(n_absent >= 8);
        ASSERT_TRUE(n_there >= 2);
}

static void crash_while_removing(void) {
        unsigned n_there = 0, n_absent = 0, step;

        for (step = 1;; step++) {
                char *path = make_directory();
                struct store *store = open_store(path);
                bool ended, there;

                ASSERT_OK(create(store));
                store->ops->close(store);
                ended = run_and_die(path, step, delete);
                there = check_image(path);
                there ? n_there++ : n_absent++;
                remove_directory(path);
                if (ended)
                        break;
        }
        /* The name goes first: nothing is ever half removed. */
        ASSERT_EQ(n_there, 0U);
        ASSERT_TRUE(n_absent >= 3);
}

static int make_store(struct store *store) {
        return 0;
}

static void crash_while_making_the_store(void) {
        for (unsigned step = 1;; step++) {
                char *path = make_directory();
                pid_t pid = fork();
                struct store *store;
                int status;

                ASSERT_OK(pid);
                if (pid == 0) {
                        die_at(step);
                        _exit(make_store(open_store(path)) < 0 ? 2 : 1);
                }
                ASSERT_EQ(waitpid(pid, &status, 0), pid);
                store = open_store(path);
                ASSERT_OK(create(store));
                store->ops->close(store);
                remove_directory(path);
                if (WEXITSTATUS(status) == 1)
                        break;
        }
}

TEST_MAIN(TEST(create_and_open), TEST(longest_name), TEST(pages), TEST(leases), TEST(crash_while_creating),
        TEST(crash_while_removing), TEST(crash_while_making_the_store));
