/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory for a store, on a file system that a store may lie on, and a store in it. */

#include <ftw.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "store-file.h"
#include "test.h"

static inline char *make_directory_in(const char *base) {
        char *path;

        ASSERT_TRUE(asprintf(&path, "%s/test-proxyd-XXXXXX", base) > 0);
        ASSERT_TRUE(mkdtemp(path));
        return path;
}

static inline char *make_directory(void) {
        static const char *const bases[] = { "/tmp", "/var/tmp", "/dev/shm" };
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTSOF(bases); i++) {
                if (statfs(bases[i], &fs) < 0 || fs.f_type == OVERLAYFS_SUPER_MAGIC || fs.f_type == FUSE_SUPER_MAGIC ||
                        fs.f_type == NFS_SUPER_MAGIC)
                        continue;
                return make_directory_in(bases[i]);
        }
        TEST_FAIL("no local file system among %s ...", bases[0]);
}

/* The same in memory; NULL where there is no such place. */
static inline char *make_directory_in_memory(void) {
        struct statfs fs;

        return statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC ? make_directory_in("/dev/shm") : NULL;
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
        return remove(path);
}

static inline void remove_directory(char *path) {
        ASSERT_OK(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS));
        free(path);
}

static inline void complain_nowhere(const char *image, const char *message) {
}

static inline struct store *open_store_on(const char *path, struct ring *ring, struct jobs *jobs) {
        const struct store_how how = { .path = path, .ring = ring, .jobs = jobs, .complain = complain_nowhere };
        _cleanup_free_ char *message = NULL;
        struct store *store;
        int r;

        r = store_file_ops.open(&how, &store, &message);
        if (r < 0)
                TEST_FAIL("the store does not open: %s", message ? message : strerror(-r));
        return store;
}

/* For what needs no ring. */
static inline struct store *open_store(const char *path) {
        return open_store_on(path, NULL, NULL);
}

static inline size_t count_images(struct store *store) {
        struct store_listed *listed;
        bool more;
        size_t n;

        ASSERT_OK(store->ops->list(store, NULL, NULL, NULL, 256, &listed, &n, &more));
        ASSERT_FALSE(more);
        free(listed);
        return n;
}

/* All of a copy of the image "x", as a proxy makes it, on one thread and by pieces of so many bytes. */
static inline int run_copy(
        struct store *store, uint64_t piece, enum store_copy_kind kind, const char *snapshot, const char *new_name) {
        const struct store_copy_how how = { .kind = kind, .name = "x", .snapshot = snapshot, .new_name = new_name };
        struct store_copy *copy;
        sd_id128_t uuid;
        int r;

        r = store->ops->copy_begin(store, &how, &copy);
        if (r < 0)
                return r;
        r = store->ops->copy_prepare(copy);
        if (r >= 0)
                r = store->ops->copy_whole(copy);
        for (uint64_t at = 0; r == STORE_COPY_BY_PIECES && at < copy->size;) {
                uint64_t next = 0;
                int k = store->ops->copy_piece(copy, at, piece, &next);

                if (k < 0)
                        r = k;
                ASSERT_TRUE(k < 0 || next >= copy->size || next >= at + piece);
                at = next;
        }
        if (r >= 0)
                r = store->ops->copy_sync(copy);
        if (r >= 0)
                r = store->ops->copy_commit(copy, &uuid);
        store->ops->copy_free(copy);
        return r;
}
