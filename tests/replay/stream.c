/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libshared/stream.h over memory. What a peer sends comes in pieces of any size, so that headers and payloads are cut anywhere. */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "container-of.h"
#include "world.h"

#define PIECE_MAX 65536U

LIST_HEAD(pipe_list, pipe);

struct pipe {
        struct stream *stream;
        const struct peer *peer;
        uint8_t *bytes; /* from the peer, not consumed yet */
        size_t start, end, allocated;
        size_t visible; /* up to there they have come */
        uint8_t *sink;
        size_t sink_left;
        bool sink_pending, paused, closing;
        int error;
        struct stream_out_list out;
        LIST_ENTRY(pipe) entry;
};

static struct pipe_list pipes = LIST_HEAD_INITIALIZER(pipes);

static struct pipe *find(const struct stream *stream) {
        struct pipe *p;

        LIST_FOREACH(p, &pipes, entry)
                if (p->stream == stream)
                        return p;
        REPLAY_FAIL("a stream that is over is used");
}

int stream_init_from(struct stream *s, struct ring *ring, int fd, const void *input, size_t n,
        const struct stream_ops *ops, void *owner) {
        struct pipe *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        *s = (struct stream){ .ring = ring, .fd = fd, .ops = ops, .owner = owner };
        s->last_input_usec = s->last_output_usec = ring_now_usec(ring);
        p->stream = s;
        p->peer = peer_of(fd);
        STAILQ_INIT(&p->out);
        LIST_INSERT_HEAD(&pipes, p, entry);
        if (n > 0)
                peer_send(s, input, n);
        p->peer->opened(s);
        return 0;
}

int stream_init(struct stream *s, struct ring *ring, int fd, const struct stream_ops *ops, void *owner) {
        return stream_init_from(s, ring, fd, NULL, 0, ops, owner);
}

void stream_release(struct stream *s) {
        REPLAY_FAIL("nobody succeeds here");
}

void stream_receive_into(struct stream *s, void *buffer, size_t len) {
        struct pipe *p = find(s);

        assert(!p->sink_pending && len > 0);
        p->sink = buffer;
        p->sink_left = len;
        p->sink_pending = true;
}

/* There is no socket to splice from: as with a pipe that takes nothing. */
void stream_receive_into_pipe(struct stream *s, struct pipe_buffer *pipe, size_t len) {
        void *buffer = NULL;

        if (s->ops->spill(s, &buffer) < 0)
                REPLAY_FAIL("no memory for a read");
        stream_receive_into(s, buffer, len);
}

void stream_send(struct stream *s, struct stream_out *out) {
        struct pipe *p = find(s);

        if (p->closing) {
                if (out->done)
                        out->done(out, -ECONNRESET);
                return;
        }
        STAILQ_INSERT_TAIL(&p->out, out, entry);
        s->n_out++;
}

void stream_pause(struct stream *s) {
        find(s)->paused = true;
}

void stream_resume(struct stream *s) {
        find(s)->paused = false;
}

/* Time does not pass here. */
void stream_linger(struct stream *s) {
}

void stream_hurry(struct stream *s) {
}

void stream_close(struct stream *s, int error) {
        struct pipe *p = find(s);

        if (p->closing)
                return;
        p->closing = true;
        p->error = error;
        if (s->ops->closing)
                s->ops->closing(s, error);
}

void peer_send(struct stream *s, const void *data, size_t n) {
        struct pipe *p = find(s);

        if (p->start == p->end)
                p->start = p->end = p->visible = 0;
        if (p->end + n > p->allocated) {
                p->allocated = (p->end + n) * 2;
                p->bytes = realloc(p->bytes, p->allocated);
                if (!p->bytes)
                        REPLAY_FAIL("out of memory");
        }
        memcpy(p->bytes + p->end, data, n);
        p->end += n;
}

/* Returns whether there may be more to do. */
static bool fill_sink(struct pipe *p) {
        size_t n = p->visible - p->start < p->sink_left ? p->visible - p->start : p->sink_left;

        memcpy(p->sink, p->bytes + p->start, n);
        p->sink += n;
        p->sink_left -= n;
        p->start += n;
        if (p->sink_left > 0)
                return false;

        p->sink_pending = false;
        if (p->stream->ops->payload(p->stream) < 0)
                REPLAY_FAIL("a payload was refused");
        return true;
}

static void deliver(struct pipe *p) {
        if (p->visible < p->end) {
                p->visible += 1 + chance(PIECE_MAX);
                if (p->visible > p->end)
                        p->visible = p->end;
                p->stream->last_input_usec = ring_now_usec(p->stream->ring);
        }

        while (!p->closing && !p->paused && p->start < p->visible) {
                size_t n = p->visible - p->start < STREAM_INPUT_SIZE ? p->visible - p->start : STREAM_INPUT_SIZE;
                ssize_t r;

                if (p->sink_pending) {
                        if (!fill_sink(p))
                                break;
                        continue;
                }
                r = p->stream->ops->input(p->stream, p->bytes + p->start, n);
                if (r < 0)
                        REPLAY_FAIL("input was refused: %s", strerror((int) -r));
                if (r == 0)
                        break;
                p->start += (size_t) r;
        }
}

static void end(struct pipe *p) {
        struct stream_out *out;

        while ((out = STAILQ_FIRST(&p->out))) {
                STAILQ_REMOVE_HEAD(&p->out, entry);
                p->stream->n_out--;
                if (out->done)
                        out->done(out, p->error < 0 ? p->error : -ECONNRESET);
        }
        LIST_REMOVE(p, entry);
        p->peer->closed(p->stream);
        if (p->stream->fd != client_fd)
                close(p->stream->fd);
        p->stream->ops->closed(p->stream, p->error);
        free(p->bytes);
        free(p);
}

void streams_deliver(void) {
        struct pipe *p, *next;

        for (p = LIST_FIRST(&pipes); p; p = next) {
                next = LIST_NEXT(p, entry);
                deliver(p);
        }
}

static void flush(struct pipe *p) {
        struct stream_out *out;

        while (!p->closing && (out = STAILQ_FIRST(&p->out))) {
                STAILQ_REMOVE_HEAD(&p->out, entry);
                p->stream->n_out--;
                for (unsigned i = 0; i < out->n_iov; i++)
                        p->peer->took(p->stream, out->iov[i].iov_base, out->iov[i].iov_len);
                p->stream->last_output_usec = ring_now_usec(p->stream->ring);
                if (out->done)
                        out->done(out, 0);
        }
}

void streams_flush(void) {
        struct pipe *p, *next;

        for (p = LIST_FIRST(&pipes); p; p = next) {
                next = LIST_NEXT(p, entry);
                flush(p);
                if (p->closing)
                        end(p);
        }
}
