/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* Remembers the best of the words it is shown. Start with { .word = WHAT THE USER TYPED }. */
struct nearest {
        const char *word;
        const char *best; /* NULL: nothing came near enough to be suggested */
        unsigned distance;
};

void nearest_consider(struct nearest *nearest, const char *candidate);
