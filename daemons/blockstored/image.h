/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An image as the supervisor knows it: what it is called, in which state it is and why, and what its worker last said about it. Knows no D-Bus and starts nothing. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cleanup.h"
#include "error-table.h"
#include "latency.h"

#define IMAGE_STRING_MAX  1024U /* bytes of any string that a worker sends */
#define IMAGE_PROXIES_MAX 64U

/* What a server can be unable to give; classic ones give none. Bits. */
enum image_feature {
        IMAGE_FEATURE_LEASE = 1U << 0,      /* one writer: another host is refused, or fenced by a takeover */
        IMAGE_FEATURE_FENCE = 1U << 1,      /* a request of a lost connection cannot take effect later */
        IMAGE_FEATURE_FLUSH = 1U << 2,      /* a flush reaches the disk */
        IMAGE_FEATURE_DURABILITY = 1U << 3, /* the loss of what was not flushed is noticed and made good */
};

enum image_state {
        IMAGE_INACTIVE,
        IMAGE_ATTACHING,
        IMAGE_ATTACHED,
        IMAGE_RECONNECTING, /* the worker is away or has no session, and is expected back */
        IMAGE_PARKED,       /* no proxy is left: I/O waits */
        IMAGE_DETACHING,
        IMAGE_FAILED,
        _IMAGE_STATE_MAX,
        _IMAGE_STATE_INVALID = -EINVAL,
};

/* What happens to an image, apart from what its worker says. */
enum image_event {
        IMAGE_EVENT_START,  /* its unit is being started */
        IMAGE_EVENT_LINKED, /* a worker has called in */
        IMAGE_EVENT_LINK_LOST,
        IMAGE_EVENT_DEVICE_FOUND, /* the kernel has its device, or the unit is up, and no worker is known: one is expected */
        IMAGE_EVENT_STOP,         /* its unit is being stopped */
        IMAGE_EVENT_STOP_REFUSED, /* somebody holds the device */
        IMAGE_EVENT_UNIT_STARTED, /* active without a link: nothing to say about I/O */
        IMAGE_EVENT_UNIT_GONE,    /* inactive, for good */
        IMAGE_EVENT_UNIT_FAILED,
        _IMAGE_EVENT_MAX,
};

/* Bits for what has changed; one for each D-Bus property that announces itself. */
enum image_property {
        IMAGE_IMAGE_NAME = 1U << 0,
        IMAGE_UUID = 1U << 1,
        IMAGE_SIZE = 1U << 2,
        IMAGE_READ_ONLY = 1U << 3,
        IMAGE_STATE = 1U << 4,
        IMAGE_STATE_REASON = 1U << 5,
        IMAGE_DEVICE = 1U << 6,
        IMAGE_ACTIVE_PROXY = 1U << 7,
        IMAGE_PROXIES = 1U << 8,
        IMAGE_CONFIGURED = 1U << 9,
        IMAGE_FAILOVERS = 1U << 10,
        IMAGE_FAILURE = 1U << 11,
        IMAGE_STATE_SINCE = 1U << 12,
        IMAGE_SESSIONS = 1U << 13,
        IMAGE_STANDBY_PROXY = 1U << 14,
        IMAGE_PROXY_HEALTH = 1U << 15,
        IMAGE_MISSING_FEATURES = 1U << 16,
        IMAGE_OWNER = 1U << 17,
        IMAGE_DETACH_PENDING = 1U << 18,
};

struct image_proxy {
        char *address, *state, *origin;
        uint32_t priority;
        uint64_t round_trip_usec;
};

struct image_health {
        char *address, *reason; /* of the last failure; "" for none */
        uint32_t failures;      /* since the last success */
};

struct image_counters {
        uint64_t read_operations, write_operations, flush_operations, read_bytes, written_bytes, errors, latency_usec,
                retained_bytes, reconnects, stalls, longest_stall_usec, stalled_usec;
        uint32_t in_flight;
        struct latency read_latency, write_latency, flush_latency;
};

/* What one Update said: only what is set in the mask, or not NULL, applies. Strings are borrowed. */
struct image_status {
        enum image_state state; /* _IMAGE_STATE_INVALID: not said */
        const char *state_reason, *image_name, *uuid, *active_proxy, *standby_proxy;
        uint64_t state_since_usec; /* CLOCK_REALTIME; 0: not said */
        uint64_t size, failovers;
        uint32_t n_sessions, missing_features;
        bool read_only;
        const struct image_proxy *proxies;
        size_t n_proxies;
        const struct image_health *health;
        size_t n_health;
        uint32_t mask;                  /* of those that are neither strings nor states */
        struct image_counters counters; /* the whole, with what was not said as it was */
        enum failure failure;           /* FAILURE_NONE: not said */
};

struct image {
        char *name;
        char *image_name, *uuid, *state_reason, *device, *active_proxy, *standby_proxy; /* "" for none, never NULL */
        uint64_t size, failovers;
        uint32_t n_sessions, missing_features;
        bool read_only, configured, linked;
        uint32_t owner_uid;  /* who has attached it */
        bool detach_pending; /* when nobody holds the device any more */
        enum image_state state;
        uint64_t state_since_usec; /* CLOCK_REALTIME */
        struct image_proxy *proxies;
        size_t n_proxies;
        struct image_health *health;
        size_t n_health;
        struct image_counters counters;
        enum failure failure,
                told_failure; /* why it has failed, or its worker gives up; what was last announced of it */

        /* mask: what has changed since it was last called. May be NULL. */
        void (*changed)(struct image *image, uint32_t mask);
        void *owner;
};

const char *image_state_to_string(enum image_state state);
enum image_state image_state_from_string(const char *text);

/* The name of one bit, NULL for none of them; 0 for a name that is not known. */
const char *image_feature_to_string(enum image_feature feature);
uint32_t image_feature_from_string(const char *text);

/* name must be valid (image_local_name_is_valid()). */
int image_new(const char *name, struct image **ret);
struct image *image_free(struct image *image);
DEFINE_CLEANUP(struct image *, image_free);

/* Moves to what the table gives for the event; reason (NULL: nothing to say) is shown with the new state. Returns whether the state has changed. */
bool image_handle_event(struct image *image, enum image_event event, const char *reason);

/* The same for IMAGE_EVENT_UNIT_FAILED, with the kind of failure. */
bool image_fail(struct image *image, enum failure failure, const char *reason);

/* While State is failed: why; else FAILURE_NONE. */
enum failure image_shown_failure(const struct image *image);

/* Takes over what a worker said, as far as it has a say. Returns 0, -ENOMEM, or -EINVAL for a string too long, a UUID that is none, or too many proxies; then
 * nothing is taken over. */
int image_apply_status(struct image *image, const struct image_status *status);

/* What did not come from a worker. Return 0 or -ENOMEM. */
int image_set_device(struct image *image, const char *device);
int image_set_reason(struct image *image, const char *reason);
void image_set_owner(struct image *image, uint32_t uid);
void image_set_detach_pending(struct image *image, bool pending);
int image_set_configuration(struct image *image, bool configured, const char *image_name, bool read_only);

/* Forgets what only a worker knows: counters, proxies, size. */
void image_forget_worker(struct image *image);

/* Whether the object may vanish: nothing on this host knows of it any more. */
bool image_is_forgettable(const struct image *image);
