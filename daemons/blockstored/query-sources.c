/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Only what stat() tells is compared: nothing is read, and the supervisor sees no password. A file that is replaced has another inode, one that is edited has another time; and which of
 * the stores has the credential is blockstore-password's business, so each place where it may come from or go to is looked at. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "credential-stores.h"
#include "host-config.h"
#include "query-sources.h"

static uint64_t nsec(struct timespec t) {
        return (uint64_t) t.tv_sec * 1000000000U + (uint64_t) t.tv_nsec;
}

static void look(const char *directory_root, const char *directory, const char *name, uint64_t ret[static 5]) {
        _cleanup_free_ char *path = NULL;
        struct stat st;

        if (asprintf(&path, "%s%s/%s", directory_root, directory, name) < 0) {
                path = NULL;
                return;
        }
        if (stat(path, &st) < 0)
                return;

        ret[0] = st.st_dev;
        ret[1] = st.st_ino;
        ret[2] = (uint64_t) st.st_size;
        ret[3] = nsec(st.st_mtim);
        ret[4] = nsec(st.st_ctim);
}

void query_sources_look(const char *root, struct query_sources *ret) {
        const char *configuration = secure_getenv("BLOCKSTORE_CONFIG_DIRECTORY");

        *ret = (struct query_sources){};
        look("", configuration && *configuration ? configuration : HOST_CONFIG_DIRECTORY, "blockstore.json",
                ret->files[0]);
        for (size_t i = 0; i < CREDENTIAL_STORES_N; i++) {
                look(root, credential_stores[i], CREDENTIAL_DEFAULT, ret->files[1 + i]);
                look(root, credential_stores_encrypted[i], CREDENTIAL_DEFAULT,
                        ret->files[1 + CREDENTIAL_STORES_N + i]);
        }
}

bool query_sources_equal(const struct query_sources *a, const struct query_sources *b) {
        return memcmp(a, b, sizeof(*a)) == 0;
}
