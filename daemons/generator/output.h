/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a generator writes: unit files, drop-ins and links below the directories that systemd has given it. */

#include "cleanup.h"

/* directory/name, made anew; an existing one is left and -EEXIST returned. Writes the printed text. Returns 0 or a negative errno. */
int output_unit(const char *directory, const char *name, const char *format, ...) _printf_(3, 4);

/* directory/UNIT.d/50-blockstore.conf, appended to if it is there. */
int output_dropin(const char *directory, const char *unit, const char *format, ...) _printf_(3, 4);

/* directory/UNIT.wants/WANTED, to WANTED in the directory of installed units or, if instance_of is given, to that template there. An existing one is well. */
int output_wants(const char *directory, const char *unit, const char *wanted, const char *instance_of);

/* Text for a setting of a unit file: '%' is doubled. Free it. NULL: no memory. */
char *output_specifiers_escape(const char *text);
