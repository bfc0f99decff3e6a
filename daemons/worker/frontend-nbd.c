/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Transmission. A request that cannot be done is answered with an error and costs only itself; bytes that are no request at all cost the connection, for where the next one
 * begins is not known any more.
 *
 * With no slot or no memory left the stream is paused with the request still in its input buffer: the socket fills up, and whoever writes to it waits. So does one that
 * leaves too many answers unread: a refused request takes no slot, but its answer takes memory. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "container-of.h"
#include "frontend-nbd.h"

#define FRONTEND_OF(ptr, member) CONTAINER_OF(ptr, struct frontend, member)

/* More than there are slots, so that only answers without one can reach it. */
#define ANSWERS_MAX (2U * REQUESTS_MAX)

/* What one client on the socket may hold: a share, so that one which never reads its answers does not keep the kernel device waiting. One request it may have at any size. */
#define CLIENT_SLOTS_MAX (REQUESTS_MAX / 4U)
#define CLIENT_BYTES_MAX IVBS_DATA_MAX

/* With this many requests under way the proxies have enough to do: what the client sends now is taken together, with the next answer or after a moment, instead of one by one as it comes.
 * Each receive means a send to a proxy, and those are what a small request costs most. */
#define LINGER_FROM 4U

/* What has no slot to live in: handshake and errors. */
struct message {
        struct stream_out out;
        struct frontend *frontend;
        uint8_t bytes[];
};

static void close_when_answered(struct frontend *f) {
        if (f->phase == FRONTEND_DISCONNECTING && f->n_in_flight == 0 && f->stream.n_out == 0)
                stream_close(&f->stream, 0);
}

static void answer_sent(struct frontend *f) {
        close_when_answered(f);
        if (f->crowded && !f->quiet && f->stream.n_out <= ANSWERS_MAX / 2) {
                f->crowded = false;
                stream_resume(&f->stream);
        }
}

/* Not by request->data: a write's may have been taken over by the time it is answered. */
static size_t data_of(const struct request *request) {
        return request->op == REQUEST_READ || request->op == REQUEST_WRITE ? request->length : 0;
}

static void give_back(struct frontend *f, struct request *request) {
        f->n_held--;
        f->held_bytes -= data_of(request);
        requests_put(request);
}

static bool has_its_share(const struct frontend *f, const struct nbd_request *wire) {
        size_t data = wire->type == NBD_CMD_READ || wire->type == NBD_CMD_WRITE ? wire->length : 0;

        if (f->kernel || f->n_held == 0)
                return false;
        return f->n_held >= CLIENT_SLOTS_MAX || f->held_bytes + data > CLIENT_BYTES_MAX;
}

static void message_sent(struct stream_out *out, int error) {
        struct message *message = CONTAINER_OF(out, struct message, out);
        struct frontend *f = message->frontend;

        free(message);
        answer_sent(f);
}

int frontend_send(struct frontend *f, const uint8_t *bytes, size_t n) {
        struct message *message;

        message = malloc(sizeof(*message) + n);
        if (!message)
                return -ENOMEM;

        memcpy(message->bytes, bytes, n);
        message->frontend = f;
        message->out = (struct stream_out){
                .iov = { { .iov_base = message->bytes, .iov_len = n } },
                .n_iov = 1,
                .done = message_sent,
        };
        stream_send(&f->stream, &message->out);
        return 0;
}

static int send_error(struct frontend *f, bool read, uint64_t cookie, int error) {
        uint8_t reply[NBD_ERROR_CHUNK_SIZE_MAX];
        size_t n = NBD_SIMPLE_REPLY_SIZE;

        f->stats->errors++;
        if (f->structured && read)
                n = nbd_error_chunk_encode(cookie, nbd_error_from_errno(error), NULL, reply);
        else
                nbd_simple_reply_encode(cookie, nbd_error_from_errno(error), reply);

        return frontend_send(f, reply, n);
}

static void reply_sent(struct stream_out *out, int error) {
        struct request *request = CONTAINER_OF(out, struct request, reply);
        struct frontend *f = request->owner;

        give_back(f, request);
        answer_sent(f);
}

static void count(struct frontend *f, const struct request *request, uint64_t usec) {
        static const enum io_kind kinds[_REQUEST_OP_MAX] = {
                [REQUEST_READ] = IO_READ,
                [REQUEST_WRITE] = IO_WRITE,
                [REQUEST_FLUSH] = IO_FLUSH,
                [REQUEST_TRIM] = IO_WRITE,
                [REQUEST_WRITE_ZEROES] = IO_WRITE,
        };
        struct io_stats *stats = f->stats;

        io_latency_count(stats->latency + kinds[request->op], usec);
        switch (request->op) {
        case REQUEST_READ:
                stats->read_operations++;
                stats->read_bytes += request->length;
                break;
        case REQUEST_WRITE:
                stats->write_operations++;
                stats->written_bytes += request->length;
                break;
        case REQUEST_FLUSH:
                stats->flush_operations++;
                break;
        case REQUEST_TRIM:
        case REQUEST_WRITE_ZEROES:
                stats->write_operations++;
                break;
        case _REQUEST_OP_MAX:
                break;
        }
}

static void request_done(struct request *request, int error) {
        struct frontend *f = request->owner;
        size_t n = NBD_SIMPLE_REPLY_SIZE;
        uint64_t now;

        if (!f) {
                requests_put(request);
                return;
        }

        if (f->quiet && error == -ESHUTDOWN) {
                request->kept = true; /* for the successor */
                return;
        }

        /* IVBS has no TRIM that is durable when acknowledged; a TRIM and a FLUSH behind it are one. */
        if (error == 0 && request->op == REQUEST_TRIM && request->fua) {
                request->op = REQUEST_FLUSH;
                f->ops->submit(f->userdata, request);
                return;
        }

        TAILQ_REMOVE(&f->in_flight, request, owner_entry);
        f->n_in_flight--;
        stream_hurry(&f->stream);
        now = ring_now_usec(f->stream.ring);
        io_stats_left(f->stats, now);
        f->stats->completed++;
        f->stats->latency_usec += now - request->accepted_usec;

        if (error < 0) {
                if (send_error(f, request->op == REQUEST_READ, request->cookie, error) < 0)
                        stream_close(&f->stream, -ENOMEM);
                give_back(f, request);
                return;
        }
        count(f, request, now - request->accepted_usec);

        if (f->structured && request->op == REQUEST_READ) {
                nbd_data_chunk_encode(request->cookie, request->offset, request->length, request->reply_header);
                n = NBD_DATA_CHUNK_SIZE;
        } else
                nbd_simple_reply_encode(request->cookie, NBD_SUCCESS, request->reply_header);

        request->reply = (struct stream_out){
                .iov = { { .iov_base = request->reply_header, .iov_len = n } },
                .n_iov = 1,
                .done = reply_sent,
        };
        if (request->op == REQUEST_READ && request->pipe)
                request->reply.pipe = request->pipe;
        else if (request->op == REQUEST_READ)
                request->reply.iov[request->reply.n_iov++] =
                        (struct iovec){ .iov_base = request->data, .iov_len = request->length };
        stream_send(&f->stream, &request->reply);
}

static void submit(struct frontend *f, struct request *request) {
        TAILQ_INSERT_TAIL(&f->in_flight, request, owner_entry);
        f->n_in_flight++;
        io_stats_accepted(f->stats, ring_now_usec(f->stream.ring));
        if (f->quiet)
                request->kept = true;
        else
                f->ops->submit(f->userdata, request);
}

static enum request_op op_of(uint16_t type) {
        switch (type) {
        case NBD_CMD_READ:
                return REQUEST_READ;
        case NBD_CMD_WRITE:
                return REQUEST_WRITE;
        case NBD_CMD_FLUSH:
                return REQUEST_FLUSH;
        case NBD_CMD_TRIM:
                return REQUEST_TRIM;
        default:
                return REQUEST_WRITE_ZEROES;
        }
}

/* One request at data. Returns bytes consumed, as struct stream_ops has it. */
static ssize_t take(struct frontend *f, const uint8_t *data, size_t n) {
        struct nbd_request wire;
        struct request *request;
        int r;

        if (n < NBD_REQUEST_SIZE)
                return 0;
        if (f->stream.n_out >= ANSWERS_MAX) {
                f->crowded = true;
                stream_pause(&f->stream);
                return 0;
        }
        r = nbd_request_decode(data, &wire);
        if (r < 0)
                return r;

        if (wire.type == NBD_CMD_DISC) {
                f->phase = FRONTEND_DISCONNECTING;
                close_when_answered(f);
                return NBD_REQUEST_SIZE;
        }

        r = nbd_request_check(&wire, &f->export);
        if (r < 0) {
                f->skip = nbd_request_payload(&wire);
                r = send_error(f, wire.type == NBD_CMD_READ, wire.cookie, r);
                return r < 0 ? r : (ssize_t) NBD_REQUEST_SIZE;
        }

        if (has_its_share(f, &wire)) {
                f->crowded = true;
                stream_pause(&f->stream);
                return 0;
        }

        request = requests_get(f->requests, op_of(wire.type), wire.length);
        if (!request) {
                stream_pause(&f->stream);
                requests_wait(f->requests, &f->waiter);
                return 0;
        }

        request->accepted_usec = ring_now_usec(f->stream.ring);
        request->offset = wire.offset;
        request->cookie = wire.cookie;
        request->fua = (wire.flags & NBD_CMD_FLAG_FUA) && wire.type != NBD_CMD_READ && wire.type != NBD_CMD_FLUSH;
        request->no_hole = (wire.flags & NBD_CMD_FLAG_NO_HOLE) != 0;
        request->owner = f;
        request->done = request_done;
        f->n_held++;
        f->held_bytes += data_of(request);

        if (wire.type == NBD_CMD_WRITE) {
                f->receiving = request;
                stream_receive_into(&f->stream, request->data, request->length);
        } else
                submit(f, request);
        if (f->n_in_flight >= LINGER_FROM)
                stream_linger(&f->stream);
        return NBD_REQUEST_SIZE;
}

static ssize_t stream_input(struct stream *stream, const uint8_t *data, size_t n) {
        struct frontend *f = stream->owner;

        switch (f->phase) {
        case FRONTEND_FLAGS:
        case FRONTEND_OPTIONS:
                return frontend_handshake(f, data, n);
        case FRONTEND_TRANSMISSION:
                if (f->skip > 0) {
                        size_t skipped = n < f->skip ? n : f->skip;

                        f->skip -= (uint32_t) skipped;
                        return (ssize_t) skipped;
                }
                return take(f, data, n);
        case FRONTEND_DISCONNECTING:
                return (ssize_t) n;
        }
        return -EPROTO;
}

static int stream_payload(struct stream *stream) {
        struct frontend *f = stream->owner;

        submit(f, TAKE_PTR(f->receiving));
        return 0;
}

/* What is under way is nobody's any more; what was kept is not under way. */
static void disown_requests(struct frontend *f) {
        struct request *request;

        while ((request = TAILQ_FIRST(&f->in_flight))) {
                TAILQ_REMOVE(&f->in_flight, request, owner_entry);
                request->owner = NULL;
                io_stats_left(f->stats, ring_now_usec(f->stream.ring));
                if (request->kept)
                        requests_put(request);
        }
        f->n_in_flight = 0;
}

static void stream_closing(struct stream *stream, int error) {
        struct frontend *f = stream->owner;

        ring_timer_unset(&f->handshake_timer);
        requests_unwait(f->requests, &f->waiter);
        if (!stream->releasing || error < 0)
                disown_requests(f);
}

/* The end, once nothing of it is in the kernel any more. */
static void settle(struct frontend *f) {
        if (!f->stream_is_closed || !ring_timer_is_idle(&f->handshake_timer))
                return;

        f->ops->closed(f->userdata, f, f->error);
        free(f);
}

static void stream_closed(struct stream *stream, int error) {
        struct frontend *f = stream->owner;

        disown_requests(f);
        if (f->receiving)
                requests_put(TAKE_PTR(f->receiving));
        f->error = error;
        f->stream_is_closed = true;
        settle(f);
}

static void handshake_expired(struct ring_timer *timer) {
        stream_close(&FRONTEND_OF(timer, handshake_timer)->stream, -ETIMEDOUT);
}

static void handshake_timer_stopped(struct ring_timer *timer) {
        settle(FRONTEND_OF(timer, handshake_timer));
}

static const struct stream_ops stream_ops = {
        .input = stream_input,
        .payload = stream_payload,
        .closing = stream_closing,
        .closed = stream_closed,
        .released = frontend_stream_released,
};

static void wake(struct request_waiter *waiter) {
        struct frontend *f = FRONTEND_OF(waiter, waiter);

        if (!f->quiet)
                stream_resume(&f->stream);
}

int frontend_make(struct frontend **ret, struct ring *ring, int fd, const uint8_t *input, size_t n_input,
        const char *name, struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops,
        void *userdata) {
        struct frontend *f;
        int r;

        f = calloc(1, sizeof(*f));
        if (!f) {
                safe_close(fd);
                return -ENOMEM;
        }

        f->name = name;
        f->requests = requests;
        f->stats = stats;
        f->ops = ops;
        f->userdata = userdata;
        f->waiter.wake = wake;
        ring_timer_init(&f->handshake_timer, ring, handshake_expired);
        f->handshake_timer.stopped = handshake_timer_stopped;
        TAILQ_INIT(&f->in_flight);

        /* Large answers leave in fewer pieces, with as many fewer switches to the client and back; the kernel caps it (net.core.wmem_max). And what comes out of a pipe must not wait. */
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int));
        (void) fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
        r = stream_init_from(&f->stream, ring, fd, input, n_input, &stream_ops, f);
        if (r < 0) {
                free(f);
                return r;
        }

        *ret = f;
        return 0;
}

int frontend_new(struct frontend **ret, struct ring *ring, int fd, const struct nbd_export *export, const char *name,
        struct requests *requests, struct io_stats *stats, const struct frontend_ops *ops, void *userdata) {
        struct frontend *f;
        int r;

        r = frontend_make(&f, ring, fd, NULL, 0, name, requests, stats, ops, userdata);
        if (r < 0)
                return r;

        f->kernel = export;
        f->phase = export ? FRONTEND_TRANSMISSION : FRONTEND_FLAGS;
        if (export) {
                f->export = *export;
                f->writes = !(export->flags & NBD_FLAG_READ_ONLY);
        }
        if (!export) {
                ring_timer_set(&f->handshake_timer, FRONTEND_HANDSHAKE_USEC);
                r = frontend_send_greeting(f);
                if (r < 0)
                        stream_close(&f->stream, r);
        }

        *ret = f;
        return 0;
}

void frontend_close(struct frontend *f) {
        stream_close(&f->stream, -ESHUTDOWN);
}
