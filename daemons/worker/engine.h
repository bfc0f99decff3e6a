/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The I/O thread: ring, frontends and pool together. The functions here are for the main thread, and so are the events, which come from its loop. */

#include <systemd/sd-event.h>

#include "io-stats.h"
#include "legacy.h"
#include "pool.h"

struct engine;

#define ENGINE_REASON_MAX 640U

struct engine_proxy {
        char address[IVBS_PROXY_ADDRESS_MAX + 1];
        uint16_t priority;
        enum proxy_state state;
        uint64_t round_trip_usec; /* 0: not known */
        unsigned failures;        /* since the last success */
        bool announced;
        bool drained;                  /* as of the last survey */
        char reason[PROXY_REASON_MAX]; /* of the last failure; "" after a success */
};

/* A picture of the I/O thread: taken when something changed, and once a second while there is I/O. */
struct engine_status {
        enum pool_state state;
        char reason[ENGINE_REASON_MAX];
        uint64_t state_since_usec;                     /* CLOCK_REALTIME, µs; 0: not known */
        char active_proxy[IVBS_PROXY_ADDRESS_MAX + 1]; /* "" without one */
        char standby_proxy[IVBS_PROXY_ADDRESS_MAX +
                           1]; /* the proxy of the logged-in session in reserve; "" without one */
        bool classic;
        unsigned n_sessions;     /* that carry I/O */
        uint64_t retained_bytes; /* acknowledged, not yet known to be durable */
        uint64_t failovers;
        uint64_t reconnects; /* connections that were made in place of lost ones */
        unsigned n_clients;
        struct io_stats stats; /* a stall that is under way is among those counted */
        uint64_t stalled_usec; /* for how long it has lasted; 0: there is none */
        uint64_t latency_usec; /* mean of what was completed since the last picture */
        size_t n_proxies;
        struct engine_proxy proxies[IVBS_PROXIES_MAX];
};

struct engine_events {
        /* The image is attached for the first time; attachment is a copy. */
        void (*attached)(void *userdata, const struct attachment *attachment);
        void (*status)(void *userdata, const struct engine_status *status);
        /* The image has another size, bytes. */
        void (*resized)(void *userdata, uint64_t size);
        /* Terminal. message: a sentence for a user. */
        void (*failed)(void *userdata, enum failure failure, const char *message);
        /* The kernel's end of the device was closed by the kernel. */
        void (*kernel_lost)(void *userdata);
        /* After engine_hand_over(), before stopped(): takes legacies. May be NULL if that is never called. */
        void (*left)(void *userdata, struct legacies *legacies);
        /* After engine_stop() or engine_hand_over(): error 0, or why the last flush failed. */
        void (*stopped)(void *userdata, int error);
        /* The I/O thread is alive: feeds the watchdog. */
        void (*alive)(void *userdata);
};

struct engine_settings {
        const struct host_config *config;
        const struct credentials *credentials;
        const char *name; /* local name: what NBD clients may ask for */
        struct attachment *
                attachment; /* name, mode and directory filled; NULL: for store operations. The I/O thread's from now on */
        int listen_fd;      /* NBD clients; -EBADF: none. Stays the caller's */
        uint64_t alive_usec;                /* how often alive() is to come; 0: never */
        const struct left_tickets *tickets; /* of the worker before; NULL: none. Need not outlive engine_new() */
};

/* Starts the thread. What settings points to must outlive the engine. Returns 0, or a negative errno: see ring_new(). */
int engine_new(struct engine **ret, sd_event *event, const struct engine_settings *settings,
        const struct engine_events *events, void *userdata);
/* Joins the thread; blocks only if it was not stopped before. */
struct engine *engine_free(struct engine *engine);
DEFINE_CLEANUP(struct engine *, engine_free);

/* After attached(): begins to accept NBD clients. */
int engine_accept(struct engine *engine);
/* After attached(): serves the kernel's driver on our end of the pair. Takes fd. A former one is closed. */
int engine_serve_kernel(struct engine *engine, int fd);
/* A memfd with a struct heat_map, of the frontends' requests; stays the engine's. -EBADF: there is none. */
int engine_heat_fd(const struct engine *engine);
/* The transmission flags, NBD_FLAG_*, that fit an attachment. */
uint16_t engine_nbd_flags(const struct attachment *attachment);

/* The end is near: I/O waits no longer for a proxy than pool.h allows then. */
int engine_limit_wait(struct engine *engine);
/* Closes the frontends (the kernel's without answering what is under way: the kernel keeps it), stops the pool. stopped() follows within timeout_usec and a little. */
int engine_stop(struct engine *engine, bool detach, uint64_t timeout_usec);

/* For a worker that has a successor: takes nothing new, finishes and flushes within timeout_usec, and lets go of the frontends' connections without closing them; what is not answered by then is left to the
 * successor with them. left() follows, then stopped() with what has become of the flush. The lease is kept. */
int engine_hand_over(struct engine *engine, uint64_t timeout_usec);
/* After attached(): continues what engine_hand_over() left. Takes legacies, also on failure. */
int engine_adopt(struct engine *engine, struct legacies *legacies);

/* A store operation on the next ready session: see session_call(). reply comes on the main thread: error -ENOTCONN with message when each proxy has been tried in vain since (-EACCES: and one of them has refused the login), or no session could be had within timeout_usec,
 * -ETIMEDOUT when it did not answer. n: at most 512. */
typedef void (*engine_reply_t)(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message);
int engine_call(struct engine *engine, uint32_t op, const void *payload, size_t n, uint64_t timeout_usec,
        engine_reply_t reply, void *userdata);

/* The same, asked of the proxy at this address (as address_normalise() gives it) and no other, whether it is configured or not, on a connection of its own; n: at most 64. The reply's payload is not passed on.
 * error: -ETIMEDOUT, -EACCES when it refused the login, -EOPNOTSUPP when it does not know the operation, -ENOTCONN else; message says more. */
int engine_call_proxy(struct engine *engine, const char *address, uint32_t op, const void *payload, size_t n,
        uint64_t timeout_usec, engine_reply_t reply, void *userdata);

/* Finds out which proxies would have us; done comes on the main thread with a fresh picture. For store operations only. */
typedef void (*engine_surveyed_t)(void *userdata, const struct engine_status *status);
int engine_survey(struct engine *engine, engine_surveyed_t done, void *userdata);
