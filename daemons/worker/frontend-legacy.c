/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A frontend that ends without its peer's noticing. It is made quiet first: nothing more is taken from the socket, and what the pool has in hand is answered. What the pool could not do comes back
 * with -ESHUTDOWN and is kept; it becomes input of the successor again, in front of the bytes that have been read and not understood yet, as if it had never been taken. The successor's session fences
 * whatever was sent for it, exactly as after a crash. So it does not matter at which byte a connection stands, nor whether a proxy or the peer is slow: nothing is waited for longer than the owner wants. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend-nbd.h"

void legacy_done(struct legacy *legacy) {
        legacy->fd = safe_close(legacy->fd);
        free(legacy->input);
        free(legacy->output);
        legacy->input = legacy->output = NULL;
        legacy->n_input = legacy->n_output = 0;
}

struct legacies *legacies_free(struct legacies *legacies) {
        if (!legacies)
                return NULL;

        for (size_t i = 0; i < legacies->n; i++)
                legacy_done(legacies->items + i);
        explicit_bzero(&legacies->tickets, sizeof(legacies->tickets));
        free(legacies);
        return NULL;
}

static uint16_t type_of(enum request_op op) {
        static const uint16_t types[_REQUEST_OP_MAX] = {
                [REQUEST_READ] = NBD_CMD_READ,
                [REQUEST_WRITE] = NBD_CMD_WRITE,
                [REQUEST_FLUSH] = NBD_CMD_FLUSH,
                [REQUEST_TRIM] = NBD_CMD_TRIM,
                [REQUEST_WRITE_ZEROES] = NBD_CMD_WRITE_ZEROES,
        };

        return types[op];
}

static uint8_t *put_request(uint8_t *p, const struct request *request, size_t n_data) {
        bool flush = request->op == REQUEST_FLUSH; /* perhaps the second half of a TRIM, which had a place */
        struct nbd_request wire = {
                .flags = (uint16_t) ((request->fua && !flush ? NBD_CMD_FLAG_FUA : 0) |
                                     (request->no_hole ? NBD_CMD_FLAG_NO_HOLE : 0)),
                .type = type_of(request->op),
                .cookie = request->cookie,
                .offset = flush ? 0 : request->offset,
                .length = flush ? 0 : request->length,
        };

        nbd_request_encode(&wire, p);
        p += NBD_REQUEST_SIZE;
        if (n_data > 0)
                memcpy(p, request->data, n_data);
        return p + n_data;
}

static size_t data_of(const struct request *request) {
        return request->op == REQUEST_WRITE ? request->length : 0;
}

/* What the successor reads first. Returns 0, -ENOMEM, or -EPIPE when the connection cannot be continued. */
static int compose_input(const struct frontend *f, const struct stream_rest *rest, struct legacy *legacy) {
        static const struct nbd_request disconnect = { .type = NBD_CMD_DISC };
        size_t n_received = f->receiving ? f->receiving->length - stream_missing(&f->stream) : 0;
        size_t passed = f->skip < rest->n_input ? f->skip : rest->n_input;
        size_t n = rest->n_input - passed;
        const struct request *request;
        uint8_t *p;

        legacy->skip = f->skip - (uint32_t) passed;
        /* What is refused would have to be passed over behind what is repeated. */
        if (legacy->skip > 0 && !TAILQ_EMPTY(&f->in_flight))
                return -EPIPE;

        TAILQ_FOREACH(request, &f->in_flight, owner_entry) {
                if (data_of(request) > 0 && !request->data)
                        return -EPIPE;
                n += NBD_REQUEST_SIZE + data_of(request);
        }
        if (f->receiving)
                n += NBD_REQUEST_SIZE + n_received;
        if (f->phase == FRONTEND_DISCONNECTING)
                n += NBD_REQUEST_SIZE;
        if (n == 0)
                return 0;

        p = legacy->input = malloc(n);
        if (!p)
                return -ENOMEM;
        legacy->n_input = n;

        TAILQ_FOREACH(request, &f->in_flight, owner_entry)
                p = put_request(p, request, data_of(request));
        if (f->receiving)
                p = put_request(p, f->receiving, n_received);
        if (f->phase == FRONTEND_DISCONNECTING) {
                nbd_request_encode(&disconnect, p);
                p += NBD_REQUEST_SIZE;
        }
        if (rest->n_input > passed)
                memcpy(p, rest->input + passed, rest->n_input - passed);
        return 0;
}

void frontend_stream_released(struct stream *stream, struct stream_rest *rest) {
        struct frontend *f = stream->owner;
        struct legacy legacy = {
                .fd = -EBADF,
                .kernel = f->kernel,
                .handshake = f->phase == FRONTEND_FLAGS || f->phase == FRONTEND_OPTIONS,
                .flags_known = f->phase != FRONTEND_FLAGS,
                .n_options = f->n_options,
                .structured = f->structured,
                .writes = f->writes,
                .client_flags = f->client_flags,
                .export = f->export,
        };

        if (rest->fd < 0 || compose_input(f, rest, &legacy) < 0)
                return; /* it breaks, as it would with the process */

        legacy.fd = TAKE_FD(rest->fd);
        legacy.output = TAKE_PTR(rest->output);
        legacy.n_output = rest->n_output;
        f->ops->left(f->userdata, f, &legacy);
        legacy_done(&legacy);
}

void frontend_quiesce(struct frontend *f) {
        f->quiet = true;
        stream_pause(&f->stream);
}

void frontend_release(struct frontend *f) {
        stream_release(&f->stream);
}

int frontend_new_from(struct frontend **ret, struct ring *ring, struct legacy *legacy, const char *name,
        struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops, void *userdata) {
        struct frontend *f;
        int r;

        r = frontend_make(
                &f, ring, TAKE_FD(legacy->fd), legacy->input, legacy->n_input, name, requests, stats, ops, userdata);
        if (r < 0)
                return r;

        f->kernel = legacy->kernel;
        f->phase = !legacy->handshake    ? FRONTEND_TRANSMISSION
                   : legacy->flags_known ? FRONTEND_OPTIONS
                                         : FRONTEND_FLAGS;
        f->n_options = legacy->n_options;
        f->structured = legacy->structured;
        f->writes = legacy->writes;
        f->client_flags = legacy->client_flags;
        f->export = legacy->export;
        f->skip = legacy->skip;
        if (legacy->handshake)
                ring_timer_set(&f->handshake_timer, FRONTEND_HANDSHAKE_USEC);
        if (legacy->n_output > 0) {
                r = frontend_send(f, legacy->output, legacy->n_output);
                if (r < 0)
                        frontend_close(f);
        }

        *ret = f;
        return 0;
}
