/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A call that changes something, made for an exchange that waits for it. It goes on when the exchange is gone: what was asked for is done, whether or not somebody still listens. */

#include "error-table.h"
#include "httpd.h"

/* Called once, unless the exchange is gone before. failure: FAILURE_NONE, or why not, with a sentence. reply: of a success. */
typedef void (*supervisor_reply_t)(struct httpd *httpd, struct exchange *exchange, enum failure failure,
        const char *message, sd_bus_message *reply);

/* Takes the message. Returns 0 with the exchange waiting, or a negative errno. */
int supervisor_call(struct httpd *httpd, struct exchange *exchange, sd_bus_message *message, supervisor_reply_t done);

/* AttachImage or DetachImage of name, to be filled with options in a container that is open: a{sv}. */
int supervisor_call_new(struct httpd *httpd, const char *member, const char *name, sd_bus_message **ret);

/* The HTTP status that fits. */
unsigned supervisor_failure_status(enum failure failure);
