/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Receiving: one receive in the ring, into the input buffer; or, while a payload is awaited, scattered, into the owner's buffer first and the input buffer behind
 * it, so that a large payload is not copied and the headers after it still come in the same call. Small messages are taken in as many as there are; but where
 * payloads are large, little is taken behind them, since that would be the beginning of the next one, to be copied.
 *
 * Life: stream_close() only marks and cancels. Whatever the kernel still holds comes back as a completion, and the end, with done() of the unsent
 * messages and closed(), is deferred work: never inside a call of the owner's. */

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "container-of.h"
#include "stream-internal.h"
#include "tls-control.h"

/* Below this much room behind the buffered bytes they are moved to the front. */
#define INPUT_ROOM_MIN (STREAM_INPUT_SIZE / 4U)

/* A payload from which on another system call is cheaper than copying it, and what is received besides while such payloads come: some headers. */
#define LARGE_PAYLOAD (16U * 1024U)
#define BESIDE_LARGE  (2U * 1024U)
/* After how many messages without one they are forgotten. */
#define LARGE_MEMORY 32U

static void arm_receive(struct stream *s) {
        struct io_uring_sqe *sqe;
        size_t room;

        if (s->input_start == s->input_end)
                s->input_start = s->input_end = 0;
        else if (s->input_start > 0 && s->input_size - s->input_end < INPUT_ROOM_MIN) {
                memmove(s->input, s->input + s->input_start, s->input_end - s->input_start);
                s->input_end -= s->input_start;
                s->input_start = 0;
        }

        room = s->input_size - s->input_end;
        if (s->large > 0 && room > BESIDE_LARGE)
                room = BESIDE_LARGE;

        sqe = ring_get_sqe(s->ring);
        s->polling_in = s->sink_pipe && s->sink_left > 0;
        s->receiving_sink = s->sink_left > 0 && !s->polling_in;
        if (s->polling_in)
                io_uring_prep_poll_add(sqe, s->fd, POLLIN);
        else if (s->receiving_sink) {
                s->recv_iov[0] = (struct iovec){ .iov_base = s->sink, .iov_len = s->sink_left };
                s->recv_iov[1] = (struct iovec){ .iov_base = s->input + s->input_end, .iov_len = room };
                s->recv_msg = (struct msghdr){ .msg_iov = s->recv_iov, .msg_iovlen = 2 };
                io_uring_prep_recvmsg(sqe, s->fd, &s->recv_msg, 0);
        } else
                io_uring_prep_recv(sqe, s->fd, s->input + s->input_end, room, 0);
        ring_sqe_set_op(sqe, &s->recv_op);
        s->receiving = true;
}

static void release(struct stream *s) {
        struct stream_rest rest = { .n_input = s->input_end - s->input_start };

        rest.fd = TAKE_FD(s->fd);
        if (s->input_start > 0)
                memmove(s->input, s->input + s->input_start, rest.n_input);
        rest.input = TAKE_PTR(s->input);
        /* Half an answer must not be followed by a whole one: the peer sees the connection break instead. */
        if (stream_take_output(s, &rest) < 0)
                rest.fd = safe_close(rest.fd);
        s->ops->released(s, &rest);
        free(rest.input);
        free(rest.output);
        safe_close(rest.fd);
}

static void end_of(struct stream *s) {
        struct stream_out *out;

        if (s->releasing && s->error == 0)
                release(s);
        while ((out = STAILQ_FIRST(&s->out))) {
                STAILQ_REMOVE_HEAD(&s->out, entry);
                s->n_out--;
                if (out->done)
                        out->done(out, s->error < 0 ? s->error : -ECONNRESET);
        }

        /* What closed it may have queued it again. */
        ring_undefer(s->ring, &s->work);
        ring_undefer(s->ring, &s->receive_later);
        s->reported = true;
        if (s->fd >= 0)
                (void) tls_control_say_goodbye(s->fd);
        s->fd = safe_close(s->fd);
        free(s->input);
        s->input = NULL;
        s->ops->closed(s, s->error);
}

/* Moves what is buffered into the sink. */
static void fill_sink(struct stream *s) {
        size_t n = s->input_end - s->input_start;

        if (n > s->sink_left)
                n = s->sink_left;
        if (n == 0)
                return;
        if (s->sink_pipe) {
                ssize_t taken = pipe_buffer_write(s->sink_pipe, s->input + s->input_start, n);

                n = taken > 0 ? (size_t) taken : 0;
        } else {
                memcpy(s->sink, s->input + s->input_start, n);
                s->sink += n;
        }
        s->sink_left -= n;
        s->input_start += n;
}

static void finish_sink(struct stream *s) {
        int r;

        if (!s->sink_pending || s->sink_left > 0 || s->releasing)
                return;

        s->sink_pending = false;
        s->sink = NULL;
        s->sink_pipe = NULL;
        r = s->ops->payload(s);
        if (r < 0)
                stream_close(s, r);
}

/* Hands the buffered bytes to the owner, for as long as it takes some. */
static void consume(struct stream *s) {
        s->dispatching = true;

        while (!s->closing && !s->paused && !s->sink_pending && s->input_end > s->input_start) {
                size_t n = s->input_end - s->input_start;
                ssize_t r;

                r = s->ops->input(s, s->input + s->input_start, n);
                if (s->closing)
                        break;
                if (r < 0) {
                        stream_close(s, (int) r);
                        break;
                }
                assert((size_t) r <= n);
                s->input_start += (size_t) r;
                if (r > 0 && s->large > 0)
                        s->large--;

                if (s->sink_pending) {
                        fill_sink(s);
                        finish_sink(s);
                } else if (r == 0) {
                        if (n >= STREAM_INPUT_SIZE && !s->paused)
                                stream_close(s, -EMSGSIZE);
                        break;
                }
        }

        s->dispatching = false;
}

/* The pipe takes no more, or is not for this socket: from here on into memory. */
static void spill(struct stream *s) {
        void *buffer;
        int r;

        r = s->ops->spill(s, &buffer);
        if (r < 0) {
                stream_close(s, r);
                return;
        }
        s->sink_pipe = NULL;
        s->sink = buffer;
        fill_sink(s);
        finish_sink(s);
}

/* Moves what the socket has into the pipe. */
static void receive_into_pipe(struct stream *s) {
        int there = 0;

        while (s->sink_left > 0) {
                ssize_t n = -ENOBUFS;

                /* What could not be written comes first. */
                if (s->input_end == s->input_start)
                        n = pipe_buffer_fill(s->sink_pipe, s->fd, s->sink_left);
                if (n == -EINTR)
                        continue;
                /* Either the socket is empty or the pipe is full: the latter if there was something before the attempt. */
                if (n == -EAGAIN && there == 0 && ioctl(s->fd, SIOCINQ, &there) >= 0) {
                        if (there == 0)
                                return;
                        continue;
                }
                if (n < 0) {
                        spill(s);
                        return;
                }
                if (n == 0) {
                        stream_close(s, -ECONNRESET);
                        return;
                }
                there = 0;
                s->bytes_in += (size_t) n;
                s->last_input_usec = ring_now_usec(s->ring);
                s->sink_left -= (size_t) n;
        }
        finish_sink(s);
}

static void work(struct ring_deferred *deferred) {
        struct stream *s = STREAM_OF(deferred, work);

        if (!s->closing && !s->releasing)
                consume(s);
        while (!s->closing && !s->releasing && !s->paused && s->sink_pipe && !s->receiving && s->sink_left > 0) {
                receive_into_pipe(s);
                if (s->closing || s->sink_pipe)
                        break;
                consume(s);
        }

        if (s->releasing && !s->closing && !s->receiving && !s->sending)
                stream_close(s, 0);
        if (s->closing) {
                if (!s->receiving && !s->sending && !s->reported)
                        end_of(s);
                return;
        }

        if (s->releasing)
                return;
        stream_send_queued(s);
        if (s->closing || s->receiving || s->paused)
                return;
        if (s->lingering && !s->sink_pending)
                ring_linger(s->ring, &s->receive_later);
        else
                arm_receive(s);
}

static void receive_later(struct ring_deferred *deferred) {
        stream_hurry(STREAM_OF(deferred, receive_later));
}

/* Nothing is received into it at present, so what the kernel has put there is known. */
static void give_back_input(struct stream *s) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
        uintptr_t from = ((uintptr_t) s->input + page - 1) / page * page;
        uintptr_t to = ((uintptr_t) s->input + STREAM_INPUT_SIZE) / page * page;

        s->trimmed = true;
        if (s->input_start == s->input_end && from < to)
                (void) madvise((void *) from, to - from, MADV_DONTNEED);
}

void stream_trim(struct stream *s) {
        bool idle = s->bytes_in == s->trim_bytes_in;

        s->trim_bytes_in = s->bytes_in;
        if (!idle)
                s->trimmed = false;
        if (!idle || s->trimmed || s->trimming || s->closing || !s->receiving || s->sink_pending ||
                s->input_start != s->input_end)
                return;

        /* A receive that has the buffer may have filled it, unseen so far: it is called back first. */
        s->trimming = true;
        ring_cancel(s->ring, &s->recv_op);
}

static void received(struct ring_op *op, int32_t res, uint32_t flags) {
        struct stream *s = STREAM_OF(op, recv_op);

        bool trimming = s->trimming;

        s->receiving = s->trimming = false;
        ring_defer(s->ring, &s->work);
        if (s->closing)
                return;

        if (trimming && res == -ECANCELED) {
                give_back_input(s);
                return;
        }
        if (res == -EIO) {
                res = tls_control_receive(s->fd);
                if (res > 0)
                        return;
        }
        if (res < 0) {
                if (res != -EAGAIN && res != -EINTR && !(s->releasing && res == -ECANCELED))
                        stream_close(s, res);
                return;
        }
        if (s->polling_in)
                return; /* deferred work sees what there is */
        if (res == 0) {
                /* In order only between messages: an end in the middle of one has cut it. */
                stream_close(s, s->sink_pending || s->input_end > s->input_start ? -ECONNRESET : 0);
                return;
        }

        s->bytes_in += (uint32_t) res;
        s->last_input_usec = ring_now_usec(s->ring);

        if (s->receiving_sink) {
                size_t n = (size_t) res < s->sink_left ? (size_t) res : s->sink_left;

                s->sink += n;
                s->sink_left -= n;
                s->input_end += (size_t) res - n;
        } else {
                /* The payload may have been asked for after the kernel was told to put it here. */
                s->input_end += (size_t) res;
                fill_sink(s);
        }
        finish_sink(s);
}

int stream_init_from(struct stream *s, struct ring *ring, int fd, const void *input, size_t n,
        const struct stream_ops *ops, void *owner) {
        *s = (struct stream){
                .ring = ring,
                .fd = fd,
                .ops = ops,
                .owner = owner,
                .last_input_usec = ring_now_usec(ring),
                .last_output_usec = ring_now_usec(ring),
                .recv_op.done = received,
                .send_op.done = stream_sent,
                .work.run = work,
                .receive_later.run = receive_later,
        };
        STAILQ_INIT(&s->out);

        /* Behind what was left there must be room to receive into. */
        s->input_size = STREAM_INPUT_SIZE + n;
        s->input = malloc(s->input_size);
        if (!s->input) {
                s->fd = safe_close(fd);
                return -ENOMEM;
        }
        if (n > 0)
                memcpy(s->input, input, n);
        s->input_end = n;

        ring_defer(ring, &s->work);
        return 0;
}

int stream_init(struct stream *s, struct ring *ring, int fd, const struct stream_ops *ops, void *owner) {
        return stream_init_from(s, ring, fd, NULL, 0, ops, owner);
}

void stream_receive_into(struct stream *s, void *buffer, size_t len) {
        assert(s->dispatching && !s->sink_pending && len > 0);

        s->sink = buffer;
        s->sink_left = len;
        s->sink_pending = true;
        if (len >= LARGE_PAYLOAD)
                s->large = LARGE_MEMORY;
}

void stream_receive_into_pipe(struct stream *s, struct pipe_buffer *pipe, size_t len) {
        stream_receive_into(s, NULL, len);
        s->sink_pipe = pipe;
}

void stream_send(struct stream *s, struct stream_out *out) {
        assert(out->n_iov > 0 && out->n_iov <= STREAM_OUT_IOV_MAX);

        if (s->closing) {
                if (out->done)
                        out->done(out, -ECONNRESET);
                return;
        }

        STAILQ_INSERT_TAIL(&s->out, out, entry);
        s->n_out++;
        ring_defer(s->ring, &s->work);
}

void stream_pause(struct stream *s) {
        s->paused = true;
}

void stream_resume(struct stream *s) {
        if (!s->paused || s->closing)
                return;

        s->paused = false;
        ring_defer(s->ring, &s->work);
}

void stream_linger(struct stream *s) {
        s->lingering = true;
}

void stream_hurry(struct stream *s) {
        if (!s->lingering)
                return;

        s->lingering = false;
        ring_undefer(s->ring, &s->receive_later);
        if (!s->closing)
                ring_defer(s->ring, &s->work);
}

void stream_close(struct stream *s, int error) {
        if (s->closing)
                return;

        s->closing = true;
        s->error = error;
        if (s->ops->closing)
                s->ops->closing(s, error);

        if (s->receiving)
                ring_cancel(s->ring, &s->recv_op);
        if (s->sending)
                ring_cancel(s->ring, &s->send_op);
        ring_defer(s->ring, &s->work);
}

void stream_release(struct stream *s) {
        if (s->closing || s->releasing)
                return;

        s->releasing = true;
        if (s->receiving)
                ring_cancel(s->ring, &s->recv_op);
        if (s->sending)
                ring_cancel(s->ring, &s->send_op);
        ring_defer(s->ring, &s->work);
}
