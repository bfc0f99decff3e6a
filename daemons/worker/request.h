/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A slot: one I/O from acceptance to answer. It is filled by a frontend, handed to the pool, and stays whole, data included, until its reply has come,
 * so that it can be sent again on another session. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "buffers.h"
#include "ivbs-hello.h"
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
        uint8_t *data; /* of reads and writes: length bytes */

        /* The acceptor. done() comes exactly once, with 0 or a negative errno; it ends in requests_put(). */
        void (*done)(struct request *request, int error);
        void *owner; /* NULL: the acceptor is gone, and nobody is to be told */
        TAILQ_ENTRY(request) owner_entry;
        uint64_t cookie;
        struct stream_out reply;
        uint8_t reply_header[64];

        /* The session. */
        struct session *session;
        uint32_t sequence;
        bool sending;  /* out is in the session's stream */
        bool answered; /* the reply has come; done() waits only for out */
        int error;
        unsigned attempts;
        struct stream_out out;
        uint8_t prefix[REQUEST_PREFIX_MAX];

        struct requests *requests;
};

/* Told once when a slot or a buffer has become free. */
struct request_waiter {
        void (*wake)(struct request_waiter *waiter);
        bool waiting;
        TAILQ_ENTRY(request_waiter) entry;
};

struct requests;

#define REQUESTS_MAX 512U

/* max: slots, at most REQUESTS_MAX. */
int requests_new(struct requests **ret, struct buffers *buffers, unsigned max);
struct requests *requests_free(struct requests *requests);
DEFINE_CLEANUP(struct requests *, requests_free);

/* A slot, with a data buffer of length bytes for reads and writes; NULL when slots or memory are used up: see requests_wait(). */
struct request *requests_get(struct requests *requests, enum request_op op, uint32_t length);
void requests_put(struct request *request);
unsigned requests_in_use(const struct requests *requests);

/* waiter is woken when it is worth to try again. unwait: it will not try again, and passes on the turn that it may have been given. */
void requests_wait(struct requests *requests, struct request_waiter *waiter);
void requests_unwait(struct requests *requests, struct request_waiter *waiter);

const char *request_op_to_string(enum request_op op);
