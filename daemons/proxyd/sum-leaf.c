/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "crc32c.h"
#include "sum-leaf.h"

#define LEAF_MAGIC 0x314c5342U /* "BSL1" */

static const uint8_t zeroes[SUM_BLOCK_SIZE];
static uint32_t sum_of_zeroes;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void compute(void) {
        sum_of_zeroes = crc32c(0, zeroes, sizeof(zeroes));
}

uint32_t sum_of_block(const uint8_t *block) {
        (void) pthread_once(&once, compute);
        return crc32c(0, block, SUM_BLOCK_SIZE) ^ sum_of_zeroes;
}

static uint32_t get32(const uint8_t *p) {
        uint32_t value;

        memcpy(&value, p, sizeof(value));
        return le32toh(value);
}

static void put32(uint8_t *p, uint32_t value) {
        value = htole32(value);
        memcpy(p, &value, sizeof(value));
}

static uint32_t crc_of_leaf(uint64_t number, const uint8_t data[static SUM_LEAF_SIZE]) {
        uint64_t begin = htole64(number);

        return crc32c(crc32c(0, &begin, sizeof(begin)), data + 4, SUM_LEAF_SIZE - 4);
}

int sum_leaf_decode(uint64_t number, const uint8_t data[static SUM_LEAF_SIZE], struct sum_leaf *ret) {
        if (memcmp(data, zeroes, SUM_LEAF_SIZE) == 0) {
                *ret = (struct sum_leaf){};
                return 0;
        }
        if (get32(data + 12) != LEAF_MAGIC || get32(data) != crc_of_leaf(number, data))
                return -EUCLEAN;

        ret->dirty = get32(data + 4) & SUM_ALL_GROUPS;
        ret->sequence = get32(data + 8);
        for (size_t i = 0; i < SUM_LEAF_BLOCKS; i++)
                ret->sums[i] = get32(data + 16 + 4 * i);
        return 0;
}

void sum_leaf_encode(uint64_t number, const struct sum_leaf *leaf, uint8_t ret[static SUM_LEAF_SIZE]) {
        put32(ret + 4, leaf->dirty);
        put32(ret + 8, leaf->sequence);
        put32(ret + 12, LEAF_MAGIC);
        for (size_t i = 0; i < SUM_LEAF_BLOCKS; i++)
                put32(ret + 16 + 4 * i, leaf->sums[i]);
        put32(ret, crc_of_leaf(number, ret));
}
