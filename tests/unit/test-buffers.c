/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "buffers.h"
#include "test.h"

#define MIB (1024U * 1024U)

static void sizes(void) {
        static const struct {
                size_t size, taken;
        } cases[] = {
                { 1, 4096 },
                { 4096, 4096 },
                { 4097, 8192 },
                { 65536, 65536 },
                { MIB + 1, 2 * MIB },
                { BUFFER_SIZE_MAX, BUFFER_SIZE_MAX },
        };
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;

        ASSERT_OK(buffers_new(&buffers, 64 * MIB));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t *buffer = buffers_get(buffers, cases[i].size);

                ASSERT_TRUE(buffer);
                ASSERT_EQ((uintptr_t) buffer % 4096, 0);
                ASSERT_EQ(buffers_in_use(buffers), cases[i].taken);
                ASSERT_EQ(buffers_size_for(cases[i].size), cases[i].taken);
                memset(buffer, 0xa5, cases[i].taken);
                buffers_put(buffers, buffer, cases[i].size);
                ASSERT_EQ(buffers_in_use(buffers), 0U);
        }
        buffers_put(buffers, NULL, 4096);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
        ASSERT_TRUE(buffers_free(NULL) == NULL);
}

static void last_in_first_out(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        void *a, *b, *large;

        ASSERT_OK(buffers_new(&buffers, MIB));
        a = buffers_get(buffers, 4096);
        b = buffers_get(buffers, 100);
        large = buffers_get(buffers, 8192);
        ASSERT_TRUE(a && b && large && a != b);
        buffers_put(buffers, a, 4096);
        buffers_put(buffers, large, 8192);
        buffers_put(buffers, b, 100);

        ASSERT_TRUE(buffers_get(buffers, 2000) == b);
        ASSERT_TRUE(buffers_get(buffers, 2000) == a);
        ASSERT_TRUE(buffers_get(buffers, 5000) == large);
        buffers_put(buffers, a, 2000);
        buffers_put(buffers, b, 2000);
        buffers_put(buffers, large, 5000);
}

static void limit(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        void *small[16], *large;

        ASSERT_OK(buffers_new(&buffers, 16 * 4096));
        for (size_t i = 0; i < ELEMENTSOF(small); i++)
                ASSERT_TRUE((small[i] = buffers_get(buffers, 4096)) != NULL);
        ASSERT_TRUE(buffers_get(buffers, 1) == NULL);
        ASSERT_EQ(buffers_in_use(buffers), 16U * 4096U);

        /* Free ones of another size make room; those in use do not. */
        for (size_t i = 0; i < 8; i++)
                buffers_put(buffers, small[i], 4096);
        ASSERT_TRUE(buffers_get(buffers, 16 * 4096) == NULL);
        large = buffers_get(buffers, 8 * 4096);
        ASSERT_TRUE(large);
        ASSERT_TRUE(buffers_get(buffers, 1) == NULL);
        buffers_put(buffers, large, 8 * 4096);
        ASSERT_TRUE((small[0] = buffers_get(buffers, 4096)) != NULL);

        buffers_put(buffers, small[0], 4096);
        for (size_t i = 8; i < ELEMENTSOF(small); i++)
                buffers_put(buffers, small[i], 4096);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
}

/* A promise takes from the limit like a buffer, and is kept whatever else lies about. */
static void promises(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        void *small[8], *large;

        ASSERT_OK(buffers_new(&buffers, 16 * 4096));
        for (size_t i = 0; i < ELEMENTSOF(small); i++)
                ASSERT_TRUE((small[i] = buffers_get(buffers, 4096)) != NULL);
        ASSERT_TRUE(buffers_reserve(buffers, 8 * 4096));
        ASSERT_EQ(buffers_in_use(buffers), 16U * 4096U);
        ASSERT_EQ(buffers_allocated(buffers), 8U * 4096U);
        ASSERT_TRUE(!buffers_reserve(buffers, 1));
        ASSERT_TRUE(buffers_get(buffers, 1) == NULL);

        large = buffers_get_reserved(buffers, 8 * 4096);
        ASSERT_TRUE(large);
        memset(large, 1, 8UL * 4096);
        ASSERT_EQ(buffers_in_use(buffers), 16U * 4096U);
        buffers_put(buffers, large, 8 * 4096);

        /* The free one is in the way of two smaller ones. */
        ASSERT_TRUE(buffers_reserve(buffers, 4 * 4096));
        ASSERT_TRUE(buffers_reserve(buffers, 4 * 4096));
        large = buffers_get_reserved(buffers, 4 * 4096);
        ASSERT_TRUE(large);
        memset(large, 2, 4UL * 4096);
        ASSERT_TRUE(buffers_allocated(buffers) <= 16U * 4096U);
        buffers_put(buffers, large, 4 * 4096);
        buffers_unreserve(buffers, 4 * 4096);

        for (size_t i = 0; i < ELEMENTSOF(small); i++)
                buffers_put(buffers, small[i], 4096);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
}

/* What was not needed since the last time goes; what is in use, or was, stays. */
static void trims(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        uint8_t *large[8], *small;

        ASSERT_OK(buffers_new(&buffers, 16 * MIB));
        for (size_t i = 0; i < ELEMENTSOF(large); i++) {
                ASSERT_TRUE((large[i] = buffers_get(buffers, MIB)) != NULL);
                memset(large[i], 0x5a, MIB);
        }
        small = buffers_get(buffers, 4096);
        ASSERT_TRUE(small);
        memset(small, 0xc3, 4096);
        ASSERT_EQ(buffers_trim(buffers), 0U);

        for (size_t i = 2; i < ELEMENTSOF(large); i++)
                buffers_put(buffers, large[i], MIB);
        /* Until now all of them were in use. */
        ASSERT_EQ(buffers_trim(buffers), 0U);
        ASSERT_EQ(buffers_allocated(buffers), 8U * MIB + 4096U);

        /* A load that needs three of them at a time. */
        ASSERT_TRUE((large[2] = buffers_get(buffers, MIB)) != NULL);
        buffers_put(buffers, large[2], MIB);
        ASSERT_EQ(buffers_trim(buffers), 5U * MIB);
        ASSERT_EQ(buffers_allocated(buffers), 3U * MIB + 4096U);

        buffers_put(buffers, large[0], MIB);
        buffers_put(buffers, large[1], MIB);
        ASSERT_EQ(buffers_trim(buffers), MIB);
        ASSERT_EQ(buffers_trim(buffers), 2U * MIB);
        ASSERT_EQ(buffers_allocated(buffers), 4096U);
        for (size_t i = 0; i < 4096; i++)
                ASSERT_EQ(small[i], 0xc3);
        buffers_put(buffers, small, 4096);
}

/* No two owners of a byte, and the limit holds, whatever is asked for in whatever order. */
static void at_random(void) {
        struct {
                uint8_t *buffer;
                size_t size;
                uint8_t mark;
        } held[64] = {};
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        unsigned seed = 20260, refused = 0;

        printf("seed %u\n", seed);
        srandom(seed);
        ASSERT_OK(buffers_new(&buffers, MIB / 2));
        for (unsigned round = 0; round < 20000; round++) {
                size_t i = (size_t) random() % ELEMENTSOF(held);

                if (held[i].buffer) {
                        ASSERT_EQ(held[i].buffer[0], held[i].mark);
                        ASSERT_EQ(held[i].buffer[held[i].size - 1], held[i].mark);
                        buffers_put(buffers, held[i].buffer, held[i].size);
                        held[i].buffer = NULL;
                        if (random() % 8 == 0)
                                buffers_trim(buffers);
                        continue;
                }
                held[i].size = (size_t) random() % (1U << (random() % 19)) + 1;
                held[i].mark = (uint8_t) round;
                held[i].buffer = buffers_get(buffers, held[i].size);
                if (held[i].buffer)
                        held[i].buffer[0] = held[i].buffer[held[i].size - 1] = held[i].mark;
                else
                        refused++;
                ASSERT_TRUE(buffers_in_use(buffers) <= MIB / 2 && buffers_allocated(buffers) <= MIB / 2);
        }
        ASSERT_TRUE(refused > 0 && refused < 10000);
        for (size_t i = 0; i < ELEMENTSOF(held); i++)
                buffers_put(buffers, held[i].buffer, held[i].size);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
}

TEST_MAIN(TEST(sizes), TEST(last_in_first_out), TEST(limit), TEST(promises), TEST(trims), TEST(at_random));
