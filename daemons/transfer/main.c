/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "error-table.h"
#include "host-config.h"
#include "log.h"
#include "program-options.h"
#include "transfer.h"

int main(int argc, char *argv[]) {
        const char *image;
        int r;

        r = program_options(argc, argv, "blockstore-transfer", "NAME", 1,
                "Moves the content of image NAME from or to a file, with qemu-img and nbdcopy.\n"
                "blockstore-transfer@NAME.socket starts it for blockstored.\n");
        if (r >= 0)
                return r;

        image = argv[argc - 1];
        if (!image_local_name_is_valid(image)) {
                fprintf(stderr, "blockstore-transfer: \"%s\" cannot be an image's name\n", image);
                return FAILURE_USAGE;
        }
        log_level_init();
        return transfer_run(image);
}
