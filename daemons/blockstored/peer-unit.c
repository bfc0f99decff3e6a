/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A worker is known by its unit: the kernel says which process connected (SO_PEERCRED) and systemd, by the cgroup, which unit that is in. Neither can be chosen by the
 * process itself: a cgroup's path is given by whoever may move processes, and a user's units live below user@UID.service.
 *
 * A process id may be used again after its process has died. So the process is pinned first by a pidfd (from the socket itself where the kernel gives one, 6.5 and
 * later), then its unit is read, then it is made sure that the pinned process was alive all the time. */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include <systemd/sd-login.h>

#include "cleanup.h"
#include "host-config.h"
#include "peer-unit.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define UNIT_PREFIX "image@"
#define UNIT_SUFFIX ".service"

int peer_unit_parse(const char *unit, char **ret_name) {
        size_t n = strlen(unit), n_prefix = strlen(UNIT_PREFIX), n_suffix = strlen(UNIT_SUFFIX);
        _cleanup_free_ char *name = NULL;

        if (n <= n_prefix + n_suffix || strncmp(unit, UNIT_PREFIX, n_prefix) != 0 ||
                strcmp(unit + n - n_suffix, UNIT_SUFFIX) != 0)
                return -EINVAL;

        name = strndup(unit + n_prefix, n - n_prefix - n_suffix);
        if (!name)
                return -ENOMEM;

        if (!image_local_name_is_valid(name))
                return -EINVAL;

        *ret_name = TAKE_PTR(name);
        return 0;
}

int peer_unit_identify(int fd, char **ret_name, pid_t *ret_pid, uid_t *ret_uid) {
        _cleanup_close_ int pidfd = -EBADF;
        _cleanup_free_ char *unit = NULL, *name = NULL;
        struct ucred credentials = {};
        socklen_t n = sizeof(credentials);
        struct pollfd poll_entry;
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) < 0)
                return -errno;
        if (credentials.pid <= 0)
                return -EACCES; /* from outside our process namespace */

        n = sizeof(pidfd);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &n) < 0) {
                pidfd = pidfd_open(credentials.pid, 0);
                if (pidfd < 0)
                        return errno == ESRCH ? -EACCES : -errno;
        }

        r = sd_pid_get_unit(credentials.pid, &unit);
        if (r < 0)
                return r == -ENOMEM ? r : -EACCES;

        poll_entry = (struct pollfd){ .fd = pidfd, .events = POLLIN };
        r = poll(&poll_entry, 1, 0);
        if (r < 0)
                return -errno;
        if (r > 0)
                return -EACCES; /* it has died: what was read may be somebody else's */

        r = peer_unit_parse(unit, &name);
        if (r < 0)
                return r == -ENOMEM ? r : -EACCES;

        *ret_name = TAKE_PTR(name);
        *ret_pid = credentials.pid;
        *ret_uid = credentials.uid;
        return 0;
}
