/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "log.h"
#include "program-options.h"
#include "transfer.h"

int main(int argc, char *argv[]) {
        const char *image;
        int r;

        r = program_image(argc, argv, "blockstore-transfer",
                "Moves the content of image NAME from or to a file, with qemu-img and nbdcopy.\n"
                "blockstore-transfer@NAME.socket starts it for blockstored.\n",
                &image);
        if (r >= 0)
                return r;

        log_level_init();
        return transfer_run(image);
}
