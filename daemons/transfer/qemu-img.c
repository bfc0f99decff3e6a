/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-img.h"

double qemu_img_parse_progress(const char *text) {
        const char *open = NULL;
        double percent;
        char *end;

        for (const char *c = text; (c = strchr(c, '(')); c++)
                if (strstr(c, "/100%)"))
                        open = c;
        if (!open)
                return -1;
        percent = strtod(open + 1, &end);
        if (end == open + 1 || *end != '/' || percent < 0 || percent > 100)
                return -1;
        return percent / 100;
}

int qemu_img_run(const char *const argv[], void (*progress)(double share, void *userdata), void *userdata,
        char complaint[static TOOL_COMPLAINT_MAX]) {
        _cleanup_close_ int readable = -EBADF;
        char text[256];
        struct tool tool;
        size_t kept = 0;
        int ends[2], r;
        ssize_t n;

        complaint[0] = 0;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        readable = ends[0];
        r = tool_start(&tool, argv, -EBADF, ends[1]);
        safe_close(ends[1]);
        if (r < 0)
                return r;

        while ((n = read(readable, text + kept, sizeof(text) - 1 - kept)) != 0) {
                double share;

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        break;
                }
                kept += (size_t) n;
                text[kept] = 0;
                share = qemu_img_parse_progress(text);
                if (share >= 0 && progress)
                        progress(share, userdata);
                /* One that has come in two pieces. */
                if (kept > sizeof(text) / 2) {
                        memmove(text, text + kept - 32, 32);
                        kept = 32;
                }
        }
        return tool_wait(&tool, complaint);
}

const char *tool_package(const char *program) {
        if (strcmp(program, "nbdcopy") == 0)
                return "libnbd-bin (Debian, Ubuntu) or libnbd (Fedora, Arch)";
        return "qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, Arch)";
}
