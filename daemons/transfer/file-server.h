/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file that is open already, served to NBD clients on a Unix socket of ours: how a converter gets at a file that it could not open itself. */

#include <stdbool.h>
#include <stdint.h>

#include "cleanup.h"

struct file_server;

/* fd: a regular file, borrowed. size: bytes that clients see; what the file does not have of them reads as zeroes. path: where to listen; it must not be there. Serves one client after the other in a thread of its own
 * until it is freed. Returns 0 or a negative errno. */
int file_server_new(int fd, uint64_t size, bool writable, const char *path, struct file_server **ret);
/* Disconnects, ends the thread and removes the socket. */
struct file_server *file_server_free(struct file_server *server);
DEFINE_CLEANUP(struct file_server *, file_server_free);
/* Where the last byte that was written ends. */
uint64_t file_server_written(const struct file_server *server);
