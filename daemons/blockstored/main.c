/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "image-log.h"
#include "manager.h"

static int usage(FILE *out, int status) {
        fprintf(out,
                "Usage: blockstored\n\n"
                "The blockstore supervisor: owns org.blockstore on the system bus and the kernel devices of images.\n"
                "systemd starts it (blockstored.service).\n\n"
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
        _cleanup_(manager_freep) struct manager *manager = NULL;
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
        umask(0022);
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGPIPE);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);

        r = manager_new(&manager);
        if (r < 0)
                log_message(LOG_ERR, "The supervisor cannot be set up: %s", strerror(-r));
        if (r >= 0)
                r = manager_startup(manager);
        if (r >= 0)
                r = manager_run(manager);
        return r < 0 ? FAILURE_INTERNAL : 0;
}
