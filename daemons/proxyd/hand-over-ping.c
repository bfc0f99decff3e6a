/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether a proxy is alive: the question of hand-over-ask.c about no image at all, for those who block. It goes to the one process among those that meet here which has the pid; an image
 * need not be named, and one that is not held is answered at once. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "directory.h"
#include "hand-over-message.h"

/* Connects to a name when it is the process' that is meant. Returns a descriptor, or -ESRCH. */
static int connect_to(int directory_fd, const char *name, uint64_t pid) {
        struct sockaddr_un address = hand_over_address(directory_fd, name);
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        uint64_t found;

        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
                !hand_over_is_one_of_us(fd, &found) || found != pid)
                return -ESRCH;
        return TAKE_FD(fd);
}

static int find(int directory_fd, uint64_t pid) {
        DIR *directory = directory_open(directory_fd, ".");
        struct dirent *entry;
        int found = -ESRCH;

        if (!directory)
                return -errno;
        while (found < 0 && (entry = readdir(directory)))
                if (entry->d_name[0] != '.' && strlen(entry->d_name) < STORE_SOCKET_NAME_SIZE)
                        found = connect_to(directory_fd, entry->d_name, pid);
        closedir(directory);
        return found;
}

int hand_over_ping(int directory_fd, uint64_t pid) {
        const struct hand_over_message question = hand_over_message(HAND_OVER_ASK, HAND_OVER_CLASSIC, SD_ID128_NULL);
        _cleanup_close_ int fd = -EBADF;
        struct pollfd pfd;
        int r;

        fd = find(directory_fd, pid);
        if (fd < 0)
                return fd;
        (void) hand_over_send(fd, &question);
        pfd = (struct pollfd){ .fd = fd, .events = POLLIN };
        /* Whatever comes, even a hang-up, was done by somebody. */
        r = poll(&pfd, 1, HAND_OVER_ACK_USEC / 1000U);
        for (unsigned usec = HAND_OVER_ACK_USEC; r == 0 && usec < HAND_OVER_BUSY_USEC; usec += HAND_OVER_LOOK_USEC) {
                bool busy = hand_over_process_is_busy(pid);

                /* One that is seen idle may just have answered. */
                r = poll(&pfd, 1, HAND_OVER_LOOK_USEC / 1000U);
                if (!busy)
                        break;
        }
        return r > 0;
}
