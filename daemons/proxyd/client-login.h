/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between client-login.c (password, ticket) and client-scram.c. The operation is client->control, the name in control->name. */

#include "client.h"

/* On the users' thread: reads the users file when it is another one than was read last. */
void client_refresh_users(struct job *job);
/* Back on the ring's: what it has read is taken. */
void client_take_users(struct client *client);

/* Whether a password may be tried; else the answer has gone. */
bool client_may_try(struct client *client);

/* Both answer. status: PERMISSION_DENIED, or PERMANENT_ERROR when what is stored cannot be used. */
void client_refused(struct client *client, enum ivbs_status status);
void client_logged_in(struct client *client, const char *how, const void *payload, size_t n);
uint64_t client_realtime_sec(void);
