/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A frontend lets go of its connection at an awkward byte, what it leaves goes through the memfd, and a second frontend continues: the client in the middle sees
 * one server. The pool is the test, which answers or gives back. */

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "bytes.h"
#include "frontend-nbd.h"
#include "on-ring.h"
#include "succession.h"

#define IMAGE_SIZE (UINT64_C(1) << 20)
#define ALL_FLAGS  (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM)

struct fixture {
        struct ring *ring;
        struct buffers *buffers;
        struct requests *requests;
        struct io_stats stats;
        struct frontend *frontend;
        struct legacies *left;
        struct request *submitted[32];
        unsigned n_submitted, n_closed;
        int client;
};

static void on_open(void *userdata, struct frontend *frontend, bool use, struct nbd_export *ret) {
        *ret = (struct nbd_export){ .size = IMAGE_SIZE,
                .flags = ALL_FLAGS,
                .block_size_min = 1,
                .block_size_preferred = 4096,
                .payload_max = 256 * 1024 };
}

static void on_submit(void *userdata, struct request *request) {
        struct fixture *x = userdata;

        ASSERT_TRUE(x->n_submitted < ELEMENTSOF(x->submitted));
        x->submitted[x->n_submitted++] = request;
}

static void on_closed(void *userdata, struct frontend *frontend, int error) {
        struct fixture *x = userdata;

        x->frontend = NULL;
        x->n_closed++;
}

static void on_left(void *userdata, struct frontend *frontend, struct legacy *legacy) {
        struct fixture *x = userdata;

        x->left->items[x->left->n++] = *legacy;
        *legacy = (struct legacy){ .fd = -EBADF };
}

static const struct frontend_ops ops = { .open = on_open, .submit = on_submit, .closed = on_closed, .left = on_left };

static struct fixture *fixture_new(bool kernel) {
        struct fixture *x = calloc(1, sizeof(*x));
        struct nbd_export export;
        int fds[2];

        ASSERT_TRUE(x);
        x->ring = ring_with_watchman();
        x->left = calloc(1, sizeof(*x->left));
        ASSERT_TRUE(x->left);
        ASSERT_OK(buffers_new(&x->buffers, 16 * 1024 * 1024));
        ASSERT_OK(requests_new(&x->requests, x->buffers, 16));
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        x->client = fds[1];
        on_open(NULL, NULL, true, &export);
        ASSERT_OK(frontend_new(
                &x->frontend, x->ring, fds[0], kernel ? &export : NULL, "vm1", x->requests, &x->stats, &ops, x));
        return x;
}

static void fixture_free(struct fixture *x) {
        if (x->frontend) {
                unsigned before = x->n_closed;

                frontend_close(x->frontend);
                RUN_UNTIL(x->ring, x->n_closed > before);
        }
        for (unsigned i = 0; i < x->n_submitted; i++)
                if (x->submitted[i])
                        x->submitted[i]->done(x->submitted[i], -ESHUTDOWN);
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        ASSERT_EQ(buffers_in_use(x->buffers), 0U);
        ASSERT_EQ(x->stats.in_flight, 0U);
        legacies_free(x->left);
        requests_free(x->requests);
        buffers_free(x->buffers);
        ring_free(x->ring);
        safe_close(x->client);
        free(x);
}

static void client_send(struct fixture *x, const void *data, size_t n) {
        ASSERT_EQ(send(x->client, data, n, MSG_DONTWAIT | MSG_NOSIGNAL), (ssize_t) n);
}

static void send_header(
        struct fixture *x, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t n) {
        struct nbd_request request = { .type = type, .flags = flags, .cookie = cookie, .offset = offset, .length = n };
        uint8_t header[NBD_REQUEST_SIZE];

        nbd_request_encode(&request, header);
        client_send(x, header, sizeof(header));
}

static void client_read(struct fixture *x, void *ret, size_t n) {
        receive_on_ring(x->ring, x->client, ret, n);
}

static void expect_reply(struct fixture *x, uint64_t cookie) {
        uint8_t reply[NBD_SIMPLE_REPLY_SIZE];

        client_read(x, reply, sizeof(reply));
        ASSERT_EQ(get_be32(reply), NBD_SIMPLE_REPLY_MAGIC);
        ASSERT_EQ(get_be32(reply + 4), NBD_SUCCESS);
        ASSERT_EQ(get_be64(reply + 8), cookie);
}

static void answer(struct fixture *x, unsigned i, int error) {
        struct request *request = TAKE_PTR(x->submitted[i]);

        request->done(request, error);
}

static void release(struct fixture *x) {
        unsigned before = x->n_closed;

        frontend_release(x->frontend);
        RUN_UNTIL(x->ring, x->n_closed > before);
        x->n_submitted = 0;
}

/* Through systemd and back: the descriptors come in another order, and under other numbers. */
static void succeed(struct fixture *x) {
        _cleanup_(succession_freep) struct succession *found = NULL;
        struct succession succession = { .image = "images/vm1", .size = IMAGE_SIZE, .node = "/dev/nbd7" };
        int fds[3] = { -EBADF, -EBADF, -EBADF }, memfd, other[2];

        memset(succession.uuid, 0x5a, sizeof(succession.uuid));
        succession.legacies = x->left;
        ASSERT_EQ(x->left->n, 1U);
        ASSERT_OK(succession_write(&succession, &memfd));
        ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other));
        fds[0] = other[0];
        fds[2] = dup(x->left->items[0].fd);
        x->left = legacies_free(x->left);
        x->left = calloc(1, sizeof(*x->left));

        ASSERT_OK(succession_read(memfd, fds, 3, &found));
        ASSERT_STREQ(found->image, "images/vm1");
        ASSERT_STREQ(found->node, "/dev/nbd7");
        ASSERT_EQ(found->size, IMAGE_SIZE);
        ASSERT_EQ(found->uuid[15], 0x5a);
        ASSERT_EQ(found->legacies->n, 1U);
        ASSERT_EQ(fds[0], other[0]);
        ASSERT_EQ(fds[2], -EBADF);
        close(memfd);
        close(other[0]);
        close(other[1]);
        ASSERT_OK(frontend_new_from(
                &x->frontend, x->ring, found->legacies->items, "vm1", x->requests, &x->stats, &ops, x));
}

static void idle(void) {
        struct fixture *x = fixture_new(true);

        run_what_is_due(x->ring);
        frontend_quiesce(x->frontend);
        release(x);
        ASSERT_EQ(x->left->items[0].n_input, 0U);
        ASSERT_EQ(x->left->items[0].n_output, 0U);
        ASSERT_TRUE(x->left->items[0].kernel);
        succeed(x);
        ASSERT_TRUE(x->frontend->kernel && x->frontend->writes);
        send_header(x, NBD_CMD_FLUSH, 0, 9, 0, 0);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        answer(x, 0, 0);
        expect_reply(x, 9);
        fixture_free(x);
}

/* One answered, one given back undone, one half received, one behind it in the socket. */
static void in_the_middle(void) {
        struct fixture *x = fixture_new(true);
        uint8_t data[8192], got[4096];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i * 13);

        send_header(x, NBD_CMD_READ, 0, 1, 0, 4096);
        send_header(x, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 2, 4096, 4096);
        client_send(x, data, 4096);
        send_header(x, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 3, 8192, 512);
        send_header(x, NBD_CMD_WRITE, 0, 4, 65536, 8192);
        client_send(x, data, 1000);
        RUN_UNTIL(x->ring, x->n_submitted == 3);
        run_what_is_due(x->ring);

        frontend_quiesce(x->frontend);
        ASSERT_OK(request_take_buffer(x->submitted[0]));
        memset(x->submitted[0]->data, 0xee, 4096);
        answer(x, 0, 0);
        answer(x, 2, 0); /* becomes a flush, which is not done in time */
        ASSERT_EQ(x->n_submitted, 4U);
        answer(x, 3, -ESHUTDOWN);
        answer(x, 1, -ESHUTDOWN);
        client_send(x, data + 1000, 2000);
        release(x);
        succeed(x);

        expect_reply(x, 1);
        client_read(x, got, 4096);
        ASSERT_EQ(got[0], 0xee);
        ASSERT_EQ(got[4095], 0xee);

        RUN_UNTIL(x->ring, x->n_submitted == 2);
        ASSERT_EQ(x->submitted[0]->op, REQUEST_WRITE);
        ASSERT_TRUE(x->submitted[0]->fua);
        ASSERT_EQ(x->submitted[0]->offset, 4096U);
        ASSERT_MEMEQ(x->submitted[0]->data, data, 4096);
        ASSERT_EQ(x->submitted[1]->op, REQUEST_FLUSH);
        answer(x, 1, 0);
        expect_reply(x, 3);
        answer(x, 0, 0);
        expect_reply(x, 2);

        client_send(x, data + 3000, 5192);
        RUN_UNTIL(x->ring, x->n_submitted == 3);
        ASSERT_EQ(x->submitted[2]->offset, 65536U);
        ASSERT_MEMEQ(x->submitted[2]->data, data, 8192);
        answer(x, 2, 0);
        expect_reply(x, 4);
        fixture_free(x);
}

/* The client does not read, so that the answers are stuck on their way; then it does, and each byte comes once. */
static void answers_on_their_way(void) {
        struct fixture *x = fixture_new(true);
        unsigned n = 12;
        uint8_t *got = malloc(256 * 1024);

        ASSERT_TRUE(got);
        for (unsigned i = 0; i < n; i++)
                send_header(x, NBD_CMD_READ, 0, 100 + i, 0, 256 * 1024);
        RUN_UNTIL(x->ring, x->n_submitted == n);
        for (unsigned i = 0; i < n; i++) {
                ASSERT_OK(request_take_buffer(x->submitted[i]));
                memset(x->submitted[i]->data, (int) (i + 1), 256 * 1024);
                answer(x, i, 0);
        }
        run_what_is_due(x->ring);
        frontend_quiesce(x->frontend);
        release(x);
        ASSERT_TRUE(x->left->items[0].n_output > 256 * 1024);
        succeed(x);
        for (unsigned i = 0; i < n; i++) {
                expect_reply(x, 100 + i);
                client_read(x, got, 256 * 1024);
                ASSERT_EQ(got[0], i + 1);
                ASSERT_EQ(got[256 * 1024 - 1], i + 1);
        }
        free(got);
        fixture_free(x);
}

/* A client that has only just connected, one that has said DISC, and a refused write whose data are still to come. */
static void other_phases(void) {
        static const uint8_t flags[4] = { 0, 0, 0, 3 };
        struct fixture *x = fixture_new(false);
        uint8_t greeting[NBD_GREETING_SIZE], data[64 * 1024] = {};

        frontend_quiesce(x->frontend);
        release(x);
        ASSERT_TRUE(x->left->items[0].handshake && !x->left->items[0].flags_known);
        succeed(x);
        client_read(x, greeting, sizeof(greeting));
        client_send(x, flags, sizeof(flags));
        RUN_UNTIL(x->ring, x->frontend->phase == FRONTEND_OPTIONS);
        fixture_free(x);

        x = fixture_new(true);
        send_header(x, NBD_CMD_FLUSH, 0, 5, 0, 0);
        send_header(x, NBD_CMD_DISC, 0, 0, 0, 0);
        RUN_UNTIL(x->ring, x->frontend->phase == FRONTEND_DISCONNECTING);
        frontend_quiesce(x->frontend);
        answer(x, 0, -ESHUTDOWN);
        release(x);
        succeed(x);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        answer(x, 0, 0);
        expect_reply(x, 5);
        RUN_UNTIL(x->ring, x->n_closed == 2);
        fixture_free(x);

        x = fixture_new(true);
        send_header(x, NBD_CMD_WRITE, 0, 6, IMAGE_SIZE, sizeof(data)); /* beyond the end */
        client_send(x, data, 1000);
        RUN_UNTIL(x->ring, x->frontend->skip == sizeof(data) - 1000);
        frontend_quiesce(x->frontend);
        release(x);
        succeed(x);
        client_read(x, greeting, NBD_SIMPLE_REPLY_SIZE);
        client_send(x, data, sizeof(data) - 1000);
        send_header(x, NBD_CMD_FLUSH, 0, 7, 0, 0);
        RUN_UNTIL(x->ring, x->n_submitted == 1);
        ASSERT_EQ(x->submitted[0]->op, REQUEST_FLUSH);
        fixture_free(x);
}

/* A client that hangs up meanwhile is no connection to continue. */
static void hung_up(void) {
        struct fixture *x = fixture_new(true);

        send_header(x, NBD_CMD_WRITE, 0, 1, 0, 4096);
        run_what_is_due(x->ring);
        frontend_quiesce(x->frontend);
        x->client = safe_close(x->client);
        RUN_UNTIL(x->ring, x->n_closed == 1);
        ASSERT_EQ(x->left->n, 0U);
        fixture_free(x);
}

static int read_text(const char *text, struct succession **ret) {
        FILE *f = tmpfile();
        int r;

        ASSERT_TRUE(f);
        fputs(text, f);
        fflush(f);
        r = succession_read(fileno(f), NULL, 0, ret);
        fclose(f);
        return r;
}

#define ID "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"

/* From another version, or from nobody. */
static void forms(void) {
        _cleanup_(succession_freep) struct succession *found = NULL;

        ASSERT_EQ(read_text("", &found), -EBADMSG);
        ASSERT_EQ(read_text("{}", &found), -EBADMSG);
        ASSERT_EQ(read_text("nonsense\n", &found), -EBADMSG);
        ASSERT_EQ(read_text("[]\n", &found), -EBADMSG);
        ASSERT_EQ(read_text("{\"version\":2}\n", &found), -EPROTONOSUPPORT);
        ASSERT_EQ(read_text("{\"version\":1,\"image\":\"a\",\"uuid\":\"" ID
                            "\",\"node\":\"\",\"size\":4096,\"connections\":[{\"size\":1,\"payload-max\":1,"
                            "\"block-size-min\":1,\"input\":10}]}\nshort",
                          &found),
                -EBADMSG);
        ASSERT_EQ(read_text("{\"version\":1,\"image\":\"a\",\"uuid\":\"" ID
                            "\",\"node\":\"\",\"size\":4096,\"connections\":[{\"size\":0}]}\n",
                          &found),
                -EBADMSG);
        ASSERT_EQ(read_text("{\"version\":1,\"image\":\"a\",\"uuid\":\"" ID
                            "\",\"node\":\"\",\"size\":4096,\"connections\":[]}\nmore",
                          &found),
                -EBADMSG);
        ASSERT_TRUE(!found);
        ASSERT_OK(read_text("{\"version\":1,\"image\":\"a\",\"uuid\":\"" ID
                            "\",\"node\":\"\",\"size\":4096,\"connections\":[],\"added-later\":true}\n",
                &found));
        ASSERT_EQ(found->legacies->n, 0U);
}

static void tickets(void) {
        _cleanup_(legacies_freep) struct legacies *legacies = calloc(1, sizeof(*legacies));
        _cleanup_(succession_freep) struct succession *found = NULL;
        struct succession left = { .image = "a", .size = 4096, .legacies = legacies };
        struct left_tickets *in, *out;
        _cleanup_close_ int memfd = -EBADF;

        ASSERT_TRUE(legacies);
        in = &legacies->tickets;
        in->n = 2;
        for (unsigned i = 0; i < in->n; i++) {
                strcpy(in->items[i].proxy, i ? "[::1]:11418" : "tls://storage:11418");
                in->items[i].n = i ? 1 : IVBS_TICKET_MAX;
                memset(in->items[i].ticket, '\n' + (int) i, in->items[i].n);
                memset(in->items[i].key, 0x80 + (int) i, sizeof(in->items[i].key));
        }
        ASSERT_OK(succession_write(&left, &memfd));
        ASSERT_OK(succession_read(memfd, NULL, 0, &found));
        out = &found->legacies->tickets;
        ASSERT_EQ(found->legacies->n, 0U);
        ASSERT_EQ(out->n, 2U);
        for (unsigned i = 0; i < out->n; i++) {
                ASSERT_STREQ(out->items[i].proxy, in->items[i].proxy);
                ASSERT_EQ(out->items[i].n, in->items[i].n);
                ASSERT_MEMEQ(out->items[i].ticket, in->items[i].ticket, in->items[i].n);
                ASSERT_MEMEQ(out->items[i].key, in->items[i].key, sizeof(in->items[i].key));
        }

        /* What does not fit is refused, as elsewhere. */
        found = succession_free(found);
#define WITH_TICKET(text)                               \
        "{\"version\":1,\"image\":\"a\",\"uuid\":\"" ID \
        "\",\"node\":\"\",\"size\":4096,\"connections\":[{\"tickets\":" text "}]}\n"
        ASSERT_EQ(read_text(WITH_TICKET("1"), &found), -EBADMSG);
        ASSERT_EQ(read_text(WITH_TICKET("[{\"proxy\":\"a\",\"size\":0}]"), &found), -EBADMSG);
        ASSERT_EQ(read_text(WITH_TICKET("[{\"proxy\":\"a\",\"size\":257}]"), &found), -EBADMSG);
        ASSERT_EQ(read_text(WITH_TICKET("[{\"proxy\":\"a\",\"size\":8}]") "too short", &found), -EBADMSG);
        ASSERT_EQ(read_text(WITH_TICKET("[1,1,1,1,1,1,1,1,1]"), &found), -EBADMSG);
        ASSERT_OK(read_text(WITH_TICKET("[]"), &found));
}

TEST_MAIN(TEST(idle), TEST(in_the_middle), TEST(answers_on_their_way), TEST(other_phases), TEST(hung_up), TEST(forms),
        TEST(tickets));
