/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The page's files, read once at the start: a table of names, so that no part of an address ever becomes a part of a path. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/sha.h>

#include "httpd.h"

#define ASSETS_DIRECTORY "/usr/share/blockstore/web" /* $BLOCKSTORE_WEB_DIRECTORY overrides, for tests */
#define ASSET_SIZE_MAX   (1024U * 1024U)

static const struct {
        const char *name, *content_type;
} files[] = {
        { "index.html", "text/html; charset=utf-8" },
        { "page.css", "text/css; charset=utf-8" },
        { "page.js", "text/javascript; charset=utf-8" },
        { "icon.svg", "image/svg+xml" },
        { "openapi.json", "application/json" },
};

struct asset {
        char *data;
        size_t size;
        char tag[20]; /* with its quotes */
};

struct assets {
        struct asset assets[ELEMENTSOF(files)];
};

static int read_file(const char *path, char **ret, size_t *ret_size) {
        _cleanup_free_ char *data = NULL;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        ssize_t n;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > ASSET_SIZE_MAX)
                return -EFBIG;
        data = malloc((size_t) st.st_size + 1);
        if (!data)
                return -ENOMEM;
        n = read(fd, data, (size_t) st.st_size);
        if (n != st.st_size)
                return n < 0 ? -errno : -EIO;

        *ret = TAKE_PTR(data);
        *ret_size = (size_t) st.st_size;
        return 0;
}

int assets_load(struct assets **ret, char **ret_message) {
        const char *directory = getenv("BLOCKSTORE_WEB_DIRECTORY") ?: ASSETS_DIRECTORY;
        struct assets *assets = calloc(1, sizeof(*assets));

        if (!assets)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                unsigned char hash[SHA256_DIGEST_LENGTH];
                struct asset *asset = assets->assets + i;
                char path[PATH_MAX];
                int r;

                (void) snprintf(path, sizeof path, "%s/%s", directory, files[i].name);
                r = read_file(path, &asset->data, &asset->size);
                if (r < 0) {
                        if (asprintf(ret_message, "%s cannot be read: %s. Is the package installed completely?", path,
                                    strerror(-r)) < 0)
                                *ret_message = NULL;
                        assets_free(assets);
                        return r;
                }
                SHA256((const unsigned char *) asset->data, asset->size, hash);
                (void) snprintf(asset->tag, sizeof asset->tag, "\"%02x%02x%02x%02x%02x%02x%02x%02x\"", hash[0],
                        hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]);
        }

        *ret = assets;
        return 0;
}

struct assets *assets_free(struct assets *assets) {
        if (!assets)
                return NULL;

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                free(assets->assets[i].data);
        free(assets);
        return NULL;
}

void page_asset(struct httpd *httpd, struct exchange *exchange, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                const struct asset *asset = httpd->assets->assets + i;

                if (strcmp(files[i].name, name) == 0) {
                        (void) exchange_reply_asset(
                                exchange, files[i].content_type, asset->tag, asset->data, asset->size);
                        return;
                }
        }
        (void) exchange_fail(exchange, MHD_HTTP_NOT_FOUND, "NotFound", "There is no such file.");
}

void page_index(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        page_asset(httpd, exchange, "index.html");
}

void page_openapi(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        page_asset(httpd, exchange, "openapi.json");
}
