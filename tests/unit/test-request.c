/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "request.h"
#include "test.h"

struct sleeper {
        struct request_waiter waiter;
        unsigned n_woken;
};

static void wake(struct request_waiter *waiter) {
        ASSERT_FALSE(waiter->waiting);
        ((struct sleeper *) waiter)->n_woken++;
}

static void bounds(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct request *slots[8], *first;

        ASSERT_OK(buffers_new(&buffers, 1024 * 1024));
        ASSERT_OK(requests_new(&requests, buffers, ELEMENTSOF(slots)));
        for (size_t i = 0; i < ELEMENTSOF(slots); i++) {
                slots[i] = requests_get(requests, i % 2 ? REQUEST_WRITE : REQUEST_READ, 512);
                ASSERT_TRUE(slots[i] && !slots[i]->data == (i % 2 == 0));
                ASSERT_EQ(buffers_in_use(buffers), (i + 1) * 4096U);
                ASSERT_TRUE(i == 0 || slots[i]->order > slots[i - 1]->order);
        }
        ASSERT_EQ(requests_in_use(requests), 8U);
        ASSERT_TRUE(requests_get(requests, REQUEST_FLUSH, 0) == NULL);

        /* A read's buffer is promised, and there when it is asked for. */
        ASSERT_EQ(buffers_allocated(buffers), 4U * 4096U);
        ASSERT_OK(request_take_buffer(slots[2]));
        ASSERT_TRUE(slots[2]->data);
        ASSERT_EQ(buffers_allocated(buffers), 5U * 4096U);
        first = (struct request *) slots[2]->data;
        ASSERT_OK(request_take_buffer(slots[2]));
        ASSERT_TRUE(slots[2]->data == (uint8_t *) first);
        ASSERT_EQ(buffers_in_use(buffers), 8U * 4096U);

        first = slots[0];
        requests_put(slots[0]);
        slots[0] = requests_get(requests, REQUEST_FLUSH, 0);
        ASSERT_TRUE(slots[0] == first); /* the warm one */
        ASSERT_TRUE(slots[0]->data == NULL);
        ASSERT_TRUE(slots[0]->order > slots[7]->order);
        ASSERT_TRUE(!slots[0]->owner && !slots[0]->session && !slots[0]->done && !slots[0]->fua &&
                    slots[0]->attempts == 0);

        for (size_t i = 0; i < ELEMENTSOF(slots); i++)
                requests_put(slots[i]);
        ASSERT_EQ(requests_in_use(requests), 0U);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
}

/* A read's data are in a buffer or in a pipe; the promise holds for both. */
static void pipes(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct request *read;
        uint8_t data[1000];

        ASSERT_OK(buffers_new(&buffers, 64 * 1024));
        ASSERT_OK(requests_new(&requests, buffers, 2));
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i * 3);

        /* What was lost in the middle is dropped, and comes again. */
        read = requests_get(requests, REQUEST_READ, sizeof(data));
        ASSERT_TRUE(read && request_take_pipe(read));
        ASSERT_EQ(pipe_buffer_write(read->pipe, data, 10), 10);
        request_drop_pipe(read);
        ASSERT_TRUE(!read->pipe && !read->data);
        ASSERT_TRUE(request_take_pipe(read));
        ASSERT_EQ(read->pipe->held, 0U);
        ASSERT_EQ(buffers_in_use(buffers), 4096U);
        ASSERT_EQ(buffers_allocated(buffers), 0U);

        ASSERT_EQ(pipe_buffer_write(read->pipe, data, sizeof(data)), (ssize_t) sizeof(data));
        ASSERT_EQ(request_spill_pipe(read), (ssize_t) sizeof(data));
        ASSERT_TRUE(!read->pipe);
        ASSERT_MEMEQ(read->data, data, sizeof(data));
        ASSERT_EQ(buffers_in_use(buffers), 4096U);
        ASSERT_TRUE(!request_take_pipe(read)); /* it has a buffer */
        requests_put(read);

        read = requests_get(requests, REQUEST_READ, sizeof(data));
        ASSERT_TRUE(read && request_take_pipe(read));
        requests_put(read);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
        requests_trim(requests);
        requests_trim(requests);
}

static void without_memory(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct request *write, *trim;

        ASSERT_OK(buffers_new(&buffers, 64 * 1024));
        ASSERT_OK(requests_new(&requests, buffers, REQUESTS_MAX));
        write = requests_get(requests, REQUEST_WRITE, 64 * 1024);
        ASSERT_TRUE(write);
        ASSERT_TRUE(requests_get(requests, REQUEST_READ, 1) == NULL);
        ASSERT_EQ(requests_in_use(requests), 1U);

        /* Needs no data, and may be as long as it likes. */
        trim = requests_get(requests, REQUEST_TRIM, UINT32_MAX);
        ASSERT_TRUE(trim);
        requests_put(trim);
        requests_put(write);
        ASSERT_EQ(buffers_in_use(buffers), 0U);
}

static void waiters_are_woken(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct sleeper a = { .waiter.wake = wake }, b = { .waiter.wake = wake }, c = { .waiter.wake = wake };
        struct request *slots[2];

        ASSERT_OK(buffers_new(&buffers, 1024 * 1024));
        ASSERT_OK(requests_new(&requests, buffers, 2));
        slots[0] = requests_get(requests, REQUEST_FLUSH, 0);
        slots[1] = requests_get(requests, REQUEST_FLUSH, 0);

        requests_wait(requests, &a.waiter);
        requests_wait(requests, &a.waiter);
        requests_wait(requests, &b.waiter);
        requests_wait(requests, &c.waiter);
        requests_unwait(requests, &b.waiter);
        requests_put(slots[0]);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 0 && c.n_woken == 0);
        requests_put(slots[1]);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 0 && c.n_woken == 1);

        /* Each only once, unless it waits again. */
        slots[0] = requests_get(requests, REQUEST_FLUSH, 0);
        requests_put(slots[0]);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 0 && c.n_woken == 1);
}

/* One that was woken and goes away before it tried must not take the others' turn with it: nobody else would wake them. */
static void turn_is_passed_on(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct sleeper a = { .waiter.wake = wake }, b = { .waiter.wake = wake };
        struct request *slot;

        ASSERT_OK(buffers_new(&buffers, 1024 * 1024));
        ASSERT_OK(requests_new(&requests, buffers, 1));
        slot = requests_get(requests, REQUEST_FLUSH, 0);
        requests_wait(requests, &a.waiter);
        requests_wait(requests, &b.waiter);
        requests_put(slot);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 0);
        requests_unwait(requests, &a.waiter);
        ASSERT_EQ(b.n_woken, 1U);
        requests_unwait(requests, &b.waiter);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 1);
}

static void reserved(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct sleeper a = { .waiter.wake = wake };
        struct request *slots[REQUESTS_RESERVED], *all;
        uint8_t data[512];

        ASSERT_OK(buffers_new(&buffers, 4096));
        ASSERT_OK(requests_new(&requests, buffers, 1));
        all = requests_get(requests, REQUEST_WRITE, 4096);
        ASSERT_TRUE(all && !all->reserved);
        requests_wait(requests, &a.waiter);

        /* With no slot and no memory left for anybody else. */
        for (size_t i = 0; i < ELEMENTSOF(slots); i++) {
                slots[i] = requests_get_reserved(requests, i % 2 ? REQUEST_WRITE : REQUEST_FLUSH, i % 2 ? 512 : 0);
                ASSERT_TRUE(slots[i] && slots[i]->reserved && !slots[i]->data);
                if (slots[i]->op == REQUEST_WRITE)
                        slots[i]->data = data;
        }
        ASSERT_TRUE(requests_get_reserved(requests, REQUEST_FLUSH, 0) == NULL);
        ASSERT_EQ(requests_in_use(requests), 1U + REQUESTS_RESERVED);
        ASSERT_TRUE(requests_get(requests, REQUEST_FLUSH, 0) == NULL);

        for (size_t i = 0; i < ELEMENTSOF(slots); i++)
                requests_put(slots[i]);
        ASSERT_EQ(a.n_woken, 0U); /* nothing that it could take */
        ASSERT_EQ(buffers_in_use(buffers), 4096U);
        requests_put(all);
        ASSERT_EQ(a.n_woken, 1U);
        ASSERT_EQ(requests_in_use(requests), 0U);
}

struct greedy {
        struct request_waiter waiter;
        struct requests *requests;
        unsigned n_woken;
};

static void wake_greedy(struct request_waiter *waiter) {
        struct greedy *g = (struct greedy *) waiter;

        g->n_woken++;
        requests_wait(g->requests, waiter);
}

static void data_taken_over(void) {
        _cleanup_(buffers_freep) struct buffers *buffers = NULL;
        _cleanup_(requests_freep) struct requests *requests = NULL;
        struct sleeper a = { .waiter.wake = wake };
        struct greedy b;
        struct request *write;
        uint8_t *data;

        ASSERT_OK(buffers_new(&buffers, 4096));
        ASSERT_OK(requests_new(&requests, buffers, 2));
        b = (struct greedy){ .waiter.wake = wake_greedy, .requests = requests };
        write = requests_get(requests, REQUEST_WRITE, 4096);
        data = TAKE_PTR(write->data);
        requests_put(write);
        ASSERT_EQ(buffers_in_use(buffers), 4096U);
        ASSERT_TRUE(requests_get(requests, REQUEST_WRITE, 4096) == NULL);

        requests_wait(requests, &b.waiter);
        requests_wait(requests, &a.waiter);
        buffers_put(buffers, data, 4096);
        requests_memory_freed(requests);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 1);
        requests_memory_freed(requests);
        ASSERT_TRUE(a.n_woken == 1 && b.n_woken == 2);
        requests_unwait(requests, &b.waiter);
        requests_memory_freed(requests);
        ASSERT_EQ(b.n_woken, 2U);
}

static void names(void) {
        ASSERT_STREQ(request_op_to_string(REQUEST_READ), "read");
        ASSERT_STREQ(request_op_to_string(REQUEST_WRITE_ZEROES), "write-zeroes");
        ASSERT_STREQ(request_op_to_string(_REQUEST_OP_MAX), "unknown");
        ASSERT_STREQ(request_op_to_string((enum request_op) - 1), "unknown");
        ASSERT_TRUE(requests_free(NULL) == NULL);
}

TEST_MAIN(TEST(bounds), TEST(pipes), TEST(without_memory), TEST(waiters_are_woken), TEST(turn_is_passed_on),
        TEST(reserved), TEST(data_taken_over), TEST(names));
