/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "log.h"
#include "server.h"
#include "settings.h"

static const char usage[] =
        "Usage: blockstore-proxyd [--check-config] NAME | --config=FILE\n\n"
        "Serves the images of a store. NAME stands for " SETTINGS_DIRECTORY "/NAME.json.\n\n"
        "      --config=FILE   The configuration file\n"
        "      --check-config  Say whether the configuration can be used, or all that is wrong with it, and exit\n"
        "  -h, --help          Show this\n      --version       Show the version\n";

static int complain(enum failure failure, const char *message) {
        const char *line = message ? message : "Out of memory";

        (void) sd_notifyf(0, "STATUS=%.*s\nERRNO=0", (int) strcspn(line, "\n"), line);
        /* What is wrong with a configuration may be several lines. */
        for (size_t n; *line; line += n + (line[n] ? 1 : 0)) {
                n = strcspn(line, "\n");
                log_event(LOG_ERR, NULL, "%.*s", (int) n, line);
        }
        return (int) failure;
}

int main(int argc, char **argv) {
        static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                { "check-config", no_argument, NULL, 'k' }, { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' }, {} };
        _cleanup_(server_freep) struct server *server = NULL;
        _cleanup_free_ char *path = NULL, *message = NULL;
        enum failure failure = FAILURE_INTERNAL;
        bool check = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                if (c == 'h' || c == 'v')
                        return fputs(c == 'h' ? usage : "blockstore-proxyd " BLOCKSTORE_VERSION "\n", stdout) < 0;
                else if (c == 'k')
                        check = true;
                else if (c != 'c' || !(path = strdup(optarg)))
                        return FAILURE_USAGE;
        if ((optind < argc) == !!path || argc - optind > 1)
                return fputs(usage, stderr) < 0 ? FAILURE_INTERNAL : FAILURE_USAGE;
        if (!path && asprintf(&path, SETTINGS_DIRECTORY "/%s.json", argv[optind]) < 0)
                return FAILURE_INTERNAL;

        log_level_init();
        r = check ? server_check_config(path, &failure, &message) : server_new(&server, path, &failure, &message);
        if (r < 0)
                return complain(failure, message);
        if (check ? printf("%s can be used.\n", path) < 0 : server_run(server) < 0)
                return complain(FAILURE_INTERNAL, "The ring has failed");
        return FAILURE_NONE;
}
