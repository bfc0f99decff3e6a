/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "credential-stores.h"
#include "find.h"
#include "host-config.h"
#include "refusal.h"
#include "tool.h"

#define DECRYPT "systemd-creds"

/* Its output never lies in a file either. */
static int decrypt(
        const char *name, const char *path, char text[static PASSWORD_LINE_MAX], size_t *ret_n, char **ret_message) {
        char option[sizeof("--name=" CREDENTIAL_PREFIX) + IMAGE_LOCAL_NAME_MAX], complaint[TOOL_COMPLAINT_MAX];
        const char *const argv[] = { DECRYPT, "decrypt", "--newline=no", option, path, "-", NULL };
        _cleanup_close_ int readable = -EBADF;
        struct tool tool;
        int ends[2], r;
        ssize_t n;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        readable = ends[0];
        (void) snprintf(option, sizeof(option), "--name=%s", name);
        r = tool_start(&tool, argv, -EBADF, ends[1]);
        safe_close(ends[1]);
        if (r == -ENOENT)
                return refuse_with(
                        ret_message, r, "The credential %s cannot be decrypted: " DECRYPT " is not installed.", path);
        if (r < 0)
                return r;

        n = password_line_read(readable, text);
        /* So that what it has beyond that does not keep it. */
        (void) close(TAKE_FD(readable));
        r = tool_wait(&tool, complaint);
        if (r < 0)
                return r;
        if (n < 0)
                return refuse_with(
                        ret_message, (int) n, "The credential %s cannot be read: %s.", path, strerror((int) -n));
        /* Ended by our hanging up after the first line. */
        if (r != 0 && r != 128 + SIGPIPE)
                return refuse_with(ret_message, -EBADMSG,
                        "The credential %s cannot be decrypted on this machine (%s). Make it anew: systemd-creds "
                        "encrypt --name=%s - %s",
                        path, complaint[0] ? complaint : "no reason was given", name, path);
        *ret_n = (size_t) n;
        return 1;
}

static int read_plain(const char *path, char text[static PASSWORD_LINE_MAX], size_t *ret_n, char **ret_message) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        ssize_t n;

        n = fd < 0 ? -errno : password_line_read(fd, text);
        if (n < 0)
                return refuse_with(
                        ret_message, (int) n, "The credential %s cannot be read: %s.", path, strerror((int) -n));
        *ret_n = (size_t) n;
        return 1;
}

static int look_for(
        const char *root, const char *name, char text[static PASSWORD_LINE_MAX], size_t *ret_n, char **ret_message) {
        for (unsigned i = 0; i < 2 * CREDENTIAL_STORES_N; i++) {
                bool encrypted = i >= CREDENTIAL_STORES_N;
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s%s/%s", root,
                            encrypted ? credential_stores_encrypted[i - CREDENTIAL_STORES_N] : credential_stores[i],
                            name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                /* What cannot even be looked at is there: to go on would be to take another one's. */
                if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
                        continue;
                return encrypted ? decrypt(name, path, text, ret_n, ret_message)
                                 : read_plain(path, text, ret_n, ret_message);
        }
        return 0;
}

int password_find(
        const char *root, const char *image, char text[static PASSWORD_LINE_MAX], size_t *ret_n, char **ret_message) {
        char name[sizeof(CREDENTIAL_PREFIX) + IMAGE_LOCAL_NAME_MAX];
        int r = 0;

        *ret_message = NULL;
        /* To systemd, and so to systemd-creds, a name with a ':' is none of a credential. */
        if (!strchr(image, ':')) {
                (void) snprintf(name, sizeof(name), CREDENTIAL_PREFIX "%s", image);
                r = look_for(root, name, text, ret_n, ret_message);
        }
        return r == 0 ? look_for(root, CREDENTIAL_DEFAULT, text, ret_n, ret_message) : r;
}
