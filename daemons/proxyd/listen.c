/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "listen.h"

#define BACKLOG 4096 /* a host's workers all connect at once; the kernel has a bound of its own, net.core.somaxconn */

/* A proxy that was killed keeps its listening socket until the kernel is done with its io_uring, a little after the process is gone: whoever starts it again at once is to wait
 * for that, and not to fail. */
#define TAKEN_TRIES     50U
#define TAKEN_WAIT_NSEC (20 * 1000 * 1000)

static int refuse(const char *address, const char *port, int error, char **ret_message) {
        int r;

        if (error == -EADDRINUSE)
                r = asprintf(ret_message,
                        "Cannot listen on %s: the address is in use. Stop what has it (ss -ltnp 'sport = :%s' tells), "
                        "or change \"listen\"",
                        address, port);
        else if (error == -EADDRNOTAVAIL)
                r = asprintf(ret_message,
                        "Cannot listen on %s: no interface of this machine has the address. Give one of \"ip "
                        "address\" in \"listen\", or wait for network-online.target",
                        address);
        else if (error == -EACCES)
                r = asprintf(ret_message,
                        "Cannot listen on %s: ports below 1024 are not for this user. Use a higher one", address);
        else
                r = asprintf(ret_message, "Cannot listen on %s: %s", address, strerror(-error));
        if (r < 0)
                *ret_message = NULL;
        return error;
}

static int open_socket(const struct addrinfo *info, int *ret_fd) {
        _cleanup_close_ int fd = -EBADF;

        fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;

        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        /* IPv4 has a socket of its own. */
        if (info->ai_family == AF_INET6)
                (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int));
        if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int listen_open(const char *address, int *ret_fd, char **ret_message) {
        const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
        _cleanup_free_ char *host = NULL;
        struct addrinfo *info;
        char *port, *name;
        size_t n;
        int r;

        host = strdup(address);
        if (!host)
                return -ENOMEM;
        port = strrchr(host, ':');
        if (!port)
                return refuse(address, "", -EINVAL, ret_message);
        *port++ = 0;
        name = host;
        n = strlen(name);
        if (n >= 2 && name[0] == '[' && name[n - 1] == ']') {
                name[n - 1] = 0;
                name++;
        }

        r = getaddrinfo(name, port, &hints, &info);
        if (r != 0) {
                if (asprintf(ret_message, "Cannot listen on %s: %s", address, gai_strerror(r)) < 0)
                        *ret_message = NULL;
                return -EADDRNOTAVAIL;
        }
        r = open_socket(info, ret_fd);
        for (unsigned i = 0; r == -EADDRINUSE && i < TAKEN_TRIES; i++) {
                (void) nanosleep(&(const struct timespec){ .tv_nsec = TAKEN_WAIT_NSEC }, NULL);
                r = open_socket(info, ret_fd);
        }
        freeaddrinfo(info);
        return r < 0 ? refuse(address, port, r, ret_message) : 0;
}

static void free_names(char **names) {
        for (char **name = names; name && *name; name++)
                free(*name);
        free(names);
}

static int check_sockets(int n, char *const *names, struct listen_socket *ret_sockets, char **ret_message) {
        if (n > (int) LISTEN_SYSTEMD_MAX) {
                *ret_message = strdup("The socket unit hands over more than 16 sockets");
                return -E2BIG;
        }

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i, flags;

                if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
                        *ret_message = strdup("The socket unit hands over something else than a listening stream "
                                              "socket: use ListenStream= without Accept=");
                        return -EINVAL;
                }
                /* A ring does not wait on what is non-blocking: it would answer EAGAIN at once. */
                flags = fcntl(fd, F_GETFL);
                if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
                        return -errno;
                ret_sockets[i] = (struct listen_socket){ .fd = fd, .tls = strcmp(names[i], LISTEN_NAME_TLS) == 0 };
        }
        return n;
}

int listen_take_from_systemd(struct listen_socket ret_sockets[static LISTEN_SYSTEMD_MAX], char **ret_message) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names);

        if (n > 0)
                n = check_sockets(n, names, ret_sockets, ret_message);
        free_names(names);
        return n;
}

char *listen_describe(int fd) {
        char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?", *text;
        struct sockaddr_storage sa = {};
        socklen_t size = sizeof(sa);

        if (getsockname(fd, (struct sockaddr *) &sa, &size) >= 0)
                (void) getnameinfo((struct sockaddr *) &sa, size, host, sizeof(host), port, sizeof(port),
                        NI_NUMERICHOST | NI_NUMERICSERV);
        if (asprintf(&text, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port) < 0)
                return NULL;
        return text;
}
