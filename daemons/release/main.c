/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Called when image@NAME.service is to stop. It never keeps it from stopping. */

#include "program-options.h"
#include "release.h"

int main(int argc, char *argv[]) {
        const char *image;
        int r;

        r = program_image(argc, argv, "blockstore-release",
                "While the system goes down: unmounts and removes what rests on the device of image NAME. Otherwise "
                "it\n"
                "does nothing. image@NAME.service calls it when it stops.\n",
                &image);
        if (r >= 0)
                return r;

        release_image(image);
        return 0;
}
