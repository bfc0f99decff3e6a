/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sessions of an attachment, and the requests that are on their way: the pool chooses who is asked, asks again when a session dies, and lets I/O wait while there is
 * nobody. All sessions that carry I/O go to one proxy, the active one; another session stands by, logged in, at the next. */

#include "session.h"

enum pool_state {
        POOL_CONNECTING, /* never attached yet */
        POOL_ATTACHED,
        POOL_RECONNECTING, /* was attached; another session is being made, and I/O waits for it */
        POOL_PARKED,       /* was attached; no proxy can be had, and I/O waits */
        POOL_STOPPING,
        POOL_FAILED, /* terminal: all I/O fails */
        _POOL_STATE_MAX,
};

struct pool;

struct pool_ops {
        /* First attach: the attachment is filled. */
        void (*attached)(void *userdata);
        /* The image has another size, which the attachment has now. May be NULL. */
        void (*resized)(void *userdata);
        /* State, active proxy, or the list of proxies changed. */
        void (*changed)(void *userdata);
        /* Terminal: the image cannot be served. message: a sentence for a user. */
        void (*failed)(void *userdata, enum failure failure, const char *message);
        /* After pool_stop(): nothing is in the kernel any more. error: 0, or why the last flush did not succeed. */
        void (*stopped)(void *userdata, int error);
};

const char *pool_state_to_string(enum pool_state state);

/* Starts at once. attachment NULL: sessions for store operations. All pointers must outlive the pool. */
int pool_new(struct pool **ret, struct ring *ring, struct buffers *buffers, struct requests *requests,
        const struct host_config *config, const struct credentials *credentials, struct attachment *attachment,
        const struct pool_ops *ops, void *userdata);
/* Only after stopped(), or when it never started. */
struct pool *pool_free(struct pool *pool);
DEFINE_CLEANUP(struct pool *, pool_free);

/* Takes a request; its done() follows. */
void pool_submit(struct pool *pool, struct request *request);

/* Waits for what is in flight, flushes, gives up the lease if detach is set, and closes; stopped() follows, at the latest after timeout_usec, by when what could not be done is
 * failed. */
void pool_stop(struct pool *pool, bool detach, uint64_t timeout_usec);

/* For the end: from now on I/O waits no longer than usec for a proxy, then it fails. One that is there may take its time. pool_stop() does so with POOL_STOP_WAIT_USEC, unless it was done before. */
#define POOL_STOP_WAIT_USEC (5U * 1000U * 1000U)
void pool_limit_wait(struct pool *pool, uint64_t usec);

/* Somebody waits for a session: whoever backs off is tried now. */
void pool_hurry(struct pool *pool);

/* What there is to know. Strings and pointers are valid until the next step. */
enum pool_state pool_get_state(const struct pool *pool);
uint64_t pool_get_state_since(const struct pool *pool); /* CLOCK_REALTIME, µs */
/* A sentence why the state is what it is, "" when there is nothing to say. */
const char *pool_get_reason(const struct pool *pool);
/* What that is when it is a proxy's refusal; FAILURE_NONE when no proxy refuses us. */
enum failure pool_get_refusal(struct pool *pool);
const struct proxy *pool_get_active(const struct pool *pool);  /* or NULL */
const struct proxy *pool_get_standby(const struct pool *pool); /* or NULL */
unsigned pool_get_sessions(const struct pool *pool);           /* that carry I/O */
uint64_t pool_get_retained(const struct pool *pool); /* bytes that are acknowledged and not known to be durable */
struct proxies *pool_get_proxies(struct pool *pool);
uint64_t pool_get_failovers(const struct pool *pool);
/* Connections that came to carry I/O beyond the most that there ever were at once: those in place of lost ones. */
uint64_t pool_get_reconnects(const struct pool *pool);
/* A ready session, or NULL: for store operations. */
struct session *pool_get_session(struct pool *pool);
