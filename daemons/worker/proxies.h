/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who can be asked: the configured proxies and those that proxies announce, with priority, health, back-off and the ticket for the next login. Knows no sockets. One thread only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host-config.h"
#include "ivbs-scram.h"
#include "legacy.h"

#define PROXY_BACKOFF_MIN_USEC (50U * 1000U)
#define PROXY_BACKOFF_MAX_USEC (5U * 1000U * 1000U)
#define PROXY_REASON_MAX       256U
#define PROXIES_ANNOUNCED_MAX  32U /* of IVBS_PROXIES_MAX in all, and fewer beside more than 32 configured ones */

enum proxy_state {
        PROXY_UNKNOWN,
        PROXY_ACTIVE,
        PROXY_STANDBY, /* a session is logged in, in reserve */
        PROXY_REACHABLE,
        PROXY_UNREACHABLE,
        PROXY_REFUSED,  /* it answers, and will not have us */
        PROXY_DRAINING, /* it answers, and asks to use another one for now */
        _PROXY_STATE_MAX,
};

struct proxy {
        char address[IVBS_PROXY_ADDRESS_MAX + 1];
        uint16_t priority;
        bool announced; /* not configured: known from a list */
        enum proxy_state state;
        bool tried;                /* in vain, in this round: the others have their turn first */
        unsigned failures;         /* since it last served */
        uint64_t failed_usec;      /* when it last did; 0: never */
        uint64_t not_before_usec;  /* it backs off until then; 0: it does not */
        uint64_t drain_until_usec; /* PROXY_DRAINING: not before then as long as there is another */
        uint64_t round_trip_usec;  /* mean of what was measured, newer ones counting more; 0: not known */
        /* When it last greeted us: who attaches nothing is let in all the same, and not told when that ends. */
        bool drained;
        char reason[PROXY_REASON_MAX]; /* of the last failure; "" after a success */

        unsigned n_users; /* see proxy_ref() */
        size_t n_ticket;  /* 0: none */
        uint8_t ticket[IVBS_TICKET_MAX];
        bool ticket_is_proved;                    /* it is of use only to who knows the key */
        uint8_t ticket_key[IVBS_TICKET_KEY_SIZE]; /* which is never sent */
};

struct proxies;

const char *proxy_state_to_string(enum proxy_state state);

/* seed: of the jitter. Configured ones beyond IVBS_PROXIES_MAX are left out. */
int proxies_new(struct proxies **ret, const struct proxy_address *configured, size_t n_configured, uint64_t seed);
struct proxies *proxies_free(struct proxies *proxies);
DEFINE_CLEANUP(struct proxies *, proxies_free);

/* The best of those that may be tried now, except one (NULL: any); or NULL with the time at which one may (UINT64_MAX: there is none). Best: one that does not drain, then one that was not tried in vain in this round, which is over when each was, then by
 * priority, by fewest failures, by latency where it is clearly different, by the order of the list. One that drains is passed over for PROXY_BACKOFF_MAX_USEC, unless
 * any will do (except NULL) and there is no other. The pointer is good until the list is merged; whoever keeps it longer takes a reference. */
struct proxy *proxies_choose(
        struct proxies *proxies, uint64_t now_usec, const struct proxy *except, uint64_t *ret_when_usec);

/* A proxy's announced list: new ones are added, up to PROXIES_ANNOUNCED_MAX; announced ones that are no longer named nor in use are forgotten. Addresses that
 * cannot be parsed are passed over, and the first mention of one counts. Returns whether anything changed. */
bool proxies_merge(struct proxies *proxies, const struct ivbs_proxy *announced, size_t n);

/* A session that points to the entry, say. While there is one, or its state is ACTIVE or STANDBY, the entry stays where it is and what it is. */
struct proxy *proxy_ref(struct proxy *proxy);
/* Accepts NULL, returns NULL. */
struct proxy *proxy_unref(struct proxy *proxy);

/* It let us in: ACTIVE, no more back-off. round_trip_usec as of proxy_measured(). Its failures are not forgotten yet: one that lets us in and drops us would be tried without end. */
void proxy_succeeded(struct proxy *proxy, uint64_t round_trip_usec);
/* It has answered I/O, or kept a session for some seconds: its failures are forgotten. */
void proxy_served(struct proxy *proxy);
/* How long an answer took; 0: not known. */
void proxy_measured(struct proxy *proxy, uint64_t round_trip_usec);
/* Backs off: from PROXY_BACKOFF_MIN_USEC, doubled with each failure, capped at PROXY_BACKOFF_MAX_USEC, with jitter. Several failures during one back-off, as when all
 * sessions to a proxy end, are one. state: UNREACHABLE, REFUSED or DRAINING. */
void proxy_failed(
        struct proxies *proxies, struct proxy *proxy, uint64_t now_usec, enum proxy_state state, const char *reason);

/* Whether each has refused us or could not be reached since then. One that drains is about to be something else. */
bool proxies_have_failed_since(const struct proxies *proxies, uint64_t since_usec);

/* Somebody waits: who backs off may be tried at once, and backs off from the beginning if that fails. Not the one given, and not those that drain. */
void proxies_hurry(struct proxies *proxies, const struct proxy *except);
/* The same when one that has served is lost or left: a new round begins, with the best of the others. */
void proxies_start_over(struct proxies *proxies, const struct proxy *lost);

/* For the next login (n: 1 - IVBS_TICKET_MAX bytes, else there is none then); replaces the last one. */
void proxy_set_ticket(struct proxy *proxy, const uint8_t *ticket, size_t n);
/* The same for one that is proved with a key. */
void proxy_set_proved_ticket(
        struct proxy *proxy, const uint8_t *ticket, size_t n, const uint8_t key[static IVBS_TICKET_KEY_SIZE]);
/* It was refused. Its bytes are wiped. */
void proxy_forget_ticket(struct proxy *proxy);

/* Copies of the proved tickets, up to LEFT_TICKETS_MAX, for the next worker; those of others are read by whoever reads on the network, and are not left. */
void proxies_leave_tickets(const struct proxies *proxies, struct left_tickets *ret);
/* What was left for proxies that are known by now. One that is void costs its proxy another login. */
void proxies_take_tickets(struct proxies *proxies, const struct left_tickets *tickets);

/* Without those that are forgotten. An index is good until the list is merged. */
size_t proxies_count(const struct proxies *proxies);
const struct proxy *proxies_get(const struct proxies *proxies, size_t i);
struct proxy *proxies_get_writable(struct proxies *proxies, size_t i);
