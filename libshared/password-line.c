/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "password-line.h"

ssize_t password_line_read(int fd, char ret[static PASSWORD_LINE_MAX]) {
        size_t n = 0;

        while (n < PASSWORD_LINE_MAX) {
                ssize_t k = read(fd, ret + n, PASSWORD_LINE_MAX - n);
                const char *newline;

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        return (ssize_t) n;
                newline = memchr(ret + n, '\n', (size_t) k);
                if (newline)
                        return newline - ret;
                n += (size_t) k;
        }
        return -EFBIG;
}
