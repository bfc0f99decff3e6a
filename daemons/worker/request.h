/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A slot: one I/O from acceptance to answer. It is filled by a frontend, handed to the pool, and stays whole, data included, until its reply has come,
 * so that it can be sent again on another session. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "buffers.h"
#include "ivbs-hello.h"
#include "pipe-buffer.h"
#include "stream.h"

struct session;
struct request;

enum request_op {
        REQUEST_READ,
        REQUEST_WRITE,
        REQUEST_FLUSH,
        REQUEST_TRIM,
        REQUEST_WRITE_ZEROES,
        _REQUEST_OP_MAX,
};

#define REQUEST_PREFIX_MAX (IVBS_HEADER_SIZE + IVBS_ZEROES_SIZE)

TAILQ_HEAD(request_list, request);

struct request {
        TAILQ_ENTRY(request) entry; /* the pool's queue, or the session's list of what is in flight */
        uint64_t order;             /* of acceptance */
        uint64_t accepted_usec;
        enum request_op op;
        bool fua;
        bool no_hole;
        uint64_t offset;
        uint32_t length;
        uint8_t *
                data; /* of writes: length bytes, NULL once somebody has taken them over; of reads: from request_take_buffer() on */

        struct pipe_buffer *pipe; /* of reads: has what data would have, see request_take_pipe() */

        /* The acceptor. done() comes exactly once, with 0 or a negative errno; it ends in requests_put(). */
        void (*done)(struct request *request, int error);
        void *owner; /* NULL: the acceptor is gone, and nobody is to be told */
        TAILQ_ENTRY(request) owner_entry;
        uint64_t cookie;
        bool kept; /* by its acceptor, undone, for the next worker */
        struct stream_out reply;
        uint8_t reply_header[64];

        /* The session. */
        struct session *session;
        uint32_t sequence;
        bool sending;  /* out is in the session's stream */
        bool answered; /* the reply has come; done() waits only for out */
        int error;
        unsigned attempts;
        uint64_t generation; /* under which it was sent */
        bool has_identity;   /* a flush's answer told under what it holds */
        struct ivbs_identity identity;
        uint64_t covers, covers_position; /* of a flush: what it covers, see pool-durable.c */
        struct stream_out out;
        uint8_t prefix[REQUEST_PREFIX_MAX];

        /* ordering.c's. */
        uint8_t ordering_state;
        uint64_t ordering_number;            /* of acceptance, among those that were held up or could hold up */
        unsigned ordering_waits_for;         /* earlier mutations that overlap */
        unsigned ordering_followers;         /* requests that wait for this mutation */
        TAILQ_ENTRY(request) ordering_entry; /* the mutations */
        TAILQ_ENTRY(request) ordering_queue; /* who waits, or is about to be released */
        LIST_ENTRY(request) ordering_line;   /* mutations of a granule */

        bool reserved; /* from requests_get_reserved(): data is the caller's */
        struct requests *requests;
};

/* Told once when a slot or a buffer has become free. */
struct request_waiter {
        void (*wake)(struct request_waiter *waiter);
        bool waiting;
        TAILQ_ENTRY(request_waiter) entry;
};

struct requests;

#define REQUESTS_MAX      512U
#define REQUESTS_RESERVED 8U /* on top of them */

/* max: slots, at most REQUESTS_MAX. */
int requests_new(struct requests **ret, struct buffers *buffers, unsigned max);
struct requests *requests_free(struct requests *requests);
DEFINE_CLEANUP(struct requests *, requests_free);

/* A slot, with a data buffer of length bytes for a write and the promise of one for a read; NULL when slots or memory are used up: see requests_wait(). */
struct request *requests_get(struct requests *requests, enum request_op op, uint32_t length);
/* Of a read whose answer is coming: now it has data. Not before, so that many reads that wait share the few buffers that are warm. Nothing to be done on one that has data already.
 * Returns 0 or -ENOMEM. */
int request_take_buffer(struct request *request);
/* The same for data that are only passed on: a pipe to receive into, or NULL when it has to be a buffer. The request has none yet. */
struct pipe_buffer *request_take_pipe(struct request *request);
/* The pipe does after all not do: copies what it holds to a buffer. Returns how many bytes that were, or a negative errno. */
ssize_t request_spill_pipe(struct request *request);
/* What has come into the pipe, if there is one, is not wanted any more. */
void request_drop_pipe(struct request *request);
/* A slot that frontends cannot take, for the pool's own flush and for replay, so that neither waits for what waits for it; NULL: all REQUESTS_RESERVED are in use. Without data:
 * those of a replayed write (length bytes) are set by the caller, and stay the caller's. */
struct request *requests_get_reserved(struct requests *requests, enum request_op op, uint32_t length);
/* Data that were taken over (NULL) do not come back. */
void requests_put(struct request *request);
/* Reserved ones included. */
unsigned requests_in_use(const struct requests *requests);

/* waiter is woken when it is worth to try again. unwait: it will not try again, and passes on the turn that it may have been given. */
void requests_wait(struct requests *requests, struct request_waiter *waiter);
void requests_unwait(struct requests *requests, struct request_waiter *waiter);

/* Gives back what has not been needed since the last call: to be called now and then. Buffers are the caller's. */
void requests_trim(struct requests *requests);

/* Buffers have gone back without a slot, as when the log of retained writes is cut: wakes all who wait. */
void requests_memory_freed(struct requests *requests);

const char *request_op_to_string(enum request_op op);
