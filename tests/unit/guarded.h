/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bytes that end where nobody may look: a decoder that reads one too many dies, with or without a sanitizer. */

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

/* n zero bytes, at most a page, right before a page without access. Mapped until the test program ends. */
static inline uint8_t *guarded(size_t n) {
        long page = sysconf(_SC_PAGESIZE);
        uint8_t *map;

        ASSERT_TRUE(page > 0 && n <= (size_t) page);
        map = mmap(NULL, (size_t) page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_TRUE(map != MAP_FAILED);
        ASSERT_OK(mprotect(map + page, (size_t) page, PROT_NONE));
        return map + page - n;
}

static inline uint8_t *guarded_copy(const void *data, size_t n) {
        uint8_t *copy = guarded(n);

        if (n > 0)
                memcpy(copy, data, n);
        return copy;
}
