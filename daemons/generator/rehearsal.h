/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the generator would complain of at the next boot. */

#include <stdio.h>

#include "generator.h"

/* Reads the tables (of paths those that are written to do not count) and changes nothing. Each complaint is a line "<PRIORITY>FILE:LINE: TEXT" on the given file, PRIORITY as in syslog(3). Returns 0, or a negative errno:
 * not all could be read or tried. */
int generator_rehearse(const struct generator_paths *tables, FILE *complaints);
