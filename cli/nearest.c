/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "Did you mean": the edit distance (insert, delete, replace, swap of neighbours) between what was typed and what
 * there is. A suggestion that shares next to nothing with the word is worse than none, so at most a third of the
 * letters may differ, and one in short words; a candidate that the word is the beginning of counts as near. */

#include <string.h>

#include "nearest.h"

#define WORD_MAX 24U

static unsigned min3(unsigned a, unsigned b, unsigned c) {
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

static unsigned edit_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
        unsigned rows[WORD_MAX + 1][WORD_MAX + 1];

        for (size_t i = 0; i <= n_a; i++)
                rows[i][0] = (unsigned) i;
        for (size_t j = 0; j <= n_b; j++)
                rows[0][j] = (unsigned) j;

        for (size_t i = 1; i <= n_a; i++)
                for (size_t j = 1; j <= n_b; j++) {
                        unsigned change = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

                        rows[i][j] = min3(rows[i - 1][j] + 1, rows[i][j - 1] + 1, change);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                rows[i][j] = min3(rows[i][j], rows[i - 2][j - 2] + 1, rows[i][j]);
                }

        return rows[n_a][n_b];
}

void nearest_consider(struct nearest *nearest, const char *candidate) {
        size_t n_word = strlen(nearest->word), n_candidate = strlen(candidate);
        unsigned distance, allowed;

        if (n_word == 0 || n_word > WORD_MAX || n_candidate > WORD_MAX)
                return;

        allowed = n_word < 6 ? 1 : (unsigned) n_word / 3;
        if (n_word >= 2 && strncmp(nearest->word, candidate, n_word) == 0)
                distance = 1;
        else
                distance = edit_distance(nearest->word, n_word, candidate, n_candidate);

        if (distance > allowed || (nearest->best && distance >= nearest->distance))
                return;

        nearest->best = candidate;
        nearest->distance = distance;
}
