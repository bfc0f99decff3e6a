/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sockets that wait for clients. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

#define LISTEN_SYSTEMD_MAX 16U

/* address: "HOST:PORT", "[V6]:PORT"; port 0: a free one. Returns 0, or a negative errno with *ret_message a sentence that says what to do. */
int listen_open(const char *address, int *ret_fd, char **ret_message);

/* FileDescriptorName= of a socket unit whose clients speak TLS. */
#define LISTEN_NAME_TLS "tls"

struct listen_socket {
        int fd;
        bool tls;
};

/* The sockets that systemd has opened for us, at most LISTEN_SYSTEMD_MAX; the caller owns them. Returns how many, or a negative errno with *ret_message. */
int listen_take_from_systemd(struct listen_socket ret_sockets[static LISTEN_SYSTEMD_MAX], char **ret_message);

/* "HOST:PORT" of a listening socket, to be freed; NULL when out of memory. */
char *listen_describe(int fd);
