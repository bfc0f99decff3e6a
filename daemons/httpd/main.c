/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "block-signals.h"
#include "error-table.h"
#include "httpd.h"
#include "log.h"
#include "program-options.h"

int main(int argc, char *argv[]) {
        _cleanup_(httpd_freep) struct httpd *httpd = NULL;
        int r;

        r = program_options(argc, argv, "blockstore-httpd", "", 0,
                "Shows the images of this host to browsers, Prometheus and other HTTP clients.\n"
                "systemd starts it with its sockets (blockstore-httpd.socket).\n");
        if (r >= 0)
                return r;

        log_level_init();
        (void) block_signals(SIGTERM, SIGINT, SIGPIPE, 0);

        r = httpd_new(&httpd);
        if (r == -EINVAL)
                return FAILURE_CONFIGURATION;
        if (r >= 0)
                r = httpd_run(httpd);
        return r < 0 ? FAILURE_SYSTEM : 0;
}
