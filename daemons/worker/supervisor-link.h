/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The worker's side of the private link: calls the supervisor, hands it descriptors, shows it state. Main thread. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "engine.h"
#include "error-table.h"

struct supervisor_link;

struct supervisor_link_events {
        /* The supervisor can be called, for the first time or again after it was gone. */
        void (*up)(void *userdata);
        /* Answers. failure FAILURE_NONE: done; else message is a sentence for a user. A link that broke meanwhile answers with FAILURE_SYSTEM. */
        void (*device_connected)(void *userdata, enum failure failure, const char *message, const char *node);
        void (*device_disconnected)(void *userdata, enum failure failure, const char *message);
        void (*device_told)(void *userdata, enum failure failure, const char *message);
        /* The type of the job that systemd has for our unit; "" for none, or when it could not be told. */
        void (*unit_job)(void *userdata, const char *type);
        /* The kernel's device of this image, "" for none. Does not come when it could not be told. */
        void (*device_known)(void *userdata, const char *node);
        void (*device_resized)(void *userdata, enum failure failure, const char *message);
};

/* Connects, and connects again for as long as it lives. */
int supervisor_link_new(
        struct supervisor_link **ret, sd_event *event, const struct supervisor_link_events *events, void *userdata);
struct supervisor_link *supervisor_link_free(struct supervisor_link *link);
DEFINE_CLEANUP(struct supervisor_link *, supervisor_link_free);

bool supervisor_link_is_up(const struct supervisor_link *link);
/* Why it is not up: a sentence. */
const char *supervisor_link_reason(const struct supervisor_link *link);

/* kernel_fd: the kernel's end of the pair; it is sent as a copy and stays the caller's. flags: NBD_FLAG_*. Returns 0, or a negative errno: -ENOTCONN when the link is down. */
int supervisor_link_connect_device(
        struct supervisor_link *link, int kernel_fd, const struct attachment *attachment, uint16_t flags);
int supervisor_link_disconnect_device(struct supervisor_link *link);
/* Whether I/O waits for a proxy: device_told() follows. One device call at a time. */
int supervisor_link_set_device_waiting(struct supervisor_link *link, bool waiting);

/* unit_job() and device_known() follow. -ENOTCONN when the link is down, -EOPNOTSUPP with a supervisor that is too old for the question. */
int supervisor_link_ask_job(struct supervisor_link *link);
int supervisor_link_ask_device(struct supervisor_link *link);

/* size: bytes. device_resized() follows. */
int supervisor_link_resize_device(struct supervisor_link *link, uint64_t size);

/* fd: of a heat map; it is sent as a copy. Nothing follows. -ENOTCONN when the link is down, -EOPNOTSUPP with a supervisor that is too old for it. */
int supervisor_link_share_heat(struct supervisor_link *link, int fd);

/* Dropped silently while the link is down: up() is the time to show everything. attachment may be NULL. failure: FAILURE_NONE unless the worker is about to give up. state, since_usec (CLOCK_REALTIME)
 * and reason are the worker's, which knows more than the I/O thread's in status. */
void supervisor_link_update(struct supervisor_link *link, const struct engine_status *status,
        const struct attachment *attachment, const char *state, uint64_t since_usec, const char *reason,
        enum failure failure);
/* Sends what is queued, for the end. */
void supervisor_link_flush(struct supervisor_link *link);
