/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The processor does it in one instruction for eight bytes (SSE 4.2, and the CRC extension of ARMv8); elsewhere eight tables do, which are computed once from the polynomial. Which of the two is asked of the
 * processor, so that one build runs everywhere. */

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78U /* 0x1edc6f41, its bits reversed */

static uint32_t tables[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
        for (uint32_t i = 0; i < 256; i++) {
                uint32_t crc = i;

                for (unsigned bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
                tables[0][i] = crc;
        }
        for (unsigned t = 1; t < 8; t++)
                for (unsigned i = 0; i < 256; i++)
                        tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xff];
}

uint32_t crc32c_portable(uint32_t previous, const void *data, size_t n) {
        const uint8_t *p = data;
        uint32_t crc = ~previous;

        (void) pthread_once(&once, make_tables);
        for (; n >= 8; n -= 8, p += 8) {
                crc ^= (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
                crc = tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^ tables[5][crc >> 16 & 0xff] ^
                      tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
        }
        for (; n > 0; n--)
                crc = crc >> 8 ^ tables[0][(crc ^ *p++) & 0xff];
        return ~crc;
}

#if defined(__x86_64__)

static bool has_instruction(void) {
        return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t previous, const uint8_t *p, size_t n) {
        uint64_t crc = ~previous, word;

        for (; n >= 8; n -= 8, p += 8) {
                memcpy(&word, p, 8);
                crc = __builtin_ia32_crc32di(crc, word);
        }
        for (; n > 0; n--)
                crc = __builtin_ia32_crc32qi((uint32_t) crc, *p++);
        return ~(uint32_t) crc;
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#include <arm_acle.h>

static bool has_instruction(void) {
        return true; /* the build says so */
}

static uint32_t by_instruction(uint32_t previous, const uint8_t *p, size_t n) {
        uint32_t crc = ~previous;
        uint64_t word;

        for (; n >= 8; n -= 8, p += 8) {
                memcpy(&word, p, 8);
                crc = __crc32cd(crc, word);
        }
        for (; n > 0; n--)
                crc = __crc32cb(crc, *p++);
        return ~crc;
}

#else

static bool has_instruction(void) {
        return false;
}

static uint32_t by_instruction(uint32_t previous, const uint8_t *p, size_t n) {
        return crc32c_portable(previous, p, n);
}

#endif

uint32_t crc32c(uint32_t previous, const void *data, size_t n) {
        return has_instruction() ? by_instruction(previous, data, n) : crc32c_portable(previous, data, n);
}
