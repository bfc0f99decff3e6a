/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay as the worker is one: messages come in on one stream, their payload goes into a pipe, and leaves on another stream from there. At both ends are sockets that
 * the test writes to and reads from, in pieces as it likes. A message is a length of 4 bytes (the machine's order) and as many bytes. */

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "on-ring.h"
#include "pipe-buffer.h"
#include "stream.h"

struct passed {
        struct stream_out out;
        struct relay *relay;
        uint32_t length;
        struct pipe_buffer *pipe;
        uint8_t *memory;
};

struct relay {
        struct ring *ring;
        struct pipe_buffers *pipes;
        struct stream in, out;
        int writer, reader;
        struct passed *coming;
        unsigned n_passed, n_done, n_failed, n_spilled;
        size_t spilled; /* bytes that were in the pipe */
        uint8_t *rest;  /* of what goes out, after a release */
        size_t n_rest;
        bool in_closed, out_closed, released;
        int in_error;
};

static void done(struct stream_out *out, int error) {
        struct passed *p = (struct passed *) out;

        p->relay->n_done++;
        p->relay->n_failed += error < 0;
        pipe_buffer_put(p->pipe);
        free(p->memory);
        free(p);
}

static ssize_t on_input(struct stream *stream, const uint8_t *data, size_t n) {
        struct relay *relay = stream->owner;
        struct passed *p;

        if (n < sizeof(p->length))
                return 0;

        p = calloc(1, sizeof(*p));
        ASSERT_TRUE(p);
        p->relay = relay;
        memcpy(&p->length, data, sizeof(p->length));
        p->pipe = pipe_buffer_get(relay->pipes);
        ASSERT_TRUE(p->pipe && p->pipe->held == 0);
        relay->coming = p;
        stream_receive_into_pipe(stream, p->pipe, p->length);
        return sizeof(p->length);
}

static int on_payload(struct stream *stream) {
        struct relay *relay = stream->owner;
        struct passed *p = TAKE_PTR(relay->coming);

        if (p->pipe)
                ASSERT_EQ(p->pipe->held, p->length);
        p->out = (struct stream_out){
                .iov = { { .iov_base = &p->length, .iov_len = sizeof(p->length) },
                        { .iov_base = p->memory, .iov_len = p->length } },
                .n_iov = p->memory ? 2 : 1,
                .pipe = p->pipe,
                .done = done,
        };
        relay->n_passed++;
        stream_send(&relay->out, &p->out);
        return 0;
}

static int on_spill(struct stream *stream, void **ret_buffer) {
        struct relay *relay = stream->owner;
        struct passed *p = relay->coming;

        relay->n_spilled++;
        relay->spilled = p->pipe->held;
        p->memory = malloc(p->length);
        ASSERT_TRUE(p->memory);
        ASSERT_OK(pipe_buffer_read(p->pipe, p->memory));
        ASSERT_EQ(p->pipe->held, 0U);
        p->pipe = pipe_buffer_put(p->pipe);
        *ret_buffer = p->memory + relay->spilled;
        return 0;
}

static void on_closed(struct stream *stream, int error) {
        struct relay *relay = stream->owner;

        if (stream == &relay->out) {
                relay->out_closed = true;
                return;
        }
        relay->in_closed = true;
        relay->in_error = error;
        if (relay->coming) {
                pipe_buffer_put(relay->coming->pipe);
                free(relay->coming->memory);
                free(TAKE_PTR(relay->coming));
        }
}

static void on_released(struct stream *stream, struct stream_rest *rest) {
        struct relay *relay = stream->owner;

        relay->released = true;
        relay->rest = TAKE_PTR(rest->output);
        relay->n_rest = rest->n_output;
}

static const struct stream_ops ops = {
        .released = on_released,
        .input = on_input,
        .payload = on_payload,
        .spill = on_spill,
        .closed = on_closed,
};

static void relay_begin(struct relay *relay) {
        int in[2], out[2];

        (void) signal(SIGPIPE, SIG_IGN); /* what splice() sends has no MSG_NOSIGNAL */
        *relay = (struct relay){ .ring = ring_with_watchman() };
        ASSERT_OK(pipe_buffers_new(&relay->pipes, 128));
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, in));
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out));
        relay->writer = in[0];
        relay->reader = out[0];
        ASSERT_OK(stream_init(&relay->in, relay->ring, in[1], &ops, relay));
        ASSERT_OK(stream_init(&relay->out, relay->ring, out[1], &ops, relay));
}

static void relay_end(struct relay *relay) {
        stream_close(&relay->in, 0);
        stream_close(&relay->out, 0);
        RUN_UNTIL(relay->ring, relay->in_closed && relay->out_closed);
        ASSERT_EQ(relay->n_done, relay->n_passed);
        safe_close(relay->writer);
        safe_close(relay->reader);
        pipe_buffers_free(relay->pipes);
        ring_free(relay->ring);
}

/* Writes and reads, in pieces of at most so many bytes, until as much has come as goes in. */
static void pass(struct relay *relay, const uint8_t *data, size_t n, size_t write_max, size_t read_max) {
        size_t written = 0, got = 0;
        uint8_t *back = malloc(n);

        ASSERT_TRUE(back);
        while (got < n) {
                size_t piece = n - written < write_max ? n - written : write_max;
                ssize_t r;

                if (piece > 0 && (r = write(relay->writer, data + written, piece)) > 0)
                        written += (size_t) r;
                step_and_wait_a_little(relay->ring);
                ASSERT_FALSE(relay->in_closed || relay->out_closed);
                if ((r = read(relay->reader, back + got, n - got < read_max ? n - got : read_max)) > 0)
                        got += (size_t) r;
        }
        ASSERT_MEMEQ(back, data, n);
        free(back);
}

static uint8_t *messages(const uint32_t *lengths, size_t n_lengths, size_t *ret_n) {
        size_t n = 0, at = 0;
        uint8_t *data;

        for (size_t i = 0; i < n_lengths; i++)
                n += sizeof(uint32_t) + lengths[i];
        data = malloc(n);
        ASSERT_TRUE(data);
        for (size_t i = 0; i < n_lengths; i++) {
                memcpy(data + at, lengths + i, sizeof(uint32_t));
                at += sizeof(uint32_t);
                for (uint32_t j = 0; j < lengths[i]; j++)
                        data[at++] = (uint8_t) (j * 7 + j / 251 + i * 13);
        }
        *ret_n = n;
        return data;
}

static void through_pipes(void) {
        static const uint32_t lengths[] = { 1, 65536, 100000, 4096, 65536, 700, 1048576, 70000, 70001, 9, 65536 };
        static const struct {
                size_t write_max, read_max;
        } ways[] = { { SIZE_MAX, SIZE_MAX }, { 30000, SIZE_MAX }, { SIZE_MAX, 3000 }, { 70000, 50000 } };
        _cleanup_free_ uint8_t *data = NULL;
        size_t n;

        data = messages(lengths, ELEMENTSOF(lengths), &n);
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                struct relay relay;

                relay_begin(&relay);
                pass(&relay, data, n, ways[i].write_max, ways[i].read_max);
                ASSERT_EQ(relay.n_passed, ELEMENTSOF(lengths));
                ASSERT_EQ(relay.in.bytes_in, n);
                ASSERT_EQ(relay.out.bytes_out, n);
                RUN_UNTIL(relay.ring, relay.n_done == ELEMENTSOF(lengths));
                ASSERT_EQ(relay.n_failed, 0U);
                relay_end(&relay);
        }
}

/* Each of the writer's pieces takes a slot of the pipe: there are more of them than slots, of which it has 256 at most. */
static void pipe_is_full(void) {
        static const uint32_t lengths[] = { 20000, 500, 15000 };
        _cleanup_free_ uint8_t *data = NULL;
        struct relay relay;
        size_t n;

        data = messages(lengths, ELEMENTSOF(lengths), &n);
        relay_begin(&relay);
        pass(&relay, data, n, 50, SIZE_MAX);
        ASSERT_TRUE(relay.n_spilled > 0);
        ASSERT_TRUE(relay.spilled > 0 && relay.spilled < lengths[0]);
        relay_end(&relay);
}

static void ends_in_between(void) {
        static const uint32_t lengths[] = { 300000 };
        _cleanup_free_ uint8_t *data = NULL;
        struct relay relay;
        size_t n;

        data = messages(lengths, ELEMENTSOF(lengths), &n);

        /* The sender goes: what has come is not passed on. */
        relay_begin(&relay);
        ASSERT_EQ(write(relay.writer, data, 100000), 100000);
        RUN_UNTIL(relay.ring, relay.in.bytes_in == 100000);
        relay.writer = safe_close(relay.writer);
        RUN_UNTIL(relay.ring, relay.in_closed);
        ASSERT_EQ(relay.in_error, -ECONNRESET);
        ASSERT_EQ(relay.n_passed, 0U);
        relay_end(&relay);

        /* The receiver goes, with half of it. */
        relay_begin(&relay);
        for (size_t at = 0; relay.n_passed == 0;) {
                ssize_t r = write(relay.writer, data + at, n - at);

                at += r > 0 ? (size_t) r : 0;
                step_and_wait_a_little(relay.ring);
        }
        ASSERT_EQ(relay.n_done, 0U);
        relay.reader = safe_close(relay.reader);
        RUN_UNTIL(relay.ring, relay.out_closed);
        ASSERT_EQ(relay.n_failed, 1U);
        relay_end(&relay);
}

/* Who continues the connection gets the rest of what is in the pipe. */
static void released_in_between(void) {
        static const uint32_t lengths[] = { 400000, 100 };
        _cleanup_free_ uint8_t *data = NULL, *back = NULL;
        struct relay relay;
        ssize_t got = 0;
        size_t n;

        data = messages(lengths, ELEMENTSOF(lengths), &n);
        back = malloc(n);
        ASSERT_TRUE(back);
        relay_begin(&relay);
        for (size_t at = 0; relay.n_passed < 2;) {
                ssize_t r = write(relay.writer, data + at, n - at);

                at += r > 0 ? (size_t) r : 0;
                step_and_wait_a_little(relay.ring);
        }
        ASSERT_EQ(relay.n_done, 0U);
        stream_release(&relay.out);
        RUN_UNTIL(relay.ring, relay.out_closed);
        ASSERT_TRUE(relay.released);
        for (ssize_t r; (r = read(relay.reader, back + got, n - (size_t) got)) > 0;)
                got += r;
        ASSERT_TRUE(got > 0);
        ASSERT_EQ((size_t) got + relay.n_rest, n);
        memcpy(back + got, relay.rest, relay.n_rest);
        ASSERT_MEMEQ(back, data, n);
        free(relay.rest);
        relay_end(&relay);
}

static void pool(void) {
        struct pipe_buffers *pipes = NULL;
        struct pipe_buffer *a, *b;
        unsigned before = count_descriptors();
        uint8_t byte = 7, back = 0;

        ASSERT_OK(pipe_buffers_new(&pipes, 2));
        a = pipe_buffer_get(pipes);
        b = pipe_buffer_get(pipes);
        ASSERT_TRUE(a && b && !pipe_buffer_get(pipes));
        ASSERT_EQ(count_descriptors(), before + 4);

        /* What one holds is nobody else's. */
        ASSERT_EQ(pipe_buffer_write(a, &byte, 1), 1);
        ASSERT_TRUE(!pipe_buffer_put(a));
        a = pipe_buffer_get(pipes);
        ASSERT_TRUE(a && a->held == 0);
        ASSERT_EQ(pipe_buffer_write(a, &byte, 1), 1);
        ASSERT_OK(pipe_buffer_read(a, &back));
        ASSERT_EQ(back, 7);

        pipe_buffer_put(a);
        pipe_buffers_trim(pipes);
        ASSERT_EQ(count_descriptors(), before + 4); /* it was in use until now */
        pipe_buffers_trim(pipes);
        ASSERT_EQ(count_descriptors(), before + 2);
        pipe_buffer_put(b);
        pipe_buffer_put(NULL);
        pipe_buffers_free(pipes);
        ASSERT_EQ(count_descriptors(), before);
}

TEST_MAIN(TEST(through_pipes), TEST(pipe_is_full), TEST(ends_in_between), TEST(released_in_between), TEST(pool));
