/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

/* Undoes, in place, the octal escapes ("\040") with which fstab(5), mountinfo, swaps and utab write what would part their fields. Returns whether there is no control character in it now: one would end a line of whatever the
 * text is written to, or, being 0, the text. */
bool octal_unescape(char *text);
