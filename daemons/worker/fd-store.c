/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The memfd goes last: without it the descriptors mean nothing, so that a predecessor that was killed in between has left nothing. What was received stays in the store until somebody is about to serve it: a successor that dies
 * before that has changed nothing, and the next one finds the same. From the moment that one byte is read from a connection it must not be there any more, or the next would continue from a point that is
 * past; that is why clearing waits for systemd. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>

#include "fd-store.h"

#define STATE_NAME      "succession"
#define CONNECTION_NAME "connection"
#define BARRIER_USEC    (1000U * 1000U)

static int store(const char *name, const int *fds, size_t n) {
        char text[64];
        int r;

        snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
        r = sd_pid_notify_with_fds(0, false, text, fds, (unsigned) n);
        if (r == 0)
                return -EUNATCH; /* not run by systemd */
        return r < 0 ? r : 0;
}

static int barrier(void) {
        int r = sd_notify_barrier(false, BARRIER_USEC);

        return r < 0 ? r : 0;
}

int fd_store_leave(const struct succession *succession) {
        const struct legacies *legacies = succession->legacies;
        _cleanup_close_ int memfd = -EBADF;
        int fds[LEGACIES_MAX], r;

        r = succession_write(succession, &memfd);
        if (r < 0)
                return r;
        for (size_t i = 0; i < legacies->n; i++)
                fds[i] = legacies->items[i].fd;
        if (legacies->n > 0)
                r = store(CONNECTION_NAME, fds, legacies->n);
        if (r >= 0)
                r = store(STATE_NAME, &memfd, 1);
        return r < 0 ? r : barrier();
}

int fd_store_receive(int *ret_listen_fd, struct succession **ret_succession, bool *ret_found) {
        _cleanup_close_ int memfd = -EBADF;
        int fds[LEGACIES_MAX], n, r = 0;
        char **names = NULL;
        size_t n_fds = 0;

        *ret_listen_fd = -EBADF;
        *ret_succession = NULL;
        *ret_found = false;

        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                bool connection = strcmp(names[i], CONNECTION_NAME) == 0, state = strcmp(names[i], STATE_NAME) == 0;

                *ret_found |= connection || state;
                if (connection && n_fds < LEGACIES_MAX)
                        fds[n_fds++] = fd;
                else if (state && memfd < 0)
                        memfd = fd;
                else if (*ret_listen_fd < 0 && sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0)
                        *ret_listen_fd = fd;
                else
                        safe_close(fd);
                free(names[i]);
        }
        free(names);

        if (memfd >= 0)
                r = succession_read(memfd, fds, n_fds, ret_succession);
        for (size_t i = 0; i < n_fds; i++)
                safe_close(fds[i]);
        return r;
}

int fd_store_clear(void) {
        int r;

        r = sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" STATE_NAME);
        if (r >= 0)
                r = sd_notify(false, "FDSTOREREMOVE=1\nFDNAME=" CONNECTION_NAME);
        return r < 0 ? r : barrier();
}
