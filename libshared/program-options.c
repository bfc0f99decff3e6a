/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <stdio.h>

#include "error-table.h"
#include "host-config.h"
#include "program-options.h"

static int usage(FILE *out, const char *name, const char *arguments, const char *what, int status) {
        fprintf(out,
                "Usage: %s%s%s\n\n%s\n"
                "  -h, --help     Show this\n"
                "      --version  Show the version\n",
                name, *arguments ? " " : "", arguments, what);
        return status;
}

int program_options(
        int argc, char *argv[], const char *name, const char *arguments, int n_arguments, const char *what) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'h')
                        return usage(stdout, name, arguments, what, 0);
                if (c == 'v')
                        return printf("%s %s\n", name, BLOCKSTORE_VERSION) < 0;
                return usage(stderr, name, arguments, what, FAILURE_USAGE);
        }
        return argc - optind == n_arguments ? -1 : usage(stderr, name, arguments, what, FAILURE_USAGE);
}

int program_image(int argc, char *argv[], const char *name, const char *what, const char **ret_image) {
        const char *image;
        int r;

        r = program_options(argc, argv, name, "NAME", 1, what);
        if (r >= 0)
                return r;

        image = argv[argc - 1];
        if (!image_local_name_is_valid(image)) {
                fprintf(stderr, "%s: \"%s\" cannot be an image's name\n", name, image);
                return FAILURE_USAGE;
        }
        *ret_image = image;
        return -1;
}
