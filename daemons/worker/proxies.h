/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who can be asked: the configured proxies and those that proxies announce, with priority, health and back-off. Knows no sockets. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host-config.h"
#include "ivbs-hello.h"

#define PROXY_BACKOFF_MIN_USEC (50U * 1000U)
#define PROXY_BACKOFF_MAX_USEC (5U * 1000U * 1000U)
#define PROXY_REASON_MAX       256U

enum proxy_state {
        PROXY_UNKNOWN,
        PROXY_ACTIVE,
        PROXY_REACHABLE,
        PROXY_UNREACHABLE,
        PROXY_REFUSED, /* it answers, and will not have us */
        _PROXY_STATE_MAX,
};

struct proxy {
        char address[IVBS_PROXY_ADDRESS_MAX + 1];
        uint16_t priority;
        bool announced; /* not configured: known from a list */
        enum proxy_state state;
        unsigned failures; /* since the last success */
        uint64_t not_before_usec;
        uint64_t round_trip_usec;
        char reason[PROXY_REASON_MAX]; /* of the last failure */
};

struct proxies;

const char *proxy_state_to_string(enum proxy_state state);

/* seed: of the jitter. */
int proxies_new(struct proxies **ret, const struct proxy_address *configured, size_t n_configured, uint64_t seed);
struct proxies *proxies_free(struct proxies *proxies);
DEFINE_CLEANUP(struct proxies *, proxies_free);

/* The best that may be tried now (by priority, then by fewest failures, then in list order), or NULL with the time at which one may (UINT64_MAX: there is none). The
 * pointer stays valid for the life of the list. */
struct proxy *proxies_choose(struct proxies *proxies, uint64_t now_usec, uint64_t *ret_when_usec);

/* A proxy's announced list: new ones are added, up to IVBS_PROXIES_MAX in all; announced ones that are no longer named and not active are forgotten for choosing. Addresses
 * that cannot be parsed are passed over. Returns whether anything changed. */
bool proxies_merge(struct proxies *proxies, const struct ivbs_proxy *announced, size_t n);

void proxy_succeeded(struct proxy *proxy, uint64_t round_trip_usec);
/* Backs off: doubled with each failure, capped, with jitter. */
void proxy_failed(
        struct proxies *proxies, struct proxy *proxy, uint64_t now_usec, enum proxy_state state, const char *reason);

size_t proxies_count(const struct proxies *proxies);
const struct proxy *proxies_get(const struct proxies *proxies, size_t i);
struct proxy *proxies_get_writable(struct proxies *proxies, size_t i);
