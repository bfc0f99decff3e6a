/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A pipe is made as large as it may be, for fewer changes between the two processes. splice() and tee() would save the copies, and not the one that matters: the hash reads every byte. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include <openssl/evp.h>

#include "pump.h"

#define PIECE (1024U * 1024U)

struct pump {
        EVP_MD_CTX *context;
        uint8_t *buffer; /* PIECE */
        uint64_t bytes;
        _Atomic uint64_t *done;
};

int pump_new(_Atomic uint64_t *done, struct pump **ret) {
        _cleanup_(pump_freep) struct pump *pump = calloc(1, sizeof(*pump));

        if (!pump)
                return -ENOMEM;
        pump->done = done;
        pump->context = EVP_MD_CTX_new();
        pump->buffer = malloc(PIECE);
        if (!pump->context || !pump->buffer || EVP_DigestInit_ex(pump->context, EVP_sha256(), NULL) != 1)
                return -ENOMEM;
        *ret = TAKE_PTR(pump);
        return 0;
}

struct pump *pump_free(struct pump *pump) {
        if (!pump)
                return NULL;

        EVP_MD_CTX_free(pump->context);
        free(pump->buffer);
        free(pump);
        return NULL;
}

uint64_t pump_bytes(const struct pump *pump) {
        return pump->bytes;
}

/* For what the user gave us, which may not block. */
static int wait_for(int fd, short events) {
        struct pollfd poll_fd = { .fd = fd, .events = events };

        return poll(&poll_fd, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int write_all(int fd, const uint8_t *data, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, data, n);

                if (k < 0) {
                        int r = errno == EAGAIN ? wait_for(fd, POLLOUT) : errno == EINTR ? 0 : -errno;

                        if (r < 0)
                                return r;
                        continue;
                }
                data += k;
                n -= (size_t) k;
        }
        return 0;
}

int pump_run(struct pump *pump, int in, int out, uint64_t n) {
        int r;

        (void) fcntl(in, F_SETPIPE_SZ, PIECE);
        while (n > 0) {
                ssize_t k = read(in, pump->buffer, n < PIECE ? (size_t) n : PIECE);

                if (k == 0)
                        return 1;
                if (k < 0) {
                        r = errno == EAGAIN ? wait_for(in, POLLIN) : errno == EINTR ? 0 : -errno;
                        if (r < 0)
                                return r;
                        continue;
                }
                if (EVP_DigestUpdate(pump->context, pump->buffer, (size_t) k) != 1)
                        return -EIO;
                r = out < 0 ? 0 : write_all(out, pump->buffer, (size_t) k);
                if (r < 0)
                        return r;
                n -= (uint64_t) k;
                pump->bytes += (uint64_t) k;
                atomic_fetch_add(pump->done, (uint64_t) k);
        }
        return 0;
}

int pump_finish(struct pump *pump, char ret[static CHECKSUM_SIZE]) {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned n;

        if (EVP_DigestFinal_ex(pump->context, digest, &n) != 1 || n * 2 + 1 != CHECKSUM_SIZE)
                return -EIO;
        for (unsigned i = 0; i < n; i++)
                (void) snprintf(ret + (size_t) 2 * i, 3, "%02x", digest[i]);
        return 0;
}
