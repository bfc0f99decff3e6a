/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <stdio.h>

#include "error-table.h"
#include "program-options.h"

static int usage(FILE *out, const char *name, const char *what, int status) {
        fprintf(out,
                "Usage: %s\n\n%s\n"
                "  -h, --help     Show this\n"
                "      --version  Show the version\n",
                name, what);
        return status;
}

int program_options(int argc, char *argv[], const char *name, const char *what) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'h')
                        return usage(stdout, name, what, 0);
                if (c == 'v')
                        return printf("%s %s\n", name, BLOCKSTORE_VERSION) < 0;
                return usage(stderr, name, what, FAILURE_USAGE);
        }
        return optind == argc ? -1 : usage(stderr, name, what, FAILURE_USAGE);
}
