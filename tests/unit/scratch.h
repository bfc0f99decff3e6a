/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of a test's own, with files made from strings, removed at the end. */

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#define SCRATCH_TEMPLATE "/tmp/blockstore-test-XXXXXX"

static char scratch[] = SCRATCH_TEMPLATE;

static inline const char *scratch_path(const char *relative) {
        static char path[512];

        (void) snprintf(path, sizeof(path), "%s/%s", scratch, relative);
        return path;
}

static inline void scratch_make(void) {
        memcpy(scratch, SCRATCH_TEMPLATE, sizeof(scratch));
        ASSERT_TRUE(mkdtemp(scratch) != NULL);
}

/* The directories of a file below scratch. */
static inline void scratch_parents(const char *relative) {
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/%s", scratch, relative);
        for (char *slash = path + strlen(scratch) + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = 0;
                ASSERT_TRUE(mkdir(path, 0700) == 0 || errno == EEXIST);
                *slash = '/';
        }
}

static inline void scratch_file(const char *relative, const char *text) {
        FILE *file;

        scratch_parents(relative);
        file = fopen(scratch_path(relative), "we");
        ASSERT_TRUE(file != NULL);
        ASSERT_TRUE(fputs(text, file) >= 0);
        ASSERT_EQ(fclose(file), 0);
}

static inline void scratch_link(const char *relative, const char *target) {
        scratch_parents(relative);
        ASSERT_EQ(symlink(target, scratch_path(relative)), 0);
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static inline void scratch_remove(void) {
        ASSERT_EQ(nftw(scratch, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}
