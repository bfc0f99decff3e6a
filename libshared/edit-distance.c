/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Damerau's distance, of which three rows are kept: a swap of neighbours looks two rows back. */

#include <stddef.h>
#include <string.h>

#include "edit-distance.h"

unsigned edit_distance(const char *a, const char *b) {
        unsigned rows[3][EDIT_DISTANCE_MAX + 1], *before = rows[0], *previous = rows[1], *current = rows[2];
        size_t n = strnlen(a, EDIT_DISTANCE_MAX), m = strnlen(b, EDIT_DISTANCE_MAX);

        memset(rows, 0, sizeof(rows));
        for (unsigned j = 0; j <= m; j++)
                previous[j] = j;

        for (unsigned i = 1; i <= n; i++) {
                unsigned *spare = before;

                current[0] = i;
                for (unsigned j = 1; j <= m; j++) {
                        unsigned best = previous[j - 1] + (a[i - 1] != b[j - 1]);

                        if (previous[j] + 1 < best)
                                best = previous[j] + 1;
                        if (current[j - 1] + 1 < best)
                                best = current[j - 1] + 1;
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                                best = before[j - 2] + 1;
                        current[j] = best;
                }

                before = previous;
                previous = current;
                current = spare;
        }

        return previous[m];
}
