/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The distance between words: known cases, and the laws that any distance obeys. */

#include "edit-distance.h"
#include "test.h"

static void known(void) {
        static const struct {
                const char *a, *b;
                unsigned distance;
        } cases[] = {
                { "", "", 0 },
                { "attach", "attach", 0 },
                { "", "list", 4 },
                { "atach", "attach", 1 },
                { "attachh", "attach", 1 },
                { "attack", "attach", 1 },
                { "attahc", "attach", 1 }, /* a swap is one step, not two */
                { "proxeis", "proxies", 1 },
                { "taatch", "attach", 2 },
                { "kitten", "sitting", 3 },
                { "abc", "xyz", 3 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                ASSERT_EQ(edit_distance(cases[i].a, cases[i].b), cases[i].distance);
                ASSERT_EQ(edit_distance(cases[i].b, cases[i].a), cases[i].distance);
        }
}

/* All words of up to four letters of two kinds: equal at 0 and only there, symmetric, at least the difference in length, at most the longer one. */
static void laws(void) {
        char words[31][5];
        unsigned n = 0;

        for (unsigned length = 0; length <= 4; length++)
                for (unsigned bits = 0; bits < 1U << length; bits++) {
                        for (unsigned i = 0; i < length; i++)
                                words[n][i] = bits >> i & 1 ? 'b' : 'a';
                        words[n++][length] = '\0';
                }
        ASSERT_EQ(n, 31);

        for (unsigned i = 0; i < n; i++)
                for (unsigned k = 0; k < n; k++) {
                        unsigned d = edit_distance(words[i], words[k]);
                        size_t a = strlen(words[i]), b = strlen(words[k]);

                        ASSERT_EQ(d == 0, i == k);
                        ASSERT_EQ(edit_distance(words[k], words[i]), d);
                        ASSERT_TRUE(d >= (a > b ? a - b : b - a) && d <= (a > b ? a : b));
                }
}

static void long_words_are_cut(void) {
        char a[EDIT_DISTANCE_MAX * 2] = { 0 }, b[EDIT_DISTANCE_MAX + 1] = { 0 };

        memset(a, 'x', sizeof(a) - 1);
        memset(b, 'x', sizeof(b) - 1);
        ASSERT_EQ(edit_distance(a, b), 0);
        ASSERT_EQ(edit_distance(a, ""), EDIT_DISTANCE_MAX);
}

TEST_MAIN(TEST(known), TEST(laws), TEST(long_words_are_cut));
