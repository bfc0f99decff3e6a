/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connected stream socket on a ring: bytes in as large a piece as the socket holds, many small messages out in one send, and payloads
 * straight between the socket and the owner's buffer. Knows no protocol. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ring.h"

#define STREAM_OUT_IOV_MAX 3U
#define STREAM_INPUT_SIZE  (128U * 1024U)
#define STREAM_SEND_IOV    128U

struct stream;
struct pipe_buffer;

/* A message to send. Its memory belongs to the caller and stays untouched until done() (may be NULL), which comes exactly once: error 0 when the
 * last byte has gone to the kernel, else a negative errno. done() may free it. */
struct stream_out {
        STAILQ_ENTRY(stream_out) entry;
        struct iovec iov[STREAM_OUT_IOV_MAX];
        unsigned n_iov;
        struct pipe_buffer *pipe; /* NULL, or what follows the iov: all that the pipe holds */
        void (*done)(struct stream_out *out, int error);
};
STAILQ_HEAD(stream_out_list, stream_out);

/* What a stream that was released leaves behind. The receiver takes what it sets to NULL and -EBADF; the rest is freed and closed. */
struct stream_rest {
        int fd;
        uint8_t *input; /* received, and not consumed */
        size_t n_input;
        uint8_t *output; /* queued, and not sent */
        size_t n_output;
};

struct stream_ops {
        /* data[0..n) has come and was not consumed yet. Returns how many bytes were consumed, 0 when more are needed (the data must then be less
         * than STREAM_INPUT_SIZE, else the stream fails with -EMSGSIZE), or a negative errno, with which the stream is closed. It is called again
         * while it consumes and bytes are left. */
        ssize_t (*input)(struct stream *stream, const uint8_t *data, size_t n);
        /* The buffer given to stream_receive_into() is full. Returns 0 or a negative errno, with which the stream is closed. */
        int (*payload)(struct stream *stream);
        /* The pipe given to stream_receive_into_pipe() takes no more. Returns 0 with a buffer for the bytes that are missing, as of stream_receive_into(), or a negative errno. NULL where no
         * pipe is ever given. */
        int (*spill)(struct stream *stream, void **ret_buffer);
        /* The last call: nothing of the stream is in the kernel any more, the descriptor is closed, the memory may be freed. error: 0 the peer closed
         * in order, else a negative errno (that of stream_close(), or of the socket). */
        void (*closed)(struct stream *stream, int error);
        /* May be NULL. The stream has failed or was closed, and closed() will follow: answer nothing more, send nothing more. */
        void (*closing)(struct stream *stream, int error);
        /* The answer to stream_release(), NULL if that is never called: the kernel has let go, at this very byte in both directions. done() of what is queued and closed(0) follow. */
        void (*released)(struct stream *stream, struct stream_rest *rest);
};

struct stream {
        struct ring *ring;
        int fd;
        const struct stream_ops *ops;
        void *owner;
        uint64_t bytes_in, bytes_out;
        uint64_t last_input_usec; /* ring_now_usec() when something last came */
        uint64_t last_output_usec;

        /* private */
        struct ring_op recv_op, send_op;
        struct ring_deferred work, receive_later;
        uint8_t *input;
        size_t input_start, input_end, input_size;
        uint8_t *sink; /* where payload goes, and how much of it is missing */
        size_t sink_left;
        struct pipe_buffer *sink_pipe; /* instead of sink, or NULL */
        bool sink_pending;
        bool receiving_sink; /* the receive in the kernel fills the sink first */
        unsigned large;      /* messages until it is forgotten that one had a large payload */
        struct msghdr recv_msg, send_msg;
        struct iovec recv_iov[2];
        struct iovec send_iov[STREAM_SEND_IOV];
        struct stream_out_list out;
        size_t out_done; /* bytes of the first message that have gone */
        unsigned n_out;
        bool polling_in, polling_out; /* the receive, the send in the kernel is only a poll: for a pipe */
        bool lingering;               /* the next receive is to bring more */
        bool receiving, sending, paused, closing, reported, dispatching, releasing;
        bool trimming, trimmed; /* the receive is called back for it; nothing has come since */
        uint64_t trim_bytes_in; /* bytes_in at the last stream_trim() */
        int error;
};

/* Takes the descriptor, also on failure. The stream is to be zeroed or fresh. Receiving starts with the next step. Returns 0 or -ENOMEM. */
int stream_init(struct stream *stream, struct ring *ring, int fd, const struct stream_ops *ops, void *owner);

/* The same for a descriptor that another stream was released from: n bytes at input, of any number, are what it had received, and come before what is on the socket. They are copied. 0 or -ENOMEM. */
int stream_init_from(struct stream *stream, struct ring *ring, int fd, const void *input, size_t n,
        const struct stream_ops *ops, void *owner);

/* To be called from input(), at most once a call: the len bytes after those that input() returns as consumed go to buffer, then payload() is
 * called. buffer must stay in place until payload() or closed(). len > 0. */
void stream_receive_into(struct stream *stream, void *buffer, size_t len);

/* The same with a pipe, empty until then, whose data are not touched on the way: for what is only passed on. The descriptor must not block (stream_set_nonblocking()). */
void stream_receive_into_pipe(struct stream *stream, struct pipe_buffer *pipe, size_t len);

/* Queues a message; it goes out with what else is queued in this step, and done() comes from the loop, never from inside this call; except on a closing stream, where
 * it comes at once, with -ECONNRESET. */
void stream_send(struct stream *stream, struct stream_out *out);

/* Back-pressure: no input() while paused. What the kernel had been asked to receive is kept for later. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* The next receive waits until stream_hurry(), or for a moment (ring_linger()), so that it brings more messages and costs once what each of them would have cost. Not in the middle of a payload. */
void stream_linger(struct stream *stream);
void stream_hurry(struct stream *stream);

/* To be called now and then: gives the input buffer's memory back to the system when nothing has come since the last call. Changes nothing else. */
void stream_trim(struct stream *stream);

/* Ends the stream: closing(), then done(error) for all that is queued, then, once the kernel has let go, closed(error). Idempotent: the first error
 * stays. With 0, what is queued is thrown away too; to send a last message, close in its done(). */
void stream_close(struct stream *stream, int error);

/* How many bytes of the buffer given to stream_receive_into() are still missing; 0 when none is awaited. */
static inline size_t stream_missing(const struct stream *stream) {
        return stream->sink_pending ? stream->sink_left : 0;
}

/* Ends the stream without closing the descriptor: released() follows, unless it fails or is closed before. From here on there is no input() and no payload(), and what cannot be sent at once is not waited for. */
void stream_release(struct stream *stream);
