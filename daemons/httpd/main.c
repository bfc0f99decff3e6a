/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>

#include "error-table.h"
#include "httpd.h"
#include "log.h"

static int usage(FILE *out, int status) {
        fprintf(out, "Usage: blockstore-httpd\n\n"
                     "Shows the images of this host to browsers, Prometheus and other HTTP clients.\n"
                     "systemd starts it with its sockets (blockstore-httpd.socket).\n\n"
                     "  -h, --help     Show this\n"
                     "      --version  Show the version\n");
        return status;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                {},
        };
        _cleanup_(httpd_freep) struct httpd *httpd = NULL;
        sigset_t mask;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'h')
                        return usage(stdout, 0);
                if (c == 'v')
                        return puts(BLOCKSTORE_VERSION) < 0;
                return usage(stderr, FAILURE_USAGE);
        }
        if (optind != argc)
                return usage(stderr, FAILURE_USAGE);

        log_level_init();
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGPIPE);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);

        r = httpd_new(&httpd);
        if (r == -EINVAL)
                return FAILURE_CONFIGURATION;
        if (r >= 0)
                r = httpd_run(httpd);
        return r < 0 ? FAILURE_SYSTEM : 0;
}
