/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* blockstore-generator NORMAL EARLY LATE: see systemd.generator(7). */

#include <stdlib.h>

#include "cleanup.h"
#include "complain.h"
#include "generator.h"
#include "host-config.h"

int main(int argc, char *argv[]) {
        /* The variables are those that systemd's own generators know. */
        struct generator_paths paths = {
                .imagetab = HOST_CONFIG_DIRECTORY "/imagetab",
                .fstab = getenv("SYSTEMD_FSTAB") ?: "/etc/fstab",
                .crypttab = getenv("SYSTEMD_CRYPTTAB") ?: "/etc/crypttab",
                .images = HOST_CONFIG_DIRECTORY "/images.d",
        };

        if (argc != 4) {
                fprintf(stderr, "Usage: blockstore-generator NORMAL EARLY LATE\n"
                                "systemd calls it; see blockstore-generator(8).\n");
                return EXIT_FAILURE;
        }

        /* There are no images before the real root. */
        if (access("/etc/initrd-release", F_OK) == 0)
                return EXIT_SUCCESS;

        paths.normal = argv[1];
        paths.early = argv[2];
        return generator_run(&paths) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
