/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* blockstore-generator NORMAL EARLY LATE: see systemd.generator(7). blockstore-generator --check: tells what it would complain of. */

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "generator.h"
#include "host-config.h"
#include "rehearsal.h"

int main(int argc, char *argv[]) {
        /* The variables are those that systemd's own generators know. */
        struct generator_paths paths = {
                .imagetab = HOST_CONFIG_DIRECTORY "/imagetab",
                .fstab = getenv("SYSTEMD_FSTAB") ?: "/etc/fstab",
                .crypttab = getenv("SYSTEMD_CRYPTTAB") ?: "/etc/crypttab",
                .images = HOST_CONFIG_DIRECTORY "/images.d",
        };

        if (argc == 2 && strcmp(argv[1], "--check") == 0)
                return generator_rehearse(&paths, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        if (argc != 4) {
                fprintf(stderr, "Usage: blockstore-generator NORMAL EARLY LATE\n"
                                "       blockstore-generator --check\n"
                                "systemd calls the former; see blockstore-generator(8).\n");
                return EXIT_FAILURE;
        }

        /* There are no images before the real root. */
        if (access("/etc/initrd-release", F_OK) == 0)
                return EXIT_SUCCESS;

        paths.normal = argv[1];
        paths.early = argv[2];
        return generator_run(&paths) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
