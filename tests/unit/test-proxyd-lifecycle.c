/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file store's snapshots, clones, roll backs and renames: what they make, whom they refuse, and what is found after a crash at any of their steps. */

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "proxyd-steps.h"
#include "proxyd-store.h"

#define SIZE  (1U << 20)
#define PIECE 65536U

static uint64_t size_of(struct store_image *image) {
        struct store_size size;

        image->store->ops->get_size(image, &size);
        return size.bytes;
}

static void path_of(const char *store, const char *what, char ret[static 512]) {
        ASSERT_TRUE(snprintf(ret, 512, "%s/images/%s", store, what) < 512);
}

static void fill(const char *store, const char *what, off_t offset, char byte) {
        char path[512], data[4096];
        int fd;

        path_of(store, what, path);
        memset(data, byte, sizeof(data));
        fd = open(path, O_RDWR | O_CLOEXEC);
        ASSERT_OK(fd);
        ASSERT_EQ(pwrite(fd, data, sizeof(data), offset), (ssize_t) sizeof(data));
        close(fd);
}

/* The byte that fills a block; asserts that it is one. */
static char look(const char *store, const char *what, off_t offset) {
        char path[512], data[4096];
        int fd;

        path_of(store, what, path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ASSERT_OK(fd);
        ASSERT_EQ(pread(fd, data, sizeof(data), offset), (ssize_t) sizeof(data));
        close(fd);
        for (size_t i = 1; i < sizeof(data); i++)
                ASSERT_EQ(data[i], data[0]);
        return data[0];
}

static bool is_there(const char *store, const char *what) {
        char path[512];

        path_of(store, what, path);
        return access(path, F_OK) >= 0;
}

static struct store *make_image(const char *path) {
        struct store *store = open_store(path);
        sd_id128_t uuid;

        ASSERT_OK(store->ops->create(store, "x", SIZE, false, &uuid));
        fill(path, "x/data", 0, 'a');
        fill(path, "x/data", 5 * PIECE, 'b');
        return store;
}

static void snapshot_clone_roll_back(void) {
        struct store_listed_snapshot *listed;
        char *path = make_directory();
        struct store *store = make_image(path);
        struct store_image *image;
        struct lease lease;
        bool more;
        size_t n;

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s1", NULL));
        ASSERT_ERROR(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s1", NULL), EEXIST);
        fill(path, "x/data", 0, 'c');
        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s2", NULL));
        ASSERT_EQ(look(path, "x/snapshots/s1/data", 0), 'a');
        ASSERT_EQ(look(path, "x/snapshots/s1/data", 5 * PIECE), 'b');
        ASSERT_EQ(look(path, "x/snapshots/s1/data", PIECE), 0);
        ASSERT_EQ(look(path, "x/snapshots/s2/data", 0), 'c');

        ASSERT_OK(store->ops->list_snapshots(store, "x", NULL, 1, &listed, &n, &more));
        ASSERT_EQ(n, 1U);
        ASSERT_TRUE(more);
        ASSERT_STREQ(listed[0].name, "s1");
        ASSERT_EQ(listed[0].size, SIZE);
        ASSERT_FALSE(listed[0].open);
        free(listed);
        ASSERT_OK(store->ops->list_snapshots(store, "x", "s1", 5, &listed, &n, &more));
        ASSERT_EQ(n, 1U);
        ASSERT_FALSE(more);
        ASSERT_STREQ(listed[0].name, "s2");
        free(listed);
        ASSERT_ERROR(store->ops->list_snapshots(store, "y", NULL, 5, &listed, &n, &more), ENOENT);

        /* Holes stay holes. */
        {
                char data[512];
                struct stat st;

                path_of(path, "x/snapshots/s1/data", data);
                ASSERT_OK(stat(data, &st));
                ASSERT_EQ(st.st_size, SIZE);
                ASSERT_TRUE(st.st_blocks * 512 <= 4 * (long) PIECE);
        }

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_CLONE, "s1", "y"));
        ASSERT_ERROR(run_copy(store, PIECE, STORE_COPY_CLONE, "s1", "y"), EEXIST);
        ASSERT_ERROR(run_copy(store, PIECE, STORE_COPY_CLONE, "none", "z"), ENOENT);
        ASSERT_EQ(look(path, "y/data", 0), 'a');
        ASSERT_OK(store->ops->open_image(store, "y", &image));
        ASSERT_FALSE(image->read_only);
        ASSERT_EQ(store->ops->change_lease(image, NULL, NULL, &lease), 0);
        ASSERT_EQ(lease.generation, 0U);
        store->ops->close_image(image);

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_ROLL_BACK, "s1", NULL));
        ASSERT_EQ(look(path, "x/data", 0), 'a');
        ASSERT_ERROR(run_copy(store, PIECE, STORE_COPY_ROLL_BACK, "none", NULL), ENOENT);

        store->ops->close(store);
        remove_directory(path);
}

static void open_a_snapshot(void) {
        char *path = make_directory();
        struct store *store = make_image(path), *other = open_store(path);
        struct store_holder self = {}, found;
        struct store_image *image;
        struct lease lease;

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s", NULL));
        ASSERT_ERROR(store->ops->open_image(store, "x@none", &image), ENOENT);
        ASSERT_ERROR(store->ops->open_image(store, "none@s", &image), ENOENT);
        ASSERT_ERROR(store->ops->open_image(store, "x@", &image), ENOENT);
        ASSERT_ERROR(store->ops->open_image(store, "x@.", &image), ENOENT);
        ASSERT_OK(store->ops->open_image(store, "x@s", &image));
        ASSERT_TRUE(image->read_only);
        ASSERT_EQ(size_of(image), SIZE);
        ASSERT_EQ(store->ops->change_lease(image, NULL, NULL, &lease), 0);
        ASSERT_FALSE(lease.live);
        ASSERT_ERROR(store->ops->hold(image, &self, &found), EROFS);

        /* Seen by every proxy. */
        ASSERT_ERROR(other->ops->remove_snapshot(other, "x", "s", SD_ID128_NULL), EBUSY);
        ASSERT_ERROR(other->ops->remove(other, "x", SD_ID128_NULL, true), EBUSY);
        ASSERT_ERROR(other->ops->rename(other, "x", SD_ID128_NULL, "y"), EBUSY);
        /* Who reads a snapshot does not mind what the image becomes. */
        ASSERT_OK(run_copy(other, PIECE, STORE_COPY_ROLL_BACK, "s", NULL));
        store->ops->close_image(image);
        ASSERT_ERROR(other->ops->remove_snapshot(
                             other, "x", "s", SD_ID128_MAKE(1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f, 1)),
                ENOENT);
        ASSERT_ERROR(other->ops->remove(other, "x", SD_ID128_NULL, false), ENOTEMPTY);
        ASSERT_OK(other->ops->remove_snapshot(other, "x", "s", SD_ID128_NULL));
        ASSERT_ERROR(other->ops->remove_snapshot(other, "x", "s", SD_ID128_NULL), ENOENT);
        ASSERT_OK(other->ops->remove(other, "x", SD_ID128_NULL, false));

        other->ops->close(other);
        store->ops->close(store);
        remove_directory(path);
}

static void open_images_stay(void) {
        char *path = make_directory();
        struct store *store = make_image(path), *other = open_store(path);
        struct store_image *image;
        sd_id128_t uuid;

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s", NULL));
        ASSERT_OK(other->ops->create(other, "taken", SIZE, true, &uuid));
        ASSERT_OK(store->ops->open_image(store, "x", &image));
        ASSERT_ERROR(other->ops->rename(other, "x", SD_ID128_NULL, "y"), EBUSY);
        ASSERT_ERROR(other->ops->remove(other, "x", SD_ID128_NULL, true), EBUSY);
        ASSERT_ERROR(run_copy(other, PIECE, STORE_COPY_ROLL_BACK, "s", NULL), EBUSY);
        store->ops->close_image(image);

        ASSERT_ERROR(other->ops->rename(other, "x", SD_ID128_NULL, "taken"), EEXIST);
        ASSERT_OK(other->ops->rename(other, "x", SD_ID128_NULL, "y"));
        ASSERT_ERROR(store->ops->open_image(store, "x", &image), ENOENT);
        ASSERT_OK(store->ops->open_image(store, "y@s", &image));
        store->ops->close_image(image);
        ASSERT_OK(store->ops->remove(store, "y", SD_ID128_NULL, true));
        ASSERT_FALSE(is_there(path, "y"));

        other->ops->close(other);
        store->ops->close(store);
        remove_directory(path);
}

/* What one proxy is making another one's start does not sweep away, and what was given up leaves nothing. */
static void under_way(void) {
        static const struct store_copy_how hows[] = {
                { .kind = STORE_COPY_SNAPSHOT, .name = "x", .snapshot = "t" },
                { .kind = STORE_COPY_CLONE, .name = "x", .snapshot = "s", .new_name = "y" },
                { .kind = STORE_COPY_ROLL_BACK, .name = "x", .snapshot = "s" },
        };
        char *path = make_directory();
        struct store *store = make_image(path);

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s", NULL));
        for (size_t i = 0; i < ELEMENTSOF(hows); i++) {
                struct store_copy *copy, *given_up;
                struct store *other;
                uint64_t next;
                sd_id128_t uuid;

                ASSERT_OK(store->ops->copy_begin(store, hows + i, &copy));
                ASSERT_OK(store->ops->copy_begin(store, hows + i, &given_up));
                ASSERT_OK(store->ops->copy_piece(copy, 0, PIECE, &next));
                ASSERT_EQ(next, 5 * PIECE);
                ASSERT_OK(store->ops->copy_piece(copy, next, PIECE, &next));
                ASSERT_EQ(next, SIZE);
                store->ops->copy_free(given_up);
                other = open_store(path);
                /* The source is in use. */
                if (hows[i].kind != STORE_COPY_SNAPSHOT)
                        ASSERT_ERROR(other->ops->remove_snapshot(other, "x", "s", SD_ID128_NULL), EBUSY);
                other->ops->close(other);
                ASSERT_OK(store->ops->copy_sync(copy));
                ASSERT_OK(store->ops->copy_commit(copy, &uuid));
                store->ops->copy_free(copy);
        }
        ASSERT_EQ(look(path, "x/snapshots/t/data", 0), 'a');
        ASSERT_EQ(look(path, "y/data", 5 * PIECE), 'b');
        ASSERT_EQ(look(path, "x/data", 5 * PIECE), 'b');

        store->ops->close(store);
        remove_directory(path);
}

/* --- crashes --- */

static int make_snapshot(struct store *store) {
        return run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "t", NULL);
}

static int clone_snapshot(struct store *store) {
        return run_copy(store, PIECE, STORE_COPY_CLONE, "s", "y");
}

static int roll_back(struct store *store) {
        return run_copy(store, PIECE, STORE_COPY_ROLL_BACK, "s", NULL);
}

static int rename_image(struct store *store) {
        return store->ops->rename(store, "x", SD_ID128_NULL, "y");
}

static int remove_snapshot(struct store *store) {
        return store->ops->remove_snapshot(store, "x", "s", SD_ID128_NULL);
}

static int remove_with_snapshots(struct store *store) {
        return store->ops->remove(store, "x", SD_ID128_NULL, true);
}

static void check_no_hidden_names(const char *path, const char *what, bool records) {
        struct dirent *entry;
        DIR *directory;
        char full[512];

        path_of(path, what, full);
        directory = opendir(full);
        if (!directory) {
                ASSERT_EQ(errno, ENOENT);
                return;
        }
        while ((entry = readdir(directory)))
                if (entry->d_name[0] == '.' && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        ASSERT_TRUE(records && strcmp(entry->d_name, ".record.json.spare") == 0);
        closedir(directory);
}

/* Returns whether it has been done; asserts that it was done wholly or not at all, and that an image opens with the size that belongs to its data. */
static bool check_image_is(const char *path, struct store *store, const char *name, char wanted, uint64_t size) {
        struct store_image *image;
        char data[64];
        bool is;

        ASSERT_TRUE(snprintf(data, sizeof(data), "%s/data", name) < (int) sizeof(data));
        ASSERT_OK(store->ops->open_image(store, name, &image));
        is = look(path, data, 0) == wanted;
        if (is)
                ASSERT_EQ(size_of(image), size);
        store->ops->close_image(image);
        return is;
}

static bool snapshot_was_made(const char *path, struct store *store) {
        ASSERT_TRUE(check_image_is(path, store, "x", 'c', 2 * SIZE));
        if (!is_there(path, "x/snapshots/t"))
                return false;
        ASSERT_EQ(look(path, "x/snapshots/t/data", 0), 'c');
        ASSERT_EQ(look(path, "x/snapshots/t/data", 5 * PIECE), 'b');
        return true;
}

static bool clone_was_made(const char *path, struct store *store) {
        if (!is_there(path, "y"))
                return false;
        ASSERT_EQ(look(path, "y/data", 5 * PIECE), 'b');
        return check_image_is(path, store, "y", 'a', SIZE);
}

static bool was_rolled_back(const char *path, struct store *store) {
        if (check_image_is(path, store, "x", 'a', SIZE)) {
                ASSERT_EQ(look(path, "x/data", 5 * PIECE), 'b');
                return true;
        }
        ASSERT_TRUE(check_image_is(path, store, "x", 'c', 2 * SIZE));
        return false;
}

static bool was_renamed(const char *path, struct store *store) {
        ASSERT_TRUE(is_there(path, "x") != is_there(path, "y"));
        return is_there(path, "y") && check_image_is(path, store, "y", 'c', 2 * SIZE) &&
               is_there(path, "y/snapshots/s/data");
}

static bool snapshot_was_removed(const char *path, struct store *store) {
        ASSERT_TRUE(check_image_is(path, store, "x", 'c', 2 * SIZE));
        return !is_there(path, "x/snapshots/s");
}

static bool was_removed(const char *path, struct store *store) {
        return !is_there(path, "x");
}

/* An image that has grown since its snapshot, so that rolling back changes the size, too. */
static void prepare(const char *path) {
        struct store *store = make_image(path);
        struct image_record record;
        char *message = NULL, directory[512], data[512];
        int fd;

        ASSERT_OK(run_copy(store, PIECE, STORE_COPY_SNAPSHOT, "s", NULL));
        path_of(path, "x", directory);
        path_of(path, "x/data", data);
        ASSERT_OK(truncate(data, 2 * SIZE));
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(fd);
        ASSERT_OK(image_record_load(fd, "x", &record, &message));
        record.size = 2 * SIZE;
        ASSERT_OK(image_record_save(fd, &record));
        close(fd);
        fill(path, "x/data", 0, 'c');
        store->ops->close(store);
}

static void crash_at_each_step(void) {
        static const struct {
                int (*run)(struct store *store);
                bool (*was_done)(const char *path, struct store *store);
                unsigned before, after; /* at least so many steps leave it undone, done */
        } cases[] = {
                { make_snapshot, snapshot_was_made, 8, 1 },
                { clone_snapshot, clone_was_made, 10, 1 },
                { roll_back, was_rolled_back, 6, 8 },
                { rename_image, was_renamed, 0, 2 },
                { remove_snapshot, snapshot_was_removed, 0, 3 },
                { remove_with_snapshots, was_removed, 0, 4 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned before = 0, after = 0;
                bool ended = false;

                for (unsigned step = 1; !ended; step++) {
                        char *path = make_directory();
                        struct store *store, *survivor;
                        int status;
                        pid_t pid;

                        prepare(path);
                        /* A proxy that lives on: it must get along with what it finds, too, and is not there to sweep. */
                        survivor = open_store(path);
                        pid = fork();
                        ASSERT_OK(pid);
                        if (pid == 0) {
                                store = open_store(path);
                                die_at(step);
                                _exit(cases[i].run(store) < 0 ? 2 : 1);
                        }
                        ASSERT_EQ(waitpid(pid, &status, 0), pid);
                        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2);
                        ended = WEXITSTATUS(status) == 1;

                        bool seen = cases[i].was_done(path, survivor);

                        store = open_store(path);
                        ASSERT_EQ(cases[i].was_done(path, store), seen);
                        ASSERT_TRUE(seen || !ended);
                        seen ? after++ : before++;
                        check_no_hidden_names(path, ".", false);
                        check_no_hidden_names(path, "x", true);
                        check_no_hidden_names(path, "x/snapshots", false);
                        check_no_hidden_names(path, "y", true);
                        ASSERT_FALSE(is_there(path, "x/" INTENT_NAME));
                        /* And again. */
                        if (!seen)
                                ASSERT_OK(cases[i].run(store));
                        ASSERT_TRUE(cases[i].was_done(path, store));
                        store->ops->close(store);
                        survivor->ops->close(survivor);
                        remove_directory(path);
                }
                ASSERT_TRUE(before >= cases[i].before);
                ASSERT_TRUE(after >= cases[i].after);
        }
}

static void damaged_intents(void) {
        static const char *const bad[] = {
                "",
                "{}",
                "{ \"format\": 1, \"roll-back-to\": \"data\", \"size\": 4096 }",
                "{ \"format\": 1, \"roll-back-to\": \"../y/data\", \"size\": 4096 }",
                "{ \"format\": 1, \"roll-back-to\": \"..\", \"size\": 4096 }",
                "{ \"format\": 1, \"roll-back-to\": \".roll-back-1\", \"size\": 0 }",
                "{ \"format\": 2, \"roll-back-to\": \".roll-back-1\", \"size\": 4096 }",
        };
        char *path = make_directory(), intent[512];
        struct store *store = make_image(path);
        struct store_image *image;

        path_of(path, "x/" INTENT_NAME, intent);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                FILE *file = fopen(intent, "we");

                ASSERT_TRUE(file);
                ASSERT_TRUE(fputs(bad[i], file) >= 0);
                ASSERT_OK(fclose(file));
                ASSERT_ERROR(store->ops->open_image(store, "x", &image), EUCLEAN);
                ASSERT_EQ(look(path, "x/data", 0), 'a');
        }
        ASSERT_OK(unlink(intent));
        ASSERT_OK(store->ops->open_image(store, "x", &image));
        store->ops->close_image(image);
        store->ops->close(store);
        remove_directory(path);
}

TEST_MAIN(TEST(snapshot_clone_roll_back), TEST(open_a_snapshot), TEST(open_images_stay), TEST(under_way),
        TEST(crash_at_each_step), TEST(damaged_intents));
