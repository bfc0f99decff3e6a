/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "retained.h"
#include "test.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

struct fixture {
        struct buffers *buffers;
        struct requests *requests;
        struct retained *log;
};

static void begin(struct fixture *x, uint64_t limit) {
        ASSERT_OK(buffers_new(&x->buffers, 64 * MIB));
        ASSERT_OK(requests_new(&x->requests, x->buffers, REQUESTS_MAX));
        ASSERT_OK(retained_new(&x->log, x->buffers, limit));
}

static void end(struct fixture *x) {
        retained_free(x->log);
        ASSERT_EQ(requests_in_use(x->requests), 0U);
        ASSERT_EQ(buffers_in_use(x->buffers), 0U);
        requests_free(x->requests);
        buffers_free(x->buffers);
}

static struct request *get(struct fixture *x, enum request_op op, uint64_t offset, uint32_t length) {
        struct request *r = requests_get(x->requests, op, length);

        ASSERT_TRUE(r);
        r->offset = offset;
        if (r->data)
                memset(r->data, (int) (offset / 4096) + 1, length);
        return r;
}

static void add(struct fixture *x, enum request_op op, uint64_t offset, uint32_t length) {
        struct request *r = get(x, op, offset, length);

        ASSERT_TRUE(retained_has_room(x->log, r));
        ASSERT_OK(retained_add(x->log, r));
        ASSERT_TRUE(r->data == NULL);
        requests_put(r);
}

static void keeps_what_it_was_given(void) {
        const struct retained_entry *e;
        struct fixture x;
        struct request *r;
        uint8_t *data;

        begin(&x, MIB);
        ASSERT_TRUE(retained_is_empty(x.log) && retained_next(x.log, 0) == NULL);
        ASSERT_EQ(retained_position(x.log), 0U);

        r = get(&x, REQUEST_WRITE, 8192, 5000);
        r->fua = true;
        data = r->data;
        ASSERT_OK(retained_add(x.log, r));
        ASSERT_TRUE(r->data == NULL);
        requests_put(r);
        ASSERT_EQ(buffers_in_use(x.buffers), 8192U); /* it did not go back with the slot */

        r = get(&x, REQUEST_WRITE_ZEROES, 0, UINT32_MAX);
        r->no_hole = true;
        ASSERT_OK(retained_add(x.log, r));
        requests_put(r);
        add(&x, REQUEST_TRIM, 4096, 4096);

        ASSERT_EQ(retained_count(x.log), 3U);
        ASSERT_EQ(retained_position(x.log), 3U);
        ASSERT_EQ(retained_bytes(x.log), 8192U + 2 * BUFFER_SIZE_MIN);
        ASSERT_FALSE(retained_is_empty(x.log));

        e = retained_next(x.log, 0);
        ASSERT_TRUE(e && e->position == 0 && e->op == REQUEST_WRITE && e->fua && !e->no_hole);
        ASSERT_TRUE(e->offset == 8192 && e->length == 5000 && e->data == data && data[0] == 3 && data[4999] == 3);
        e = retained_next(x.log, e->position + 1);
        ASSERT_TRUE(e && e->position == 1 && e->op == REQUEST_WRITE_ZEROES && !e->fua && e->no_hole && !e->data);
        ASSERT_TRUE(e->offset == 0 && e->length == UINT32_MAX);
        e = retained_next(x.log, e->position + 1);
        ASSERT_TRUE(e && e->position == 2 && e->op == REQUEST_TRIM);
        ASSERT_TRUE(retained_next(x.log, 3) == NULL && retained_next(x.log, UINT64_MAX) == NULL);
        end(&x);
}

static void drops_a_prefix(void) {
        const struct retained_entry *kept;
        struct fixture x;

        begin(&x, MIB);
        for (uint64_t i = 0; i < 10; i++)
                add(&x, REQUEST_WRITE, i * 4096, 4096);
        kept = retained_next(x.log, 7);

        retained_drop(x.log, 7);
        ASSERT_EQ(retained_count(x.log), 3U);
        ASSERT_EQ(retained_bytes(x.log), 3 * 4096U);
        ASSERT_EQ(buffers_in_use(x.buffers), 3 * 4096U);
        ASSERT_EQ(retained_position(x.log), 10U);
        ASSERT_TRUE(retained_next(x.log, 0) == kept && kept->position == 7 && kept->data[0] == 8);

        retained_drop(x.log, 3); /* gone before */
        ASSERT_EQ(retained_count(x.log), 3U);
        retained_drop(x.log, UINT64_MAX); /* and not beyond the end */
        ASSERT_TRUE(retained_is_empty(x.log));
        ASSERT_EQ(retained_bytes(x.log), 0U);
        ASSERT_EQ(retained_position(x.log), 10U);

        add(&x, REQUEST_TRIM, 0, 4096);
        ASSERT_EQ(retained_next(x.log, 0)->position, 10U);
        end(&x);
}

static void limit_counts_memory(void) {
        struct request *r;
        struct fixture x;

        begin(&x, MIB);
        for (unsigned i = 0; i < 255; i++)
                add(&x, i % 2 ? REQUEST_WRITE : REQUEST_TRIM, 0, 512); /* a page each, however small */
        ASSERT_EQ(retained_bytes(x.log), MIB - 4096);

        r = get(&x, REQUEST_WRITE, 0, 4097);
        ASSERT_FALSE(retained_has_room(x.log, r));
        requests_put(r);
        add(&x, REQUEST_WRITE, 0, 4096);
        r = get(&x, REQUEST_TRIM, 0, 4096);
        ASSERT_FALSE(retained_has_room(x.log, r));
        ASSERT_OK(retained_add(x.log, r)); /* acknowledged is acknowledged */
        requests_put(r);
        ASSERT_EQ(retained_bytes(x.log), MIB + 4096);
        r = get(&x, REQUEST_TRIM, 0, 4096);
        ASSERT_FALSE(retained_has_room(x.log, r));
        requests_put(r);

        retained_drop(x.log, UINT64_MAX);
        r = get(&x, REQUEST_WRITE, 0, 8 * MIB); /* above the limit: alone */
        ASSERT_TRUE(retained_has_room(x.log, r));
        ASSERT_OK(retained_add(x.log, r));
        requests_put(r);
        r = get(&x, REQUEST_WRITE, 0, 512);
        ASSERT_FALSE(retained_has_room(x.log, r));
        requests_put(r);
        end(&x);
}

/* Many entries, with the beginning of the ring anywhere: order, contents and addresses stay. */
static void grows(void) {
        const struct retained_entry *first = NULL;
        uint64_t position = 0;
        struct fixture x;

        begin(&x, 64 * MIB);
        for (uint64_t i = 0; i < 5000; i++) {
                add(&x, i % 5 ? REQUEST_TRIM : REQUEST_WRITE, i * 4096, 512);
                if (i % 3 == 0)
                        retained_drop(x.log, i / 3);
                if (i == 4000)
                        first = retained_next(x.log, 2000);
        }
        ASSERT_EQ(retained_count(x.log), 5000U - 1666U);
        ASSERT_TRUE(first && first == retained_next(x.log, 2000));

        for (const struct retained_entry *e = retained_next(x.log, 0); e; e = retained_next(x.log, e->position + 1)) {
                ASSERT_EQ(e->position, position == 0 ? 1666U : position + 1);
                ASSERT_EQ(e->offset, e->position * 4096);
                ASSERT_EQ(e->op, e->position % 5 ? REQUEST_TRIM : REQUEST_WRITE);
                if (e->data)
                        ASSERT_EQ(e->data[511], (uint8_t) (e->position + 1));
                position = e->position;
        }
        ASSERT_EQ(position, 4999U);
        ASSERT_TRUE(retained_free(NULL) == NULL);
        end(&x);
}

TEST_MAIN(TEST(keeps_what_it_was_given), TEST(drops_a_prefix), TEST(limit_counts_memory), TEST(grows));
