/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The checksums of an image, as they stand in the file beside its data. That file is a header of 4096 bytes and then *leaves* of 512 bytes, the unit that a disk writes whole or not at all. A leaf has the sums
 * of 124 consecutive blocks of 4 KiB, in 31 *groups* of four, and says of each group whether it is *dirty*: about to be changed, so that after a crash data and sums need not agree.
 *
 *     0    4  CRC-32C of what follows, begun with the leaf's number, so that one in another's place is found
 *     4    4  dirty groups, a bit each
 *     8    4  sequence: one higher each time that the leaf is written
 *     12   4  "BSL1"
 *     16 496  124 sums
 *
 * All integers are little-endian. A sum is the CRC-32C of the block exclusive-or that of a block of zeroes, so the sum of zeroes is 0, and a leaf of zeroes (a hole) says that all its blocks are
 * zeroes, and none of it dirty. A block that the end of the data cuts short counts as filled up with zeroes. */

#include <stdbool.h>
#include <stdint.h>

#define SUM_BLOCK_SIZE   4096U
#define SUM_HEADER_SIZE  4096U
#define SUM_LEAF_SIZE    512U
#define SUM_LEAF_BLOCKS  124U
#define SUM_LEAF_GROUPS  31U
#define SUM_GROUP_BLOCKS 4U
#define SUM_ALL_GROUPS   0x7fffffffU
#define SUM_MAGIC        "BSSUMS1\n"

struct sum_leaf {
        uint32_t dirty, sequence;
        uint32_t sums[SUM_LEAF_BLOCKS];
};

/* block: SUM_BLOCK_SIZE bytes. */
uint32_t sum_of_block(const uint8_t *block);

/* Returns 0, or -EUCLEAN when it is damaged; zeroes are a leaf. */
int sum_leaf_decode(uint64_t number, const uint8_t data[static SUM_LEAF_SIZE], struct sum_leaf *ret);
void sum_leaf_encode(uint64_t number, const struct sum_leaf *leaf, uint8_t ret[static SUM_LEAF_SIZE]);

/* Where it stands in the file. */
static inline uint64_t sum_leaf_offset(uint64_t number) {
        return SUM_HEADER_SIZE + number * SUM_LEAF_SIZE;
}

/* The groups of the blocks from first to last (both within one leaf), a bit each. */
static inline uint32_t sum_groups(unsigned first, unsigned last) {
        uint32_t upto = last / SUM_GROUP_BLOCKS, from = first / SUM_GROUP_BLOCKS;

        return (uint32_t) (((uint64_t) 2 << upto) - ((uint64_t) 1 << from));
}
