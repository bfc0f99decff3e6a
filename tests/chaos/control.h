/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A second host, as small as can be: a blocking IVBS client that logs in at a proxy, for what is done beside the worker (creating the image, draining a proxy, attaching
 * as somebody else). It blocks for some seconds at most, so the driver runs it in a child of its own, see control_fork(). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cleanup.h"
#include "ivbs-hello.h"

struct control {
        int fd;
        uint8_t session_id[IVBS_SESSION_ID_SIZE];
        uint64_t caps; /* granted */
        uint32_t sequence;
        uint8_t machine_id[IVBS_UUID_SIZE];
};

#define CONTROL_REPLY_MAX 65536U

/* Connects to 127.0.0.1:port, says HELLO as a machine of its own (machine: any number), logs in. Returns 0, or a negative errno. */
int control_open(struct control *control, uint16_t port, uint8_t machine, const char *user, const char *password);
void control_close(struct control *control);
/* One request and its reply; NOTICE and LIST_PROXIES that come between are passed over. Returns the reply's status (0: OK), or a negative errno. ret_reply may be NULL. */
int control_call(
        struct control *control, uint32_t op, const void *payload, size_t n, uint8_t *ret_reply, size_t *ret_n);

int control_create_image(struct control *control, const char *name, uint64_t size); /* as control_call() */
int control_drain(struct control *control, bool undo);

/* Runs function(userdata) in a child that dies with the driver; its result (0-255) is the exit status. Returns the child's pid. */
pid_t control_fork(int (*function)(void *userdata), void *userdata);
