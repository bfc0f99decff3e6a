/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Slots are allocated when first needed and kept on a stack, their number bounded: with none left the frontends stop reading, the kernel queues, and
 * nothing here grows with what a client sends. A few are set apart, and there from the
 * beginning, for what the pool itself has to send: it must go when everything else is used up. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "request.h"

/* As many answers as may be under way to clients at a time; what is beyond is copied. */
#define PIPES_MAX 16U

TAILQ_HEAD(request_waiter_list, request_waiter);

struct requests {
        struct buffers *buffers;
        struct pipe_buffers *pipes;
        struct request_list free;
        struct request reserved[REQUESTS_RESERVED];
        struct request_list reserved_free;
        struct request_waiter_list waiters;
        unsigned max, in_use, reserved_in_use;
        uint64_t next_order;
};

int requests_new(struct requests **ret, struct buffers *buffers, unsigned max) {
        struct requests *requests;

        assert(max <= REQUESTS_MAX);

        requests = calloc(1, sizeof(*requests));
        if (!requests)
                return -ENOMEM;

        if (pipe_buffers_new(&requests->pipes, PIPES_MAX) < 0) {
                free(requests);
                return -ENOMEM;
        }
        requests->buffers = buffers;
        requests->max = max;
        TAILQ_INIT(&requests->free);
        TAILQ_INIT(&requests->reserved_free);
        TAILQ_INIT(&requests->waiters);
        for (size_t i = 0; i < REQUESTS_RESERVED; i++)
                TAILQ_INSERT_TAIL(&requests->reserved_free, requests->reserved + i, entry);
        *ret = requests;
        return 0;
}

struct requests *requests_free(struct requests *requests) {
        struct request *request;

        if (!requests)
                return NULL;

        assert(requests->in_use == 0 && requests->reserved_in_use == 0);
        while ((request = TAILQ_FIRST(&requests->free))) {
                TAILQ_REMOVE(&requests->free, request, entry);
                free(request);
        }
        pipe_buffers_free(requests->pipes);
        free(requests);
        return NULL;
}

static struct request *fill(struct requests *requests, struct request *request, enum request_op op, uint32_t length) {
        /* Not the whole struct: the header bytes are written before they are read. */
        request->order = requests->next_order++;
        request->op = op;
        request->fua = request->no_hole = request->kept = false;
        request->length = length;
        request->data = NULL;
        request->pipe = NULL;
        request->done = NULL;
        request->owner = NULL;
        request->session = NULL;
        request->sending = request->answered = false;
        request->error = 0;
        request->attempts = 0;
        request->ordering_state = 0;
        request->reserved = false;
        request->requests = requests;
        return request;
}

struct request *requests_get(struct requests *requests, enum request_op op, uint32_t length) {
        struct request *request;
        uint8_t *data = NULL;

        if (requests->in_use == requests->max)
                return NULL;

        if (op == REQUEST_READ && !buffers_reserve(requests->buffers, length))
                return NULL;
        if (op == REQUEST_WRITE) {
                data = buffers_get(requests->buffers, length);
                if (!data)
                        return NULL;
        }

        request = TAILQ_FIRST(&requests->free);
        if (request)
                TAILQ_REMOVE(&requests->free, request, entry);
        else {
                request = malloc(sizeof(*request));
                if (!request) {
                        if (op == REQUEST_READ)
                                buffers_unreserve(requests->buffers, length);
                        buffers_put(requests->buffers, data, length);
                        return NULL;
                }
        }

        fill(requests, request, op, length)->data = data;
        requests->in_use++;
        return request;
}

int request_take_buffer(struct request *request) {
        assert(request->op == REQUEST_READ && !request->reserved);

        if (!request->data)
                request->data = buffers_get_reserved(request->requests->buffers, request->length);
        return request->data ? 0 : -ENOMEM;
}

struct pipe_buffer *request_take_pipe(struct request *request) {
        assert(request->op == REQUEST_READ && !request->reserved && !request->pipe);

        if (!request->data)
                request->pipe = pipe_buffer_get(request->requests->pipes);
        return request->pipe;
}

ssize_t request_spill_pipe(struct request *request) {
        size_t n = request->pipe->held;
        int r;

        r = request_take_buffer(request);
        if (r < 0)
                return r;
        r = pipe_buffer_read(request->pipe, request->data);
        if (r < 0)
                return r;
        request->pipe = pipe_buffer_put(request->pipe);
        return (ssize_t) n;
}

void request_drop_pipe(struct request *request) {
        request->pipe = pipe_buffer_put(request->pipe);
}

struct request *requests_get_reserved(struct requests *requests, enum request_op op, uint32_t length) {
        struct request *request = TAILQ_FIRST(&requests->reserved_free);

        if (!request)
                return NULL;

        TAILQ_REMOVE(&requests->reserved_free, request, entry);
        fill(requests, request, op, length)->reserved = true;
        requests->reserved_in_use++;
        return request;
}

static void wake_next(struct requests *requests) {
        struct request_waiter *waiter = TAILQ_FIRST(&requests->waiters);

        if (!waiter)
                return;

        waiter->waiting = false;
        TAILQ_REMOVE(&requests->waiters, waiter, entry);
        waiter->wake(waiter);
}

void requests_put(struct request *request) {
        struct requests *requests = request->requests;

        assert(!request->sending);

        if (request->reserved) {
                TAILQ_INSERT_HEAD(&requests->reserved_free, request, entry);
                requests->reserved_in_use--;
                return;
        }

        request_drop_pipe(request);
        if (request->op == REQUEST_READ && !request->data)
                buffers_unreserve(requests->buffers, request->length);
        else if (request->op == REQUEST_READ || request->op == REQUEST_WRITE)
                buffers_put(requests->buffers, request->data, request->length);
        TAILQ_INSERT_HEAD(&requests->free, request, entry);
        requests->in_use--;
        wake_next(requests);
}

unsigned requests_in_use(const struct requests *requests) {
        return requests->in_use + requests->reserved_in_use;
}

void requests_wait(struct requests *requests, struct request_waiter *waiter) {
        if (waiter->waiting)
                return;

        waiter->waiting = true;
        TAILQ_INSERT_TAIL(&requests->waiters, waiter, entry);
}

void requests_unwait(struct requests *requests, struct request_waiter *waiter) {
        if (!waiter->waiting) {
                /* It may have been woken and not have come to its turn; one woken for nothing just waits again. */
                wake_next(requests);
                return;
        }

        waiter->waiting = false;
        TAILQ_REMOVE(&requests->waiters, waiter, entry);
}

void requests_trim(struct requests *requests) {
        pipe_buffers_trim(requests->pipes);
}

void requests_memory_freed(struct requests *requests) {
        struct request_waiter *waiter;
        unsigned n = 0;

        /* One that tries in vain waits again, and has had its turn. */
        TAILQ_FOREACH(waiter, &requests->waiters, entry)
                n++;
        for (; n > 0; n--)
                wake_next(requests);
}

const char *request_op_to_string(enum request_op op) {
        static const char *const names[_REQUEST_OP_MAX] = {
                [REQUEST_READ] = "read",
                [REQUEST_WRITE] = "write",
                [REQUEST_FLUSH] = "flush",
                [REQUEST_TRIM] = "trim",
                [REQUEST_WRITE_ZEROES] = "write-zeroes",
        };

        return (unsigned) op < _REQUEST_OP_MAX ? names[op] : "unknown";
}
