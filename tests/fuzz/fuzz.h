/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the fuzz targets share. A target takes any bytes, and must neither crash nor break one of the rules it states by REQUIRE(). Linked with
 * libFuzzer (-Dfuzz=true) or with replay.c, which runs the committed corpus as an ordinary test. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(expr)                                                                                    \
        do {                                                                                             \
                if (!(expr)) {                                                                           \
                        fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #expr); \
                        abort();                                                                         \
                }                                                                                        \
        } while (0)

/* A copy with nothing behind it, so that a sanitizer sees a read beyond the end; to be freed. Never NULL. */
static inline uint8_t *exact_copy(const uint8_t *data, size_t n) {
        uint8_t *copy = malloc(n > 0 ? n : 1);

        REQUIRE(copy);
        if (n > 0)
                memcpy(copy, data, n);
        return copy;
}
