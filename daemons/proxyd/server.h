/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The whole proxy: one ring, its listeners and clients, from the configuration to the clean stop. */

#include "cleanup.h"
#include "error-table.h"

struct server;

/* Everything up to READY: settings, users, store, sockets. Returns 0, or a negative errno with *ret_failure the exit status and *ret_message a sentence for the
 * administrator (NULL when out of memory). Blocks SIGTERM, SIGINT and SIGHUP. */
int server_new(struct server **ret, const char *config_path, enum failure *ret_failure, char **ret_message);

/* Serves until SIGTERM or SIGINT and until its clients are gone, or the time for that is over. Returns 0 or a negative errno. */
int server_run(struct server *server);
struct server *server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* Reads the configuration and the users, and nothing more. As server_new(). */
int server_check_config(const char *config_path, enum failure *ret_failure, char **ret_message);
