/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tables are read and units written as at boot, since some mistakes (a mount point that stands there twice) show only then; but into a folder that is thrown away, and complaints go to a file. */

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "complain.h"
#include "rehearsal.h"

#define OPEN_FOLDERS_MAX 8

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) remove(path);
        return 0;
}

int generator_rehearse(const struct generator_paths *tables, FILE *complaints) {
        char folder[] = "/tmp/blockstore-generator.XXXXXX", normal[sizeof(folder) + sizeof("/normal")],
             early[sizeof(folder) + sizeof("/early")];
        struct generator_paths paths = *tables;
        int r;

        if (!mkdtemp(folder))
                return -errno;

        (void) snprintf(normal, sizeof(normal), "%s/normal", folder);
        (void) snprintf(early, sizeof(early), "%s/early", folder);
        paths.normal = normal;
        paths.early = early;
        r = mkdir(normal, 0700) < 0 || mkdir(early, 0700) < 0 ? -errno : 0;
        if (r >= 0) {
                complain_to(complaints);
                r = generator_run(&paths);
                complain_to(NULL);
        }
        (void) nftw(folder, remove_entry, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        return r;
}
