/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An NBD stream into requests, and answers back: the kernel's driver (which starts in the transmission phase) or a client on the worker's Unix socket (which shakes hands
 * first). */

#include <stdbool.h>
#include <sys/queue.h>

#include "io-stats.h"
#include "legacy.h"
#include "nbd.h"
#include "request.h"
#include "stream.h"

struct frontend;

/* How long a client may take until it uses the image. Meanwhile it holds one of the places that there are for clients. */
#define FRONTEND_HANDSHAKE_USEC (30U * 1000U * 1000U)

struct frontend_ops {
        /* A client wants to use the image, or only to know of it (use false): what it is told. With use, the frontend counts as a user of it until closed(). */
        void (*open)(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret);
        void (*submit)(void *userdata, struct request *request);
        /* The last call; the frontend is freed after it. error as of struct stream_ops. */
        void (*closed)(void *userdata, struct frontend *frontend, int error);
        /* The answer to frontend_release(), before closed(). The receiver takes what it wants out of the legacy. */
        void (*left)(void *userdata, struct frontend *frontend, struct legacy *legacy);
};

enum frontend_phase {
        FRONTEND_FLAGS, /* the greeting is out, the client's flags are awaited */
        FRONTEND_OPTIONS,
        FRONTEND_TRANSMISSION,
        FRONTEND_DISCONNECTING, /* the client said DISC: answer what is under way, then close */
};

struct frontend {
        TAILQ_ENTRY(frontend) entry; /* the engine's */
        struct stream stream;
        enum frontend_phase phase;
        bool kernel;
        bool writes; /* was told that it may write */
        bool structured;
        uint32_t client_flags;
        struct nbd_export export;
        const char *name;
        struct requests *requests;
        struct io_stats *stats;
        const struct frontend_ops *ops;
        void *userdata;

        struct request_list in_flight; /* by owner_entry: submitted, not answered yet */
        unsigned n_in_flight;
        struct request *receiving; /* the write whose data is coming */
        unsigned n_held;           /* slots of ours, until their answers have gone to the socket */
        size_t held_bytes;         /* their data */
        bool crowded;              /* paused until answers have been read */
        uint32_t skip;             /* data of a write that was refused */
        struct request_waiter waiter;
        unsigned n_options;                /* asked so far */
        struct ring_timer handshake_timer; /* a client's, until transmission */
        bool quiet;                        /* about to be released: nothing more goes to the pool */
        bool stream_is_closed;
        int error; /* then, for closed() */
};

TAILQ_HEAD(frontend_list, frontend);

/* Takes fd, also on failure. export: for the kernel, what it was configured with; NULL for a client. name: the image's, what the client may ask for (besides ""). All pointers
 * must outlive the frontend. */
int frontend_new(struct frontend **ret, struct ring *ring, int fd, const struct nbd_export *export, const char *name,
        struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops, void *userdata);

/* closed() follows. What is under way is finished in the pool, and its answer dropped. */
void frontend_close(struct frontend *frontend);

/* frontend-legacy.c: the end of a worker that has a successor. quiesce: nothing more is taken; what is under way is answered, but for what is done with -ESHUTDOWN, which is kept. release, after everything submitted
 * was done: left() follows, unless the connection breaks meanwhile, then closed(). */
void frontend_quiesce(struct frontend *frontend);
void frontend_release(struct frontend *frontend);
/* Continues. Takes the descriptor, also on failure; the rest of the legacy stays the caller's. 0 or -ENOMEM. */
int frontend_new_from(struct frontend **ret, struct ring *ring, struct legacy *legacy, const char *name,
        struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops, void *userdata);

/* Between the files of this room. */
int frontend_make(struct frontend **ret, struct ring *ring, int fd, const uint8_t *input, size_t n_input,
        const char *name, struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops,
        void *userdata);
void frontend_stream_released(struct stream *stream, struct stream_rest *rest);       /* frontend-legacy.c */
ssize_t frontend_handshake(struct frontend *frontend, const uint8_t *data, size_t n); /* frontend-handshake.c */
int frontend_send_greeting(struct frontend *frontend);
int frontend_send(struct frontend *frontend, const uint8_t *bytes, size_t n); /* copies the bytes */
