/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* blockstore-release NAME: called when image@NAME.service is to stop. It never keeps it from stopping. */

#include <stdio.h>
#include <stdlib.h>

#include "host-config.h"
#include "release.h"

int main(int argc, char *argv[]) {
        if (argc != 2 || !image_local_name_is_valid(argv[1])) {
                fprintf(stderr, "Usage: blockstore-release NAME\nimage@NAME.service calls it when it stops.\n");
                return EXIT_FAILURE;
        }

        release_image(argv[1]);
        return EXIT_SUCCESS;
}
