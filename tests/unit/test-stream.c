/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Streams over socket pairs. The protocol of these tests: a head of 8 bytes (length of the payload, number of the message, in the machine's
 * order), then the payload, which goes to the sink of the end. */

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "on-ring.h"
#include "stream.h"

#define HEAD_SIZE   8U
#define PAYLOAD_MAX (8U * 1024U * 1024U)

struct head {
        uint32_t length, number;
};

struct end {
        struct stream stream;
        struct stream_ops ops;

        uint8_t *sink;
        uint32_t awaited; /* bytes of the payload under way */
        unsigned n_heads, n_payloads, n_closing, n_closed;
        uint32_t last_number;
        int closing_error, closed_error;
        unsigned n_done, n_done_well; /* messages of this end */
        bool freed_in_closed;

        /* What a test makes the owner do. */
        unsigned pause_at;                  /* pause when this many heads have come */
        int input_returns, payload_returns; /* a negative errno */
        bool close_in_input, close_in_payload, close_in_done, greedy, lingers;
};

struct message {
        struct stream_out out;
        struct end *end;
        struct head head;
        unsigned n_done;
        int error;
        bool allocated;
};

static ssize_t on_input(struct stream *stream, const uint8_t *data, size_t n) {
        struct end *e = stream->owner;
        struct head head;

        ASSERT_EQ(e->n_closing, 0U);
        if (e->input_returns < 0)
                return e->input_returns;
        if (e->greedy)
                return 0;
        if (n < HEAD_SIZE)
                return 0;
        if (e->pause_at > 0 && e->n_heads == e->pause_at) {
                e->pause_at = 0;
                stream_pause(stream);
                return 0;
        }

        memcpy(&head, data, sizeof(head));
        ASSERT_EQ(head.number, e->last_number + 1);
        e->last_number = head.number;
        e->n_heads++;
        if (head.length > 0) {
                ASSERT_TRUE(head.length <= PAYLOAD_MAX);
                e->awaited = head.length;
                stream_receive_into(stream, e->sink, head.length);
        }
        if (e->close_in_input)
                stream_close(stream, -ECANCELED);
        if (e->lingers)
                stream_linger(stream);
        return HEAD_SIZE;
}

static uint8_t pattern(uint32_t number, size_t i) {
        return (uint8_t) (number * 31U + i * 7U + (i >> 12));
}

static int on_payload(struct stream *stream) {
        struct end *e = stream->owner;

        e->n_payloads++;
        for (size_t i = 0; i < e->awaited; i++)
                if (e->sink[i] != pattern(e->last_number, i))
                        TEST_FAIL("message %u differs at byte %zu", e->last_number, i);
        if (e->close_in_payload)
                stream_close(stream, -ECANCELED);
        return e->payload_returns;
}

static void on_closing(struct stream *stream, int error) {
        struct end *e = stream->owner;

        e->n_closing++;
        e->closing_error = error;
}

static void on_closed(struct stream *stream, int error) {
        struct end *e = stream->owner;

        ASSERT_EQ(e->n_closing, 1U);
        ASSERT_EQ(error, e->closing_error);
        e->n_closed++;
        e->closed_error = error;
        if (e->freed_in_closed) {
                free(e->sink);
                free(e);
        }
}

static const struct stream_ops ops = {
        .input = on_input,
        .payload = on_payload,
        .closing = on_closing,
        .closed = on_closed,
};

static struct end *end_new(struct ring *ring, int fd) {
        struct end *e = calloc(1, sizeof(*e));

        ASSERT_TRUE(e);
        e->sink = malloc(PAYLOAD_MAX);
        ASSERT_TRUE(e->sink);
        ASSERT_OK(stream_init(&e->stream, ring, fd, &ops, e));
        return e;
}

static void end_free(struct end *e) {
        ASSERT_EQ(e->n_closed, 1U);
        free(e->sink);
        free(e);
}

static void pair(int ret[static 2]) {
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret));
}

static void message_done(struct stream_out *out, int error) {
        struct message *m = (struct message *) out;

        m->n_done++;
        m->error = error;
        m->end->n_done++;
        if (error == 0)
                m->end->n_done_well++;
        else
                ASSERT_TRUE(error < 0);
        if (m->end->close_in_done)
                stream_close(&m->end->stream, -ECANCELED);
        if (m->allocated)
                free(m);
}

static void message_send(struct message *m, struct end *e, uint32_t number, const void *payload, uint32_t length) {
        m->end = e;
        m->head = (struct head){ .length = length, .number = number };
        m->out = (struct stream_out){
                .iov = { { .iov_base = &m->head, .iov_len = sizeof(m->head) },
                        { .iov_base = (void *) payload, .iov_len = length } },
                .n_iov = length > 0 ? 2 : 1,
                .done = message_done,
        };
        stream_send(&e->stream, &m->out);
}

static uint8_t *payload_new(uint32_t number, size_t length) {
        uint8_t *p = malloc(length);

        ASSERT_TRUE(p);
        for (size_t i = 0; i < length; i++)
                p[i] = pattern(number, i);
        return p;
}

static void finish(struct ring *ring, struct end *e) {
        stream_close(&e->stream, 0);
        RUN_UNTIL(ring, e->n_closed > 0);
        end_free(e);
}

static void write_all(int fd, const void *data, size_t n) {
        ASSERT_EQ(send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t) n);
}

static void many_small_messages(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct message *messages = calloc(20000, sizeof(*messages));
        struct end *a, *b;
        int fds[2];

        pair(fds);
        ASSERT_TRUE(messages);
        a = end_new(ring, fds[0]);
        b = end_new(ring, fds[1]);

        for (uint32_t i = 0; i < 20000; i++)
                message_send(messages + i, a, i + 1, NULL, 0);
        RUN_UNTIL(ring, b->n_heads == 20000);
        RUN_UNTIL(ring, a->n_done == 20000);
        ASSERT_EQ(a->n_done_well, 20000U);
        ASSERT_EQ(a->stream.bytes_out, 20000U * HEAD_SIZE);
        ASSERT_EQ(b->stream.bytes_in, 20000U * HEAD_SIZE);
        for (uint32_t i = 0; i < 20000; i++)
                ASSERT_EQ(messages[i].n_done, 1U);

        finish(ring, a);
        RUN_UNTIL(ring, b->n_closed > 0);
        ASSERT_EQ(b->closed_error, 0);
        end_free(b);
        free(messages);
}

/* Heads and payloads cut wherever a writer may cut them: a byte at a time. */
static void single_bytes(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct head heads[3] = { { 5, 1 }, { 0, 2 }, { 3, 3 } };
        uint8_t bytes[3 * HEAD_SIZE + 8];
        struct end *e;
        int fds[2];

        pair(fds);
        memcpy(bytes, &heads[0], HEAD_SIZE);
        for (size_t i = 0; i < 5; i++)
                bytes[8 + i] = pattern(1, i);
        memcpy(bytes + 13, &heads[1], 2 * HEAD_SIZE);
        for (size_t i = 0; i < 3; i++)
                bytes[29 + i] = pattern(3, i);

        e = end_new(ring, fds[0]);
        for (size_t i = 0; i < sizeof(bytes); i++) {
                write_all(fds[1], bytes + i, 1);
                run_what_is_due(ring);
        }
        ASSERT_EQ(e->n_heads, 3U);
        ASSERT_EQ(e->n_payloads, 2U);
        finish(ring, e);
        close(fds[1]);
}

static void large_payloads(void) {
        static const uint32_t lengths[] = {
                1,
                4096,
                STREAM_INPUT_SIZE - HEAD_SIZE,
                STREAM_INPUT_SIZE,
                STREAM_INPUT_SIZE + 1,
                1000003,
                PAYLOAD_MAX,
                0,
                17,
                PAYLOAD_MAX,
        };
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct message messages[ELEMENTSOF(lengths)] = {};
        uint8_t *payloads[ELEMENTSOF(lengths)];
        struct end *a, *b;
        int fds[2];

        pair(fds);
        a = end_new(ring, fds[0]);
        b = end_new(ring, fds[1]);
        for (uint32_t i = 0; i < ELEMENTSOF(lengths); i++) {
                payloads[i] = payload_new(i + 1, lengths[i] ?: 1);
                message_send(messages + i, a, i + 1, payloads[i], lengths[i]);
        }

        RUN_UNTIL(ring, b->n_heads == ELEMENTSOF(lengths) && b->n_payloads == ELEMENTSOF(lengths) - 1 &&
                                a->n_done == ELEMENTSOF(lengths));
        ASSERT_EQ(a->n_done_well, ELEMENTSOF(lengths));
        for (size_t i = 0; i < ELEMENTSOF(lengths); i++) {
                ASSERT_EQ(messages[i].n_done, 1U);
                free(payloads[i]);
        }
        finish(ring, a);
        finish(ring, b);
}

/* Who reads slowly is seen to read, and not only when all of a large message has been read. */
static void slow_reader(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        _cleanup_free_ uint8_t *payload = payload_new(1, PAYLOAD_MAX), *read_into = malloc(PAYLOAD_MAX);
        struct message m = {};
        size_t n_read = 0;
        struct end *a;
        int fds[2];

        ASSERT_TRUE(read_into);
        pair(fds);
        a = end_new(ring, fds[0]);
        message_send(&m, a, 1, payload, PAYLOAD_MAX);
        while (n_read < PAYLOAD_MAX / 2) {
                ssize_t n = recv(fds[1], read_into, PAYLOAD_MAX / 2 - n_read, MSG_DONTWAIT);

                ASSERT_TRUE(n > 0 || errno == EAGAIN);
                n_read += n > 0 ? (size_t) n : 0;
                ASSERT_OK(ring_step(ring, false));
        }
        RUN_UNTIL(ring, a->stream.bytes_out >= n_read - 512U * 1024U);
        ASSERT_EQ(m.n_done, 0U);
        close(fds[1]);
        RUN_UNTIL(ring, a->n_closed > 0);
        end_free(a);
}

/* What the socket has room for goes in the step in which it was queued, and its end is not told from inside the call. */
static void sent_in_the_same_step(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct message messages[3] = {};
        uint8_t got[3 * HEAD_SIZE + 1];
        struct end *e;
        int fds[2];

        pair(fds);
        e = end_new(ring, fds[0]);
        ASSERT_OK(ring_step(ring, false));
        for (uint32_t i = 0; i < ELEMENTSOF(messages); i++) {
                message_send(messages + i, e, i + 1, NULL, 0);
                ASSERT_EQ(e->n_done, 0U);
        }
        ASSERT_OK(ring_step(ring, false));
        ASSERT_EQ(e->n_done_well, 3U);
        ASSERT_EQ(recv(fds[1], got, sizeof(got), MSG_DONTWAIT), (ssize_t) (3 * HEAD_SIZE));

        finish(ring, e);
        close(fds[1]);
}

/* Whoever waits for more waits for a moment only, or until there is no more reason to; and can be closed meanwhile. */
static void lingering(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct end *e;
        int fds[2];

        pair(fds);
        e = end_new(ring, fds[0]);
        e->lingers = true;
        for (uint32_t i = 1; i <= 101; i++) {
                struct head head = { .length = i % 3, .number = i };
                uint8_t payload[2] = { pattern(i, 0), pattern(i, 1) };

                write_all(fds[1], &head, sizeof(head));
                if (head.length > 0)
                        write_all(fds[1], payload, head.length);
                if (i % 2 == 0) {
                        stream_hurry(&e->stream);
                        stream_hurry(&e->stream);
                        run_what_is_due(ring);
                        ASSERT_EQ(e->n_heads, i);
                } else
                        RUN_UNTIL(ring, e->n_heads == i);
                ASSERT_EQ(stream_missing(&e->stream), 0U);
        }
        ASSERT_TRUE(e->stream.lingering); /* since the last step: the moment ends in the next one at the earliest */
        stream_close(&e->stream, -ECANCELED);
        stream_hurry(&e->stream);
        RUN_UNTIL(ring, e->n_closed > 0);
        end_free(e);
        run_what_is_due(ring);
        close(fds[1]);
}

/* Sizes on both sides of where the stream changes its way of receiving, in all orders. */
static void large_and_small_by_turns(void) {
        static const uint32_t lengths[] = { 0, 100, 16383, 16384, 40000, 0, 70000, 131072, 5, 300000 };
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct message messages[100] = {};
        uint8_t *payloads[100];
        struct end *a, *b;
        unsigned n = 0;
        int fds[2];

        pair(fds);
        a = end_new(ring, fds[0]);
        b = end_new(ring, fds[1]);
        for (uint32_t i = 0; i < 100; i++) {
                /* Each after each other. */
                uint32_t length = lengths[i % 2 ? i / 10 : (i / 2 + i / 20) % 10];

                n += length > 0;
                payloads[i] = payload_new(i + 1, length ?: 1);
                message_send(messages + i, a, i + 1, payloads[i], length);
        }
        RUN_UNTIL(ring, b->n_heads == 100 && b->n_payloads == n && a->n_done == 100);
        ASSERT_EQ(a->n_done_well, 100U);
        for (unsigned i = 0; i < 100; i++)
                free(payloads[i]);
        finish(ring, a);
        finish(ring, b);
}

static void paused_and_resumed(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct message messages[100] = {};
        struct end *a, *b;
        int fds[2];

        pair(fds);
        a = end_new(ring, fds[0]);
        b = end_new(ring, fds[1]);
        b->pause_at = 40;
        for (uint32_t i = 0; i < 100; i++)
                message_send(messages + i, a, i + 1, NULL, 0);
        RUN_UNTIL(ring, b->pause_at == 0);
        run_what_is_due(ring);
        ASSERT_EQ(b->n_heads, 40U);

        stream_resume(&b->stream);
        stream_resume(&b->stream);
        RUN_UNTIL(ring, b->n_heads == 100);

        /* From outside, while the kernel has been asked to receive: what comes is kept. */
        run_what_is_due(ring);
        stream_pause(&b->stream);
        message_send(messages, a, 101, NULL, 0);
        run_what_is_due(ring);
        ASSERT_EQ(b->n_heads, 100U);
        stream_resume(&b->stream);
        RUN_UNTIL(ring, b->n_heads == 101);

        /* A paused stream can be closed. */
        stream_pause(&b->stream);
        finish(ring, b);
        RUN_UNTIL(ring, a->n_closed > 0);
        end_free(a);
}

/* Pages of the input buffer, but for those at its ends, that are in memory. */
static unsigned pages_of_input(const struct stream *s) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
        uintptr_t from = ((uintptr_t) s->input + page - 1) / page * page;
        size_t n = ((uintptr_t) s->input + STREAM_INPUT_SIZE) / page - from / page;
        unsigned char pages[STREAM_INPUT_SIZE / 4096U + 1];
        unsigned n_there = 0;

        ASSERT_OK(mincore((void *) from, n * page, pages));
        for (size_t i = 0; i < n; i++)
                n_there += pages[i] & 1U;
        return n_there;
}

static void trimmed(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        struct head heads[6000];
        uint32_t n = 0;
        struct end *e;
        int fds[2];

        pair(fds);
        e = end_new(ring, fds[0]);
        run_what_is_due(ring);
        for (uint32_t i = 0; i < ELEMENTSOF(heads); i++)
                heads[i] = (struct head){ .number = ++n };
        write_all(fds[1], heads, sizeof(heads));
        RUN_UNTIL(ring, e->n_heads == n);
        run_what_is_due(ring);
        ASSERT_TRUE(pages_of_input(&e->stream) >= 8);

        /* The first call sees that something has come since the one before it, which was never. */
        stream_trim(&e->stream);
        run_what_is_due(ring);
        ASSERT_TRUE(pages_of_input(&e->stream) >= 8);
        stream_trim(&e->stream);
        run_what_is_due(ring);
        ASSERT_EQ(pages_of_input(&e->stream), 0U);

        /* What comes before, while and after it is called back is not lost; nor is the first part of a head. */
        for (unsigned i = 0; i < 400; i++) {
                struct head head = { .number = ++n };
                size_t part = i % 3 == 0 ? 3 : 0;

                if (i % 5 < 2)
                        run_what_is_due(ring);
                stream_trim(&e->stream);
                if (i % 4 < 2) {
                        stream_trim(&e->stream);
                        if (i % 2)
                                ASSERT_OK(ring_step(ring, false));
                }
                write_all(fds[1], &head, part);
                stream_trim(&e->stream);
                if (i % 7 < 3)
                        ASSERT_OK(ring_step(ring, false));
                stream_trim(&e->stream);
                write_all(fds[1], (const uint8_t *) &head + part, sizeof(head) - part);
                stream_trim(&e->stream);
                RUN_UNTIL(ring, e->n_heads == n);
        }

        /* Closed while it is called back. */
        run_what_is_due(ring);
        stream_trim(&e->stream);
        stream_trim(&e->stream);
        finish(ring, e);
        close(fds[1]);
}

/* What the kernel was asked to put behind the buffered bytes must not be taken for the payload that was asked for meanwhile. */
static void payload_asked_for_while_receiving(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        uint8_t *payload = payload_new(1, 100);
        struct head head = { .length = 100, .number = 1 };
        struct end *e;
        int fds[2];

        pair(fds);
        e = end_new(ring, fds[0]);
        e->greedy = true; /* the head is not taken yet */
        write_all(fds[1], &head, sizeof(head));
        write_all(fds[1], payload, 40);
        run_what_is_due(ring);
        ASSERT_EQ(e->stream.bytes_in, 48U);

        e->greedy = false;
        stream_pause(&e->stream);
        stream_resume(&e->stream); /* asks again, with a receive in the kernel */
        run_what_is_due(ring);
        ASSERT_EQ(e->n_heads, 1U);
        write_all(fds[1], payload + 40, 60);
        run_what_is_due(ring);
        ASSERT_EQ(e->n_payloads, 1U);

        finish(ring, e);
        free(payload);
        close(fds[1]);
}

static void peer_closes(void) {
        static const struct {
                size_t n; /* bytes of a message of 8 + 100 bytes that come before the end */
                int error;
        } cases[] = { { 0, 0 }, { 3, -ECONNRESET }, { 8, -ECONNRESET }, { 50, -ECONNRESET }, { 108, 0 } };
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t *payload = payload_new(1, 100);
                struct head head = { .length = 100, .number = 1 };
                struct message unsent = {};
                struct end *e;
                int fds[2];

                pair(fds);
                e = end_new(ring, fds[0]);
                if (cases[i].n > 0)
                        write_all(fds[1], &head, cases[i].n < 8 ? cases[i].n : 8);
                if (cases[i].n > 8)
                        write_all(fds[1], payload, cases[i].n - 8);
                close(fds[1]);
                RUN_UNTIL(ring, e->n_closed > 0);
                ASSERT_EQ(e->closed_error, cases[i].error);
                ASSERT_EQ(e->n_payloads, cases[i].n == 108 ? 1U : 0U);

                /* Too late: told at once. */
                message_send(&unsent, e, 1, NULL, 0);
                ASSERT_EQ(unsent.n_done, 1U);
                ASSERT_EQ(unsent.error, -ECONNRESET);
                end_free(e);
                free(payload);
        }
}

/* The peer reads nothing, so of these the first fill the socket and the rest wait. Each is told exactly once, and not from within stream_close(). */
static void closed_with_messages_queued(void) {
        for (int error = 0; error >= -ECANCELED; error -= ECANCELED) {
                _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
                uint8_t *payload = payload_new(1, 1024 * 1024);
                struct message messages[200] = {};
                struct end *e;
                unsigned told;
                int fds[2];

                pair(fds);
                e = end_new(ring, fds[0]);
                for (uint32_t i = 0; i < 100; i++)
                        message_send(messages + i, e, i + 1, payload, i % 2 ? 0 : 1024 * 1024);
                run_what_is_due(ring);
                for (uint32_t i = 100; i < 200; i++)
                        message_send(messages + i, e, i + 1, NULL, 0);
                ASSERT_TRUE(e->n_done < 100);

                told = e->n_done;
                stream_close(&e->stream, error);
                ASSERT_EQ(e->n_done, told);
                ASSERT_EQ(e->n_closing, 1U);
                ASSERT_EQ(e->n_closed, 0U);
                stream_close(&e->stream, -EIO); /* the first reason stays */
                RUN_UNTIL(ring, e->n_closed > 0);
                ASSERT_EQ(e->closed_error, error);
                ASSERT_EQ(e->n_done, 200U);
                for (size_t i = 0; i < 200; i++)
                        ASSERT_EQ(messages[i].n_done, 1U);
                ASSERT_EQ(messages[199].error, error ?: -ECONNRESET);
                run_what_is_due(ring);
                end_free(e);
                free(payload);
                close(fds[1]);
        }
}

static void closed_by_its_owner(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();

        for (unsigned where = 0; where < 5; where++) {
                struct head head = { .length = 4, .number = 1 };
                uint8_t *payload = payload_new(1, 4);
                struct message messages[3] = {};
                struct end *e;
                int fds[2];

                pair(fds);
                e = end_new(ring, fds[0]);
                e->close_in_input = where == 0;
                e->input_returns = where == 1 ? -ECANCELED : 0;
                e->close_in_payload = where == 2;
                e->payload_returns = where == 3 ? -ECANCELED : 0;
                e->close_in_done = where == 4;
                if (where == 4)
                        for (uint32_t i = 0; i < 3; i++)
                                message_send(messages + i, e, i + 1, NULL, 0);
                else {
                        write_all(fds[1], &head, sizeof(head));
                        write_all(fds[1], payload, 4);
                        write_all(fds[1], &head, sizeof(head)); /* never looked at */
                }
                RUN_UNTIL(ring, e->n_closed > 0);
                ASSERT_EQ(e->closed_error, -ECANCELED);
                ASSERT_EQ(e->n_payloads, where == 2 || where == 3 ? 1U : 0U);
                if (where == 4)
                        for (size_t i = 0; i < 3; i++)
                                ASSERT_EQ(messages[i].n_done, 1U);
                run_what_is_due(ring);
                ASSERT_EQ(e->n_closed, 1U);
                end_free(e);
                free(payload);
                close(fds[1]);
        }
}

/* A message that goes beyond the buffer without being taken is no message. */
static void too_much_for_the_buffer(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        uint8_t *bytes = calloc(1, 64 * 1024);
        struct end *e;
        int fds[2];

        pair(fds);
        ASSERT_TRUE(bytes);
        e = end_new(ring, fds[0]);
        e->greedy = true;
        while (e->n_closing == 0) {
                if (send(fds[1], bytes, 64 * 1024, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                        ASSERT_TRUE(errno == EAGAIN || errno == EPIPE);
                run_what_is_due(ring);
        }
        ASSERT_EQ(e->stream.bytes_in, STREAM_INPUT_SIZE);
        RUN_UNTIL(ring, e->n_closed > 0);
        ASSERT_EQ(e->closed_error, -EMSGSIZE);
        end_free(e);
        free(bytes);
        close(fds[1]);
}

static void thousand_streams(void) {
        _cleanup_(ring_freep) struct ring *ring = ring_with_watchman();
        unsigned before = count_descriptors();
        struct head head = { .length = 0, .number = 1 };

        for (unsigned i = 0; i < 1000; i++) {
                struct message *m = calloc(1, sizeof(*m));
                struct end *e;
                int fds[2];

                pair(fds);
                ASSERT_TRUE(m);
                e = calloc(1, sizeof(*e));
                ASSERT_TRUE(e);
                ASSERT_OK(stream_init(&e->stream, ring, fds[0], &ops, e));
                e->freed_in_closed = true;
                m->allocated = true;
                message_send(m, e, 1, NULL, 0);
                write_all(fds[1], &head, sizeof(head));
                if (i % 3 == 0)
                        ASSERT_OK(ring_step(ring, false));
                if (i % 2)
                        stream_close(&e->stream, i % 4 == 1 ? 0 : -EIO);
                close(fds[1]);
                if (i % 50 == 0)
                        run_what_is_due(ring);
        }
        for (unsigned i = 0; count_descriptors() > before; i++) {
                ASSERT_TRUE(i < 100000);
                ASSERT_OK(ring_step(ring, false));
        }
        ASSERT_EQ(count_descriptors(), before);
}

TEST_MAIN(TEST(many_small_messages), TEST(single_bytes), TEST(large_payloads), TEST(slow_reader),
        TEST(sent_in_the_same_step), TEST(lingering), TEST(large_and_small_by_turns), TEST(paused_and_resumed),
        TEST(trimmed), TEST(payload_asked_for_while_receiving), TEST(peer_closes), TEST(closed_with_messages_queued),
        TEST(closed_by_its_owner), TEST(too_much_for_the_buffer), TEST(thousand_streams));
