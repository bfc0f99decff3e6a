/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>
#include <sys/stat.h>

#include "block-signals.h"
#include "image-log.h"
#include "manager.h"
#include "program-options.h"

int main(int argc, char *argv[]) {
        _cleanup_(manager_freep) struct manager *manager = NULL;
        int r;

        r = program_options(argc, argv, "blockstored", "", 0,
                "The blockstore supervisor: owns org.blockstore on the system bus and the kernel devices of images.\n"
                "systemd starts it (blockstored.service).\n");
        if (r >= 0)
                return r;

        log_level_init();
        umask(0022);
        (void) block_signals(SIGTERM, SIGINT, SIGPIPE, 0);

        r = manager_new(&manager);
        if (r < 0)
                log_message(LOG_ERR, "The supervisor cannot be set up: %s", strerror(-r));
        if (r >= 0)
                r = manager_startup(manager);
        if (r >= 0)
                r = manager_run(manager);
        return r < 0 ? FAILURE_INTERNAL : 0;
}
