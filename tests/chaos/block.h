/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a written block of 512 bytes holds: who it is (seed of the run, offset, counter of the write), bytes that follow from that, and a checksum over all of it. So a
 * block says by itself whether it is whole, whether it stands where it was written, and which write it is from. */

#include <stdint.h>

#define CHAOS_BLOCK 512U

enum block_kind {
        BLOCK_STAMPED, /* whole: ret_offset and ret_counter are set */
        BLOCK_ZERO,    /* nothing but zeroes */
        BLOCK_TORN,    /* anything else: damaged, or put together from several */
        BLOCK_FOREIGN, /* whole, but of another run */
};

/* counter: not 0. */
void block_fill(uint8_t data[static CHAOS_BLOCK], uint64_t seed, uint64_t offset, uint64_t counter);
enum block_kind block_look(
        const uint8_t data[static CHAOS_BLOCK], uint64_t seed, uint64_t *ret_offset, uint64_t *ret_counter);
