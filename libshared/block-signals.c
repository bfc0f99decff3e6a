/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "block-signals.h"

sigset_t block_signals(int first, ...) {
        sigset_t set;
        va_list ap;

        sigemptyset(&set);
        va_start(ap, first);
        for (int number = first; number != 0; number = va_arg(ap, int))
                sigaddset(&set, number);
        va_end(ap);
        /* It fails for a wrong first argument only. */
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        return set;
}
