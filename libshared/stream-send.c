/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending: all that was queued in a step goes in one call, made at once and not by way of the ring: it costs no completion, which would only wake the loop to
 * learn what is known already, and what was sent can be used again while it is warm. Only what the socket has no room for is left to the ring. There
 * is one send at a time, which keeps the byte order, and what is queued meanwhile leaves in the next one: the busier the stream, the larger the batches.
 *
 * A message may end in a pipe: what is in front of it is sent first, then the pipe is emptied, and while the socket has no room for that the ring only polls. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "container-of.h"
#include "stream-internal.h"

/* What the ring is given at once. Only when all of it is gone does anybody learn that the other side takes what it is sent, and who waits for that must not wait long even with a slow reader. */
#define ARMED_MAX (512U * 1024U)

/* What is queued into send_iov, as much as fits and at most max bytes. Returns its length in bytes. */
static size_t gather(struct stream *s, size_t max) {
        struct stream_out *out;
        size_t skip = s->out_done, total = 0;
        unsigned n = 0;

        STAILQ_FOREACH(out, &s->out, entry) {
                if (n + out->n_iov > STREAM_SEND_IOV)
                        break;
                for (unsigned i = 0; i < out->n_iov; i++) {
                        size_t len = out->iov[i].iov_len;

                        if (len <= skip) {
                                skip -= len;
                                continue;
                        }
                        len -= skip;
                        if (len > max - total)
                                len = max - total;
                        s->send_iov[n++] = (struct iovec){
                                .iov_base = (uint8_t *) out->iov[i].iov_base + skip,
                                .iov_len = len,
                        };
                        total += len;
                        skip = 0;
                        if (total == max)
                                break;
                }
                if (out->pipe || total == max)
                        break;
        }

        s->send_msg = (struct msghdr){ .msg_iov = s->send_iov, .msg_iovlen = n };
        return total;
}

/* n more bytes have gone. */
static void count_sent(struct stream *s, size_t n) {
        struct stream_out *out;

        s->bytes_out += n;
        s->last_output_usec = ring_now_usec(s->ring);
        s->out_done += n;

        while ((out = STAILQ_FIRST(&s->out))) {
                size_t len = 0;

                for (unsigned i = 0; i < out->n_iov; i++)
                        len += out->iov[i].iov_len;
                if (s->out_done < len || (out->pipe && out->pipe->held > 0))
                        break;

                s->out_done -= len;
                s->n_out--;
                STAILQ_REMOVE_HEAD(&s->out, entry);
                if (out->done)
                        out->done(out, 0);
        }
}

/* The rest of the first message is in a pipe. */
static bool pipe_is_next(const struct stream *s) {
        const struct stream_out *out = STAILQ_FIRST(&s->out);
        size_t len = 0;

        if (!out->pipe)
                return false;
        for (unsigned i = 0; i < out->n_iov; i++)
                len += out->iov[i].iov_len;
        return s->out_done == len;
}

/* The rest, when the socket has room again. */
static void arm_send(struct stream *s) {
        struct io_uring_sqe *sqe = ring_get_sqe(s->ring);

        s->polling_out = pipe_is_next(s);
        if (s->polling_out)
                io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
        else {
                gather(s, ARMED_MAX);
                /* MSG_WAITALL: the kernel goes on after a short send by itself. */
                io_uring_prep_sendmsg(sqe, s->fd, &s->send_msg, MSG_NOSIGNAL | MSG_WAITALL);
        }
        ring_sqe_set_op(sqe, &s->send_op);
        s->sending = true;
}

void stream_send_queued(struct stream *s) {
        while (!s->closing && !s->sending && !STAILQ_EMPTY(&s->out)) {
                bool from_pipe = pipe_is_next(s);
                size_t total = from_pipe ? STAILQ_FIRST(&s->out)->pipe->held : gather(s, SIZE_MAX);
                ssize_t n;

                if (from_pipe)
                        n = pipe_buffer_drain(STAILQ_FIRST(&s->out)->pipe, s->fd);
                else {
                        n = sendmsg(s->fd, &s->send_msg, MSG_NOSIGNAL | MSG_DONTWAIT);
                        n = n < 0 ? -errno : n;
                }

                if (n < 0 && n != -EAGAIN && n != -EINTR) {
                        stream_close(s, (int) n);
                        return;
                }
                if (n > 0 && from_pipe) {
                        s->bytes_out += (size_t) n;
                        count_sent(s, 0);
                } else if (n > 0)
                        count_sent(s, (size_t) n);
                if (n < 0 || (size_t) n < total) {
                        if (!s->closing)
                                arm_send(s);
                        return;
                }
        }
}

int stream_take_output(const struct stream *s, struct stream_rest *rest) {
        size_t skip = s->out_done, n = 0;
        struct stream_out *out;

        STAILQ_FOREACH(out, &s->out, entry) {
                for (unsigned i = 0; i < out->n_iov; i++)
                        n += out->iov[i].iov_len;
                if (out->pipe)
                        n += out->pipe->held;
        }
        if (n == skip)
                return 0;

        rest->output = malloc(n - skip);
        if (!rest->output)
                return -ENOMEM;
        STAILQ_FOREACH(out, &s->out, entry) {
                for (unsigned i = 0; i < out->n_iov; i++) {
                        size_t len = out->iov[i].iov_len, passed = len < skip ? len : skip;

                        memcpy(rest->output + rest->n_output, (const uint8_t *) out->iov[i].iov_base + passed,
                                len - passed);
                        rest->n_output += len - passed;
                        skip -= passed;
                }
                if (out->pipe) {
                        size_t held = out->pipe->held;
                        int r = pipe_buffer_read(out->pipe, rest->output + rest->n_output);

                        if (r < 0)
                                return r;
                        rest->n_output += held;
                }
        }
        return 0;
}

void stream_sent(struct ring_op *op, int32_t res, uint32_t flags) {
        struct stream *s = STREAM_OF(op, send_op);

        s->sending = false;
        ring_defer(s->ring, &s->work);

        if (res < 0) {
                if (!s->closing && res != -EAGAIN && res != -EINTR && !(s->releasing && res == -ECANCELED))
                        stream_close(s, res);
                return;
        }

        /* Of a poll it is what may be tried now; the attempt will tell. */
        if (!s->polling_out)
                count_sent(s, (size_t) res);
}
