/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "Did you mean": the edit distance (insert, delete, replace, swap of neighbours) between what was typed and what
 * there is. A suggestion that shares next to nothing with the word is worse than none, so at most a third of the
 * letters may differ, and one in short words; a candidate that the word is the beginning of counts as near. */

#include <string.h>

#include "edit-distance.h"
#include "nearest.h"

#define WORD_MAX 24U

void nearest_consider(struct nearest *nearest, const char *candidate) {
        size_t n_word = strlen(nearest->word), n_candidate = strlen(candidate);
        unsigned distance, allowed;

        if (n_word == 0 || n_word > WORD_MAX || n_candidate > WORD_MAX)
                return;

        allowed = n_word < 6 ? 1 : (unsigned) n_word / 3;
        if (n_word >= 2 && strncmp(nearest->word, candidate, n_word) == 0)
                distance = 1;
        else
                distance = edit_distance(nearest->word, candidate);

        if (distance > allowed || (nearest->best && distance >= nearest->distance))
                return;

        nearest->best = candidate;
        nearest->distance = distance;
}
