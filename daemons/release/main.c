/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Called when image@NAME.service is to stop. It never keeps it from stopping. */

#include <stdio.h>

#include "error-table.h"
#include "host-config.h"
#include "program-options.h"
#include "release.h"

int main(int argc, char *argv[]) {
        const char *image;
        int r;

        r = program_options(argc, argv, "blockstore-release", "NAME", 1,
                "While the system goes down: unmounts and removes what rests on the device of image NAME. Otherwise "
                "it\n"
                "does nothing. image@NAME.service calls it when it stops.\n");
        if (r >= 0)
                return r;

        image = argv[argc - 1];
        if (!image_local_name_is_valid(image)) {
                fprintf(stderr, "blockstore-release: \"%s\" cannot be an image's name\n", image);
                return FAILURE_USAGE;
        }
        release_image(image);
        return 0;
}
