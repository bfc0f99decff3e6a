/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <signal.h>

#include "interrupt.h"
#include "options.h"
#include "rules.h"
#include "run.h"

int main(int argc, char *argv[]) {
        struct options options;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        r = options_parse(&options, argc, argv);
        if (r != 0)
                return r < 0 ? 2 : 0;
        interrupt_catch();
        r = options.rule ? rules_run(options.rule, options.build, options.directory, options.rules_off)
                         : run_chaos(&options);
        interrupt_finish();
        return r;
}
