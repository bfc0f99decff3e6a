/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "passed-password.h"

int passed_password_take(struct passed_password *ret) {
        char **names = NULL;
        int n, r = 0;

        *ret = (struct passed_password){};
        n = sd_listen_fds_with_names(false, &names);
        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                bool password = strcmp(names[i], PASSWORD_PASSED) == 0,
                     refused = strcmp(names[i], PASSWORD_REFUSED) == 0;

                if ((password || refused) && !ret->there) {
                        ssize_t k = password_line_read(SD_LISTEN_FDS_START + i, ret->line);

                        ret->there = k >= 0;
                        ret->refused = refused;
                        ret->n = k < 0 ? 0 : (size_t) k;
                        ret->line[ret->n] = 0;
                        if (k < 0)
                                r = (int) k;
                }
                free(names[i]);
        }
        free(names);

        /* The pipe is empty now. Left where it is, it would only be one descriptor more. */
        if (ret->there) {
                (void) sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" PASSWORD_PASSED);
                (void) sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" PASSWORD_REFUSED);
        }
        return r;
}

void passed_password_wipe(struct passed_password *passed) {
        explicit_bzero(passed, sizeof(*passed));
}
