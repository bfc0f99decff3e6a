/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The NBD client: 10,000 requests of a fixed mix, at depths that change. Half are small reads, a third small writes; the rest is what else there is, large ones included, much of it over
 * the same few blocks, so that the ordering has something to do. It keeps the image as it has to be in the end. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd.h"
#include "world.h"

#define DEPTH_MAX 64U
#define LARGE_MAX (256U << 10)

int client_fd = 1000000; /* nobody's */

static struct stream *stream;
static uint8_t image[REPLAY_IMAGE_SIZE], data[LARGE_MAX], header[NBD_SIMPLE_REPLY_SIZE];
static unsigned n_sent, n_answered, depth = 1;
static size_t n_header;
static uint64_t data_left;
/* By cookie. */
static uint32_t reads[REPLAY_REQUESTS];
static bool pending[REPLAY_REQUESTS];

static void opened(struct stream *s) {
        stream = s;
}

static void closed(struct stream *s) {
        stream = NULL;
}

/* Half of them among the first 64 blocks, where they meet. */
static uint64_t place(uint32_t length) {
        uint64_t blocks = chance(2) ? 64 : REPLAY_IMAGE_SIZE / 4096, offset = chance(blocks) * 4096;

        return offset + length <= REPLAY_IMAGE_SIZE ? offset : REPLAY_IMAGE_SIZE - length;
}

static struct nbd_request choose(void) {
        static const struct {
                unsigned share; /* of 1000 */
                uint16_t type, flags;
                uint32_t length;
        } mix[] = {
                { 480, NBD_CMD_READ, 0, 4096 },
                { 320, NBD_CMD_WRITE, 0, 4096 },
                { 20, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 4096 },
                { 30, NBD_CMD_READ, 0, 512 },
                { 40, NBD_CMD_READ, 0, 65536 },
                { 30, NBD_CMD_WRITE, 0, 65536 },
                { 5, NBD_CMD_READ, 0, LARGE_MAX },
                { 5, NBD_CMD_WRITE, 0, LARGE_MAX },
                { 30, NBD_CMD_FLUSH, 0, 0 },
                { 20, NBD_CMD_TRIM, 0, 16384 },
                { 10, NBD_CMD_WRITE_ZEROES, 0, 16384 },
                { 10, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 4096 },
        };
        unsigned x = (unsigned) chance(1000), i = 0;

        while (x >= mix[i].share)
                x -= mix[i++].share;
        return (struct nbd_request){
                .type = mix[i].type,
                .flags = mix[i].flags,
                .length = mix[i].length,
                .offset = mix[i].length > 0 ? place(mix[i].length) : 0,
        };
}

static void send_one(void) {
        struct nbd_request request = choose();
        uint8_t bytes[NBD_REQUEST_SIZE];

        request.cookie = n_sent;
        nbd_request_encode(&request, bytes);
        peer_send(stream, bytes, sizeof(bytes));
        if (request.type == NBD_CMD_WRITE) {
                memset(data, (int) (1 + n_sent % 255), request.length);
                memcpy(data, &n_sent, sizeof(n_sent));
                peer_send(stream, data, request.length);
                memcpy(image + request.offset, data, request.length);
        } else if (request.type == NBD_CMD_TRIM || request.type == NBD_CMD_WRITE_ZEROES)
                memset(image + request.offset, 0, request.length);

        reads[n_sent] = request.type == NBD_CMD_READ ? request.length : 0;
        pending[n_sent++] = true;
}

static void take_header(void) {
        uint64_t cookie;
        uint32_t error;

        if (nbd_simple_reply_decode(header, &cookie, &error) < 0 || cookie >= n_sent || !pending[cookie])
                REPLAY_FAIL("a reply that is none");
        if (error != 0)
                REPLAY_FAIL("request %u failed with %u", (unsigned) cookie, error);
        pending[cookie] = false;
        n_answered++;
        data_left = reads[cookie];
}

static void took(struct stream *s, const uint8_t *bytes, size_t n) {
        while (n > 0) {
                size_t part = data_left > 0 ? (data_left < n ? (size_t) data_left : n)
                                            : (sizeof(header) - n_header < n ? sizeof(header) - n_header : n);

                if (data_left > 0)
                        data_left -= part;
                else {
                        memcpy(header + n_header, bytes, part);
                        n_header += part;
                        if (n_header == sizeof(header)) {
                                n_header = 0;
                                take_header();
                        }
                }
                bytes += part;
                n -= part;
        }
}

bool client_step(void) {
        if (n_sent % 500 == 0)
                depth = 1 + (unsigned) chance(DEPTH_MAX);
        while (n_sent < REPLAY_REQUESTS && n_sent - n_answered < depth)
                send_one();
        return n_answered == REPLAY_REQUESTS && data_left == 0;
}

const uint8_t *client_image(void) {
        return image;
}

const struct peer client_peer = { .opened = opened, .took = took, .closed = closed };
