/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* blockstore-generator NORMAL EARLY LATE: see systemd.generator(7). blockstore-generator --check: tells what it would complain of. */

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "complain.h"
#include "generator.h"
#include "host-config.h"
#include "program-options.h"
#include "rehearsal.h"

int main(int argc, char *argv[]) {
        /* The variables are those that systemd's own generators know. */
        struct generator_paths paths = {
                .imagetab = HOST_CONFIG_DIRECTORY "/imagetab",
                .fstab = getenv("SYSTEMD_FSTAB") ?: "/etc/fstab",
                .crypttab = getenv("SYSTEMD_CRYPTTAB") ?: "/etc/crypttab",
                .images = HOST_CONFIG_DIRECTORY "/images.d",
        };
        int r;

        if (argc == 2 && strcmp(argv[1], "--check") == 0)
                return generator_rehearse(&paths, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = program_options(argc, argv, "blockstore-generator", "NORMAL EARLY LATE", 3,
                "Writes units from imagetab, fstab and crypttab into these directories: systemd calls it.\n\n"
                "      --check    Write nothing: tell what it would complain of. No arguments then\n");
        if (r >= 0)
                return r;

        /* There are no images before the real root. */
        if (access("/etc/initrd-release", F_OK) == 0)
                return EXIT_SUCCESS;

        paths.normal = argv[argc - 3];
        paths.early = argv[argc - 2];
        return generator_run(&paths) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
