/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The proxy: knows what a session needs to get up, does to its image what it is asked, and answers some of it each step, in whatever order. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ivbs-hello.h"
#include "world.h"

#define CAPS                                                                                                        \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE | \
                IVBS_CAP_FENCE | IVBS_CAP_DURABILITY | IVBS_CAP_NOTICE | IVBS_CAP_TICKET | IVBS_CAP_DRAIN)
#define CONNECTIONS_MAX 32U
#define ASKED_MAX       1024U

struct connection {
        struct stream *stream;
        uint8_t *bytes;
        size_t n, allocated;
};

/* An I/O request that has come and is not done yet. */
struct asked {
        struct stream *stream;
        struct ivbs_header header;
        uint64_t offset, length;
        uint8_t *data;
};

static struct connection connections[CONNECTIONS_MAX];
static struct asked asked[ASKED_MAX];
static size_t n_asked;
static uint8_t image[REPLAY_IMAGE_SIZE];
static uint64_t generation;

const uint8_t *proxy_image(void) {
        return image;
}

static void reply(struct stream *stream, const struct ivbs_header *to, const void *payload, size_t n) {
        struct ivbs_header header = { .op = to->op, .length = (uint32_t) n, .sequence = to->sequence };
        uint8_t bytes[IVBS_HEADER_SIZE];

        memset(header.session_id, 0x5e, sizeof(header.session_id));
        ivbs_header_encode(&header, bytes);
        peer_send(stream, bytes, sizeof(bytes));
        if (payload)
                peer_send(stream, payload, n);
}

static void opened(struct stream *stream) {
        const struct ivbs_greeting greeting = { .caps = CAPS, .max_length = IVBS_LENGTH_MAX, .idle_limit_ms = 30000 };
        const struct ivbs_header header = { .op = IVBS_OP_GREETING };
        uint8_t payload[IVBS_GREETING_SIZE];
        size_t i = 0;

        while (i < CONNECTIONS_MAX && connections[i].stream)
                i++;
        if (i == CONNECTIONS_MAX)
                REPLAY_FAIL("too many connections");
        connections[i].stream = stream;
        ivbs_greeting_encode(&greeting, payload);
        reply(stream, &header, payload, sizeof(payload));
}

static struct connection *find(const struct stream *stream) {
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (connections[i].stream == stream)
                        return connections + i;
        REPLAY_FAIL("an unknown connection");
}

static void closed(struct stream *stream) {
        struct connection *c = find(stream);

        for (size_t i = 0; i < n_asked; i++)
                if (asked[i].stream == stream)
                        REPLAY_FAIL("a session ends with requests in flight");
        free(c->bytes);
        *c = (struct connection){};
}

static void attach(struct stream *stream, const struct ivbs_header *header) {
        struct ivbs_lease_reply lease = { .size = REPLAY_IMAGE_SIZE, .block_size = 4096 };
        uint8_t payload[IVBS_LEASE_REPLY_SIZE];

        if (header->op == IVBS_OP_ATTACH_LEASE)
                generation++;
        lease.generation = generation;
        memset(lease.uuid, 0x11, sizeof(lease.uuid));
        memset(lease.token, 0x22, sizeof(lease.token));
        memset(lease.identity.boot_id, 0x33, sizeof(lease.identity.boot_id));
        ivbs_lease_reply_encode(&lease, payload);
        reply(stream, header, payload, sizeof(payload));
}

static void take_io(struct stream *stream, const struct ivbs_header *header, const uint8_t *payload) {
        struct asked a = { .stream = stream, .header = *header };
        struct ivbs_zeroes zeroes;

        switch (header->op) {
        case IVBS_OP_READ:
        case IVBS_OP_TRIM:
                ivbs_range_decode(payload, &a.offset, &a.length);
                break;
        case IVBS_OP_WRITE_ZEROES:
                if (ivbs_zeroes_decode(payload, header->length, &zeroes) < 0)
                        REPLAY_FAIL("a bad WRITE_ZEROES");
                a.offset = zeroes.offset;
                a.length = zeroes.length;
                break;
        case IVBS_OP_WRITE:
        case IVBS_OP_WRITE_FUA:
                a.offset = ivbs_offset_decode(payload);
                a.length = header->length - IVBS_WRITE_PREFIX_SIZE;
                a.data = malloc(a.length);
                if (!a.data)
                        REPLAY_FAIL("out of memory");
                memcpy(a.data, payload + IVBS_WRITE_PREFIX_SIZE, a.length);
                break;
        case IVBS_OP_FLUSH:
                break;
        default:
                REPLAY_FAIL("%s is not in the script", ivbs_op_to_string(header->op));
        }
        if (n_asked == ASKED_MAX || a.offset + a.length > REPLAY_IMAGE_SIZE)
                REPLAY_FAIL("too much is asked for");
        asked[n_asked++] = a;
}

static void take(struct stream *stream, const struct ivbs_header *header, const uint8_t *payload) {
        uint8_t hello[IVBS_HELLO_REPLY_SIZE], ticket[64] = "a ticket";

        switch (header->op) {
        case IVBS_OP_HELLO:
                ivbs_hello_reply_encode(&(struct ivbs_hello_reply){ .caps = CAPS }, hello);
                reply(stream, header, hello, sizeof(hello));
                break;
        case IVBS_OP_LOGIN:
        case IVBS_OP_LOGIN_TICKET:
                reply(stream, header, ticket, sizeof(ticket));
                break;
        case IVBS_OP_ATTACH_LEASE:
        case IVBS_OP_RESUME:
                attach(stream, header);
                break;
        case IVBS_OP_DETACH:
        case IVBS_OP_KEEPALIVE:
                reply(stream, header, NULL, 0);
                break;
        default:
                take_io(stream, header, payload);
                break;
        }
}

static void took(struct stream *stream, const uint8_t *data, size_t n) {
        struct connection *c = find(stream);
        size_t done = 0;

        if (c->n + n > c->allocated) {
                c->allocated = (c->n + n) * 2;
                c->bytes = realloc(c->bytes, c->allocated);
                if (!c->bytes)
                        REPLAY_FAIL("out of memory");
        }
        memcpy(c->bytes + c->n, data, n);
        c->n += n;

        while (c->n - done >= IVBS_HEADER_SIZE) {
                struct ivbs_header header;

                ivbs_header_decode(c->bytes + done, &header);
                if (ivbs_header_check(&header, IVBS_TO_SERVER) < 0)
                        REPLAY_FAIL("a packet that is none");
                if (c->n - done < IVBS_HEADER_SIZE + header.length)
                        break;
                take(stream, &header, c->bytes + done + IVBS_HEADER_SIZE);
                done += IVBS_HEADER_SIZE + header.length;
        }
        if (done > 0)
                memmove(c->bytes, c->bytes + done, c->n - done);
        c->n -= done;
}

static void answer(struct asked *a) {
        struct ivbs_identity identity = {};
        uint8_t payload[IVBS_IDENTITY_SIZE];

        switch (a->header.op) {
        case IVBS_OP_READ:
                reply(a->stream, &a->header, image + a->offset, a->length);
                return;
        case IVBS_OP_FLUSH:
                memset(identity.boot_id, 0x33, sizeof(identity.boot_id));
                ivbs_identity_encode(&identity, payload);
                reply(a->stream, &a->header, payload, sizeof(payload));
                return;
        case IVBS_OP_WRITE:
        case IVBS_OP_WRITE_FUA:
                memcpy(image + a->offset, a->data, a->length);
                free(a->data);
                break;
        default:
                memset(image + a->offset, 0, a->length);
        }
        reply(a->stream, &a->header, NULL, 0);
}

void proxy_step(void) {
        size_t n = n_asked > 0 ? 1 + chance(n_asked) : 0;

        while (n-- > 0) {
                size_t i = chance(n_asked);
                struct asked a = asked[i];

                asked[i] = asked[--n_asked];
                answer(&a);
        }
}

const struct peer proxy_peer = { .opened = opened, .took = took, .closed = closed };
