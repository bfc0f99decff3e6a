/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a generator says: to the journal where it runs already, else to the kernel's log, which the journal reads later, else to standard error. */

#include <syslog.h>

#include "cleanup.h"

/* "FILE:LINE: sentence", with the fields CONFIG_FILE= and CONFIG_LINE= in the journal. line 0: the file as a whole. image may be NULL. Control characters become '?'. */
void complain(int priority, const char *file, unsigned line, const char *image, const char *format, ...)
        _printf_(5, 6);

/* For tests: what is said goes to this file only; NULL: as above. */
void complain_to(FILE *file);
