/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Called, as root, before the worker of image NAME starts. That there is no password is for the worker to say, and so is why there is none: people and programs ask it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "error-table.h"
#include "find.h"
#include "pass.h"
#include "program-options.h"

int main(int argc, char *argv[]) {
        _cleanup_free_ char *message = NULL;
        _cleanup_free_ char *notify = NULL;
        const char *image, *variable;
        char text[PASSWORD_LINE_MAX];
        size_t n = 0;
        int r;

        r = program_image(argc, argv, "blockstore-password",
                "Gives the worker of image NAME its password, from systemd's credential stores: blockstore.NAME, or\n"
                "blockstore.default. image@NAME.service calls it before it starts.\n",
                &image);
        if (r >= 0)
                return r;

        /* What is run to decrypt it must not tell systemd of its own failures. */
        variable = getenv("NOTIFY_SOCKET");
        notify = variable ? strdup(variable) : NULL;
        (void) unsetenv("NOTIFY_SOCKET");
        r = password_find("", image, text, &n, &message);
        if (notify)
                (void) setenv("NOTIFY_SOCKET", notify, 1);

        if (r < 0 && message)
                r = pass_line(PASSWORD_REFUSED, message, strnlen(message, PASSWORD_LINE_MAX - 1));
        else if (r >= 0)
                r = pass_line(PASSWORD_PASSED, r > 0 ? text : NULL, n);
        explicit_bzero(text, sizeof(text));
        if (r < 0)
                fprintf(stderr, "blockstore-password: the password of image %s cannot be given to its worker: %s\n",
                        image,
                        r == -EUNATCH ? "it is for systemd to call this, as image@.service says" : strerror(-r));
        return r < 0 ? FAILURE_SYSTEM : 0;
}
