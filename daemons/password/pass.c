/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "cleanup.h"
#include "pass.h"
#include "password-line.h"

#define BARRIER_USEC (5U * 1000U * 1000U)

/* A pipe holds it all: nobody needs to read meanwhile, and the writing end can be closed. Returns the reading end. */
static int make_pipe(const char *text, size_t n) {
        char newline = '\n';
        struct iovec iov[] = { { .iov_base = (char *) text, .iov_len = n }, { .iov_base = &newline, .iov_len = 1 } };
        _cleanup_close_ int readable = -EBADF, writable = -EBADF;
        int ends[2];
        ssize_t k;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        readable = ends[0];
        writable = ends[1];
        k = writev(writable, iov, ELEMENTSOF(iov));
        if (k < 0)
                return -errno;
        return (size_t) k == n + 1 ? TAKE_FD(readable) : -EIO;
}

int pass_line(const char *fd_name, const char *text, size_t n) {
        _cleanup_close_ int fd = -EBADF;
        char words[64];
        int r;

        r = sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" PASSWORD_PASSED);
        if (r == 0)
                return -EUNATCH;
        if (r > 0)
                r = sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" PASSWORD_REFUSED);
        if (r > 0 && text) {
                r = fd = make_pipe(text, n);
                /* Not polled: that nobody writes any more would count as a hang-up, and systemd would drop it. */
                (void) snprintf(words, sizeof(words), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", fd_name);
                if (r >= 0)
                        r = sd_pid_notify_with_fds(0, false, words, &fd, 1);
        }
        /* Also because systemd has to know of which unit we are when it reads this. */
        if (r >= 0)
                r = sd_notify_barrier(false, BARRIER_USEC);
        return r < 0 ? r : 0;
}
