/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How near a word is to another, for "did you mean". */

#define EDIT_DISTANCE_MAX 64U /* bytes of either word that are compared */

/* How many letters must be changed, added, left out or swapped with their neighbour to make b of a. */
unsigned edit_distance(const char *a, const char *b);
