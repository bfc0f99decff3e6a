/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file in a directory of the workers' own, locked as long as the process lives: nothing is left by a crash. Its name is a digest of what tells one image from another before anybody has been asked: the store's name of
 * it, and the proxies, in any order. It is never removed, or somebody could lock a file that has no name any more. */

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/file.h>

#include "one-name.h"

#define CLAIMS "claims"

static int compare(const void *a, const void *b) {
        const struct proxy_address *x = a, *y = b;

        return strcmp(x->address, y->address);
}

static int digest_of(const struct host_config *config, const char *image, char text[static 65]) {
        _cleanup_free_ struct proxy_address *sorted = calloc(config->n_proxies + 1, sizeof(*sorted));
        uint8_t digest[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *context;
        bool good;

        if (!sorted)
                return -ENOMEM;
        if (config->n_proxies > 0)
                memcpy(sorted, config->proxies, config->n_proxies * sizeof(*sorted));
        qsort(sorted, config->n_proxies, sizeof(*sorted), compare);

        context = EVP_MD_CTX_new();
        good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
               EVP_DigestUpdate(context, image, strlen(image) + 1) == 1;
        for (size_t i = 0; good && i < config->n_proxies; i++)
                good = EVP_DigestUpdate(context, sorted[i].address, strlen(sorted[i].address) + 1) == 1;
        good = good && EVP_DigestFinal_ex(context, digest, NULL) == 1;
        EVP_MD_CTX_free(context);
        if (!good)
                return -EIO;

        for (size_t i = 0; i < 32; i++)
                (void) snprintf(text + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

int one_name_claim(
        const struct host_config *config, const char *image, const char *name, char *ret_other, size_t size) {
        const char *directory = getenv("BLOCKSTORE_RUNTIME_DIRECTORY") ?: HOST_RUNTIME_DIRECTORY;
        _cleanup_close_ int fd = -EBADF;
        char digest[65], path[512];
        ssize_t n;
        int r;

        r = digest_of(config, image, digest);
        if (r < 0)
                return r;
        if ((size_t) snprintf(path, sizeof(path), "%s/" CLAIMS "/%s", directory, digest) >= sizeof(path))
                return -ENAMETOOLONG;

        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                n = pread(fd, ret_other, size - 1, 0);
                ret_other[n > 0 ? n : 0] = 0;
                return -EBUSY;
        }
        if (ftruncate(fd, 0) < 0 || pwrite(fd, name, strlen(name), 0) != (ssize_t) strlen(name))
                return errno > 0 ? -errno : -EIO;
        return TAKE_FD(fd);
}
