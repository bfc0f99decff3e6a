/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A crash of a store at each step of what it does in turn: it tells of its steps, and a child dies at one of them. */

#include "store-file.h"

static unsigned steps_left;

static void die_at_step(const char *step) {
        if (--steps_left == 0)
                _exit(0);
}

/* For a child: it ends with 0 at the step of this number, counted from 1. */
static inline void die_at(unsigned step) {
        steps_left = step;
        store_file_step = die_at_step;
}
