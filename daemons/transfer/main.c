/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* blockstore-transfer NAME: moves the content of one image to or from a file. Started by blockstore-transfer@NAME.socket for the supervisor. */

#include <stdio.h>

#include "error-table.h"
#include "host-config.h"
#include "log.h"
#include "transfer.h"

int main(int argc, char *argv[]) {
        if (argc != 2 || !image_local_name_is_valid(argv[1])) {
                fprintf(stderr, "Usage: blockstore-transfer NAME\nblockstore-transfer@NAME.service runs it for "
                                "blockstored.\n");
                return FAILURE_USAGE;
        }

        log_level_init();
        return transfer_run(argv[1]);
}
