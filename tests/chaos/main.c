/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <signal.h>

#include "options.h"
#include "run.h"

int main(int argc, char *argv[]) {
        struct options options;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        r = options_parse(&options, argc, argv);
        if (r != 0)
                return r < 0 ? 2 : 0;
        return run_chaos(&options);
}
