/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a function of a library ends that cannot do what it is asked to, and whose caller tells people: makes *ret_message the sentence, NULL when memory is out, and returns error, a negative errno. */

#include "cleanup.h"

int refuse_with(char **ret_message, int error, const char *format, ...) _printf_(3, 4);
