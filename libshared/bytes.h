/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Big-endian integers at any alignment: both IVBS and NBD are big-endian. */

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DEFINE_BIG_ENDIAN(bits)                                             \
        static inline void put_be##bits(uint8_t *p, uint##bits##_t value) { \
                value = htobe##bits(value);                                 \
                memcpy(p, &value, sizeof(value));                           \
        }                                                                   \
        static inline uint##bits##_t get_be##bits(const uint8_t *p) {       \
                uint##bits##_t value;                                       \
                memcpy(&value, p, sizeof(value));                           \
                return be##bits##toh(value);                                \
        }                                                                   \
        struct _swallow_semicolon_

DEFINE_BIG_ENDIAN(16);
DEFINE_BIG_ENDIAN(32);
DEFINE_BIG_ENDIAN(64);
