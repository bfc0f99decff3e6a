/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records: what is saved is what is loaded, and what is cut, damaged or from the future is refused with a sentence, never half believed. */

#include <fcntl.h>
#include <sys/wait.h>

#include "proxyd-steps.h"
#include "proxyd-store.h"

static int open_directory(const char *path) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ASSERT_TRUE(fd >= 0);
        return fd;
}

static struct image_record full_record(void) {
        struct image_record record = {
                .uuid = SD_ID128_MAKE(01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10),
                .size = IVBS_IMAGE_SIZE_MAX,
                .created_usec = 1700000000000000,
                .lease = { .generation = INT64_MAX, .live = true, .holder.since_usec = 1700000000000001 },
        };

        memset(record.lease.token_hash, 0xa5, LEASE_HASH_SIZE);
        memset(record.lease.holder.machine_id, 0xff, LEASE_ID_SIZE);
        memset(record.lease.holder.host, '"', LEASE_HOST_SIZE - 1);
        return record;
}

static void round_trip(void) {
        const struct image_record record = full_record(), plain = { .uuid = record.uuid, .size = 1 };
        char *path = make_directory();
        int fd = open_directory(path);
        _cleanup_free_ char *message = NULL;
        struct image_record found = {};

        ASSERT_ERROR(image_record_load(fd, "x", &found, &message), ENOENT);
        ASSERT_OK(image_record_save(fd, &record));
        ASSERT_OK(image_record_load(fd, "x", &found, &message));
        ASSERT_MEMEQ(&found, &record, sizeof(record));

        /* Through the spare, both ways. */
        for (unsigned i = 0; i < 3; i++) {
                ASSERT_OK(image_record_save(fd, &plain));
                ASSERT_OK(image_record_load(fd, "x", &found, &message));
                ASSERT_EQ(found.size, 1U);
                ASSERT_FALSE(found.lease.live);
                ASSERT_OK(image_record_save(fd, &record));
                ASSERT_OK(image_record_load(fd, "x", &found, &message));
                ASSERT_MEMEQ(&found, &record, sizeof(record));
        }

        safe_close(fd);
        remove_directory(path);
}

static void write_record(int fd, const char *text, size_t n) {
        int file = openat(fd, IMAGE_RECORD_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ASSERT_TRUE(file >= 0);
        ASSERT_EQ(write(file, text, n), (ssize_t) n);
        safe_close(file);
}

static void cut_records(void) {
        const struct image_record record = full_record();
        char *path = make_directory(), text[8192];
        int fd = open_directory(path), file;
        struct image_record found;
        size_t end;
        ssize_t n;

        ASSERT_OK(image_record_save(fd, &record));
        file = openat(fd, IMAGE_RECORD_NAME, O_RDONLY | O_CLOEXEC);
        n = read(file, text, sizeof(text));
        safe_close(file);
        ASSERT_EQ(n, 4096);
        for (end = (size_t) n; text[end - 1] != '}'; end--)
                ;

        /* Every length short of the last brace. */
        for (size_t cut = 0; cut < end; cut++) {
                _cleanup_free_ char *message = NULL;

                write_record(fd, text, cut);
                ASSERT_ERROR(image_record_load(fd, "x", &found, &message), EUCLEAN);
                ASSERT_TRUE(message);
                ASSERT_TRUE(strstr(message, "x/" IMAGE_RECORD_NAME));
        }

        safe_close(fd);
        remove_directory(path);
}

static void damaged_records(void) {
#define START "{\"format\": 1, \"uuid\": \"0123456789abcdef0123456789abcdef\", \"created\": 5, "
        static const char *const bad[] = {
                START "\"generation\": 1}",
                START "\"generation\": 1, \"size\": 0}",
                START "\"generation\": 1, \"size\": -1}",
                START "\"generation\": 1, \"size\": \"1\"}",
                START "\"generation\": 1.5, \"size\": 1}",
                START "\"generation\": -1, \"size\": 1}",
                START "\"generation\": 1, \"size\": 1, \"colour\": 1}",
                START "\"generation\": 1, \"size\": 1, \"lease\": {}}",
                START "\"generation\": 1, \"size\": 1, \"lease\": null}",
                START "\"generation\": 1, \"size\": 1, \"size\": 2}",
                "{\"format\": 2, \"uuid\": \"0123456789abcdef0123456789abcdef\", \"created\": 5, \"generation\": 1, "
                "\"size\": 1}",
                "{\"format\": 1, \"uuid\": \"00000000000000000000000000000000\", \"created\": 5, \"generation\": 1, "
                "\"size\": 1}",
                "{\"format\": 1, \"uuid\": \"xyz\", \"created\": 5, \"generation\": 1, \"size\": 1}",
                "[]",
                "null",
        };
#undef START
        char *path = make_directory();
        int fd = open_directory(path);
        struct image_record found;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_free_ char *message = NULL;

                write_record(fd, bad[i], strlen(bad[i]));
                ASSERT_ERROR(image_record_load(fd, "x", &found, &message), EUCLEAN);
                ASSERT_TRUE(message);
        }

        safe_close(fd);
        remove_directory(path);
}

/* --- crashes --- */

/* Dies at each step in turn: a record is always the old one or the new one. */
static void crash_while_saving(void) {
        struct image_record old = full_record(), new = full_record(), found;
        char *path = make_directory();
        int fd = open_directory(path), status;
        unsigned n_old = 0, n_new = 0;

        new.size = 4096;
        for (unsigned step = 1;; step++) {
                _cleanup_free_ char *message = NULL;
                pid_t pid;

                ASSERT_OK(image_record_save(fd, &old));
                pid = fork();
                ASSERT_OK(pid);
                if (pid == 0) {
                        die_at(step);
                        _exit(image_record_save(fd, &new) < 0 ? 2 : 1);
                }
                ASSERT_EQ(waitpid(pid, &status, 0), pid);
                ASSERT_TRUE(WIFEXITED(status));
                ASSERT_OK(image_record_load(fd, "x", &found, &message));
                if (WEXITSTATUS(status) != 0) {
                        ASSERT_EQ(WEXITSTATUS(status), 1);
                        ASSERT_EQ(found.size, new.size);
                        break;
                }
                if (found.size == new.size)
                        n_new++;
                else {
                        ASSERT_MEMEQ(&found, &old, sizeof(old));
                        n_old++;
                }
        }
        /* Steps before and behind the moment of change were hit. */
        ASSERT_TRUE(n_old >= 3);
        ASSERT_TRUE(n_new >= 1);

        safe_close(fd);
        remove_directory(path);
}

TEST_MAIN(TEST(round_trip), TEST(cut_records), TEST(damaged_records), TEST(crash_while_saving));
