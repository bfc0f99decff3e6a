/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Plain blocking calls with a deadline: the worker has nothing else to do any more, and there may be no ring (that may be the very reason for giving up). */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "cleanup.h"
#include "nbd.h"
#include "refuse.h"

static int64_t now_ms(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Reads n bytes. Returns 0 or a negative errno. */
static int read_exactly(int fd, uint8_t *data, size_t n, int64_t deadline_ms) {
        size_t have = 0;

        while (have < n) {
                struct pollfd pfd = { .fd = fd, .events = POLLIN };
                int64_t left = deadline_ms - now_ms();
                ssize_t r;

                if (left <= 0 || poll(&pfd, 1, (int) left) <= 0)
                        return -ETIMEDOUT;
                r = recv(fd, data + have, n - have, MSG_DONTWAIT);
                if (r == 0)
                        return -ECONNRESET;
                if (r < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (r > 0)
                        have += (size_t) r;
        }
        return 0;
}

static void refuse_one(int fd, const char *message, int64_t deadline_ms) {
        uint8_t bytes[NBD_OPTION_LENGTH_MAX], reply[NBD_TEXT_REPLY_SIZE_MAX];
        struct nbd_option option;
        uint32_t flags;
        size_t n;

        nbd_greeting_encode(bytes);
        if (send(fd, bytes, NBD_GREETING_SIZE, MSG_NOSIGNAL | MSG_DONTWAIT) != NBD_GREETING_SIZE)
                return;
        if (read_exactly(fd, bytes, NBD_CLIENT_FLAGS_SIZE, deadline_ms) < 0 ||
                nbd_client_flags_decode(bytes, &flags) < 0)
                return;

        /* Clients ask for structured replies first and go on after an error, so the sentence is given to each of their first few options. */
        for (unsigned i = 0; i < 4; i++) {
                if (read_exactly(fd, bytes, NBD_OPTION_SIZE, deadline_ms) < 0 ||
                        nbd_option_decode(bytes, NBD_OPTION_SIZE, &option) != (int) NBD_OPTION_SIZE ||
                        option.length > sizeof(bytes) || read_exactly(fd, bytes, option.length, deadline_ms) < 0)
                        return;

                n = nbd_option_error_encode(option.option,
                        option.option == NBD_OPT_STRUCTURED_REPLY ? NBD_REP_ERR_UNSUP : NBD_REP_ERR_SHUTDOWN, message,
                        reply);
                if (send(fd, reply, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) n)
                        return;
        }
}

void refuse_clients(int listen_fd, const char *message, int timeout_ms) {
        int64_t deadline_ms = now_ms() + timeout_ms;
        int flags;

        if (listen_fd < 0)
                return;

        flags = fcntl(listen_fd, F_GETFL);
        (void) fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK);

        while (now_ms() < deadline_ms) {
                _cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

                if (fd < 0)
                        break;
                refuse_one(fd, message, deadline_ms);
        }

        /* The socket is systemd's too, and the next worker's. */
        (void) fcntl(listen_fd, F_SETFL, flags);
}
