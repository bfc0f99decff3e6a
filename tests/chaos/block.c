/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Layout, in the machine's byte order (a block never leaves it): 0 magic, 8 seed, 16 offset, 24 counter, 32 checksum, 40 filling. The checksum covers everything but itself. The
 * filling differs in every word of every write, so that two writes cannot be mixed into something that is whole. */

#include <string.h>

#include "block.h"
#include "dice.h"

#define WORDS    (CHAOS_BLOCK / 8)
#define CHECKSUM 4U
#define FILLING  5U
#define MAGIC    UINT64_C(0x6b636f6c42534f43)

static uint64_t checksum(const uint64_t words[static WORDS]) {
        uint64_t sum = MAGIC;

        for (unsigned i = 0; i < WORDS; i++)
                if (i != CHECKSUM)
                        sum = ((sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15)) ^ (sum >> 29);
        return dice_mix(sum);
}

void block_fill(uint8_t data[static CHAOS_BLOCK], uint64_t seed, uint64_t offset, uint64_t counter) {
        uint64_t words[WORDS] = { MAGIC, seed, offset, counter }, filling;

        filling = dice_mix(seed ^ dice_mix(offset ^ dice_mix(counter)));
        for (unsigned i = FILLING; i < WORDS; i++) {
                filling = filling * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                words[i] = filling;
        }
        words[CHECKSUM] = checksum(words);
        memcpy(data, words, CHAOS_BLOCK);
}

enum block_kind block_look(
        const uint8_t data[static CHAOS_BLOCK], uint64_t seed, uint64_t *ret_offset, uint64_t *ret_counter) {
        uint64_t words[WORDS], any = 0;

        memcpy(words, data, CHAOS_BLOCK);
        if (words[0] != MAGIC) {
                for (unsigned i = 0; i < WORDS; i++)
                        any |= words[i];
                return any == 0 ? BLOCK_ZERO : BLOCK_TORN;
        }
        if (words[CHECKSUM] != checksum(words) || words[3] == 0)
                return BLOCK_TORN;
        if (words[1] != seed)
                return BLOCK_FOREIGN;
        *ret_offset = words[2];
        *ret_counter = words[3];
        return BLOCK_STAMPED;
}
