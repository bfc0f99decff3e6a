/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "error-table.h"
#include "log.h"
#include "query.h"
#include "reclaim.h"
#include "worker.h"

static int usage(FILE *out, int status) {
        fprintf(out, "Usage: blockstore-worker NAME\n"
                     "       blockstore-worker --query INSTANCE\n\n"
                     "Serves image NAME of this host, or store operations. Both take their socket from systemd:\n"
                     "see image@.service and blockstore-query@.service.\n");
        return status;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "query", required_argument, NULL, 'q' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                {},
        };
        const char *instance = NULL;
        int c;

        log_level_init();
        umask(0077);
        /* Workers share a user: none of them may look into another's memory. */
        (void) prctl(PR_SET_DUMPABLE, 0);

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'q':
                        instance = optarg;
                        break;
                case 'h':
                        return usage(stdout, EXIT_SUCCESS);
                case 'V':
                        puts("blockstore-worker " BLOCKSTORE_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return usage(stderr, FAILURE_USAGE);
                }

        if (!instance && reclaim_prepare() < 0)
                log_event(LOG_NOTICE, NULL,
                        "Without CAP_SYS_RESOURCE: swap and memory pressure on top of this image may stall");
        if (instance)
                return optind == argc ? query_run(instance) : usage(stderr, FAILURE_USAGE);
        return optind == argc - 1 ? worker_run(argv[optind]) : usage(stderr, FAILURE_USAGE);
}
