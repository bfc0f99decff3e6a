/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Expected bytes written as hex, so that a test reads like the table it was taken from. */

#include <stdint.h>
#include <string.h>

#include "test.h"

static inline unsigned hex_digit(char c) {
        return c <= '9' ? (unsigned) (c - '0') : (unsigned) (c - 'a' + 10);
}

/* Lower-case hex to bytes; blanks are passed over. Returns the number of bytes. */
static inline size_t hex_decode(const char *hex, uint8_t *ret, size_t size) {
        size_t n = 0;

        for (const char *p = hex; *p; p += 2) {
                while (*p == ' ')
                        p++;
                ASSERT_TRUE(strchr("0123456789abcdef", p[0]) && p[1] && strchr("0123456789abcdef", p[1]));
                ASSERT_TRUE(n < size);
                ret[n++] = (uint8_t) (hex_digit(p[0]) << 4 | hex_digit(p[1]));
        }

        return n;
}

/* That data begins with these bytes, and where n is given that there are no more. */
#define ASSERT_HEX(data, n, hex)                                                    \
        do {                                                                        \
                uint8_t _expected[1024];                                            \
                size_t _n_expected = hex_decode(hex, _expected, sizeof(_expected)); \
                ASSERT_EQ((size_t) (n), _n_expected);                               \
                ASSERT_MEMEQ(data, _expected, _n_expected);                         \
        } while (0)
