/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel device as the worker sees it: wanted, asked for, there, being given back; a visible table of states. Main thread. */

#include <systemd/sd-event.h>

#include "engine.h"
#include "supervisor-link.h"

enum device_state {
        DEVICE_ABSENT, /* none is wanted */
        DEVICE_WANTED, /* the supervisor cannot be reached, or has just failed: ask again soon */
        DEVICE_CONNECTING,
        DEVICE_CONNECTED,
        DEVICE_WAITING, /* the kernel keeps its requests to itself until there is a proxy to ask */
        DEVICE_DISCONNECTING,
        _DEVICE_STATE_MAX,
};

struct device_link;

struct device_link_events {
        /* The device is there for the first time, or again. */
        void (*connected)(void *userdata, const char *node);
        /* It has that size, bytes, which it was told by device_link_resize(). */
        void (*resized)(void *userdata, uint64_t size);
        /* It cannot be had, before it was there once. */
        void (*failed)(void *userdata, enum failure failure, const char *message);
        /* The answer to device_link_disconnect(). FAILURE_NONE: it is gone. */
        void (*disconnected)(void *userdata, enum failure failure, const char *message);
};

const char *device_state_to_string(enum device_state state);

int device_link_new(struct device_link **ret, sd_event *event, struct engine *engine,
        struct supervisor_link *supervisor, const struct device_link_events *events, void *userdata);
struct device_link *device_link_free(struct device_link *device);
DEFINE_CLEANUP(struct device_link *, device_link_free);

/* The image is attached: get the device. */
void device_link_connect(struct device_link *device, const struct attachment *attachment);
/* A former worker's connection to the kernel is being served: connected() follows at once. */
void device_link_adopt(struct device_link *device, const struct attachment *attachment, const char *node);
/* The kernel may have one that a former worker has connected: giving it back is not done without asking. */
void device_link_expect(struct device_link *device);
/* Give it back; disconnected() follows, at once when there is none. */
void device_link_disconnect(struct device_link *device);
/* The image has another size: the device is to have it, too. */
void device_link_resize(struct device_link *device, uint64_t size);
/* Whether I/O waits for a proxy, and for long (no proxy can be had). When it has waited for a moment, or will for long, the kernel is told to take its requests back; when it no longer does, the kernel gets a new
 * pair. */
void device_link_set_waiting(struct device_link *device, bool waits, bool for_long);
enum device_state device_link_get_state(const struct device_link *device);

/* What the owner hears from others and passes on. */
void device_link_supervisor_up(struct device_link *device);
void device_link_kernel_lost(struct device_link *device);
void device_link_answer_connected(
        struct device_link *device, enum failure failure, const char *message, const char *node);
void device_link_answer_told(struct device_link *device, enum failure failure);
void device_link_answer_resized(struct device_link *device, enum failure failure);
void device_link_answer_disconnected(struct device_link *device, enum failure failure, const char *message);
