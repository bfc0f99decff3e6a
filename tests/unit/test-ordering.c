/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Cases by hand, and a long random run (seeded, so that it can be repeated) against a model that compares everything with everything. */

#include "ordering.h"
#include "test.h"

#define KIB        UINT64_C(1024)
#define MIB        (1024 * KIB)
#define N_REQUESTS 64U
#define N_STEPS    200000U

static struct request requests[N_REQUESTS];
static size_t released[N_REQUESTS];
static size_t n_released;

static struct request *set(struct request *r, enum request_op op, uint64_t offset, uint64_t length) {
        *r = (struct request){ .op = op, .offset = offset, .length = (uint32_t) length };
        return r;
}

static void note(struct request *request, void *userdata) {
        released[n_released++] = (size_t) (request - requests);
}

static struct ordering *new_ordering(void) {
        struct ordering *o;

        n_released = 0;
        ASSERT_OK(ordering_new(&o, note, NULL));
        return o;
}

static void who_waits_for_whom(void) {
        static const struct {
                enum request_op first, second;
                bool free;
        } cases[] = {
                { REQUEST_WRITE, REQUEST_WRITE, false },
                { REQUEST_WRITE, REQUEST_READ, false },
                { REQUEST_WRITE, REQUEST_TRIM, false },
                { REQUEST_TRIM, REQUEST_WRITE, false },
                { REQUEST_TRIM, REQUEST_READ, false },
                { REQUEST_WRITE_ZEROES, REQUEST_READ, false },
                { REQUEST_WRITE_ZEROES, REQUEST_WRITE_ZEROES, false },
                { REQUEST_READ, REQUEST_WRITE, true },
                { REQUEST_READ, REQUEST_READ, true },
                { REQUEST_WRITE, REQUEST_FLUSH, true },
                { REQUEST_FLUSH, REQUEST_WRITE, true },
                { REQUEST_FLUSH, REQUEST_READ, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(ordering_freep) struct ordering *o = new_ordering();
                struct request *first = set(requests, cases[i].first, 0, 4096);
                struct request *second = set(requests + 1, cases[i].second, 0, 4096);

                if (cases[i].first == REQUEST_FLUSH)
                        first->length = 0;
                if (cases[i].second == REQUEST_FLUSH)
                        second->length = 0;
                ASSERT_TRUE(ordering_enter(o, first));
                ASSERT_EQ(ordering_enter(o, second), cases[i].free);
                ordering_leave(o, first);
                ASSERT_EQ(n_released, cases[i].free ? 0U : 1U);
                ordering_leave(o, second);
        }
}

static void ranges(void) {
        static const struct {
                uint64_t a_offset, a_length, b_offset, b_length;
                bool overlap;
        } cases[] = {
                { 0, 4096, 4096, 4096, false }, /* neighbours in one granule */
                { 4096, 4096, 0, 4096, false },
                { 0, 4096, 4095, 1, true },
                { 60 * KIB, 8 * KIB, 64 * KIB, 4 * KIB, true }, /* begins in the granule before */
                { 60 * KIB, 4 * KIB, 64 * KIB, 4 * KIB, false },
                { 512, 64 * KIB, 64 * KIB, 512, true }, /* small, with its end in the next granule */
                { 0, 64 * KIB, 64 * KIB, 512, false },
                { 64 * KIB, 4 * KIB, 60 * KIB, 8 * KIB, true },
                { 0, MIB, MIB - 512, 512, true }, /* large first */
                { 0, MIB, MIB, 512, false },
                { MIB - 512, 512, 0, MIB, true },          /* large second */
                { 0, UINT32_MAX, 4000 * MIB, 4096, true }, /* uncounted first */
                { 4000 * MIB, 4096, 0, UINT32_MAX, true },
                { 0, UINT32_MAX, 5000 * MIB, 4096, false },
                { (UINT64_C(1) << 62), 4096, (UINT64_C(1) << 62) + 4095, 4096, true },
                { (UINT64_C(1) << 62), 4096, (UINT64_C(1) << 61), 4096, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(ordering_freep) struct ordering *o = new_ordering();
                struct request *a = set(requests, REQUEST_TRIM, cases[i].a_offset, cases[i].a_length);
                struct request *b = set(requests + 1, REQUEST_TRIM, cases[i].b_offset, cases[i].b_length);

                ASSERT_TRUE(ordering_enter(o, a));
                ASSERT_EQ(ordering_enter(o, b), !cases[i].overlap);
                ordering_leave(o, a);
                ASSERT_EQ(n_released, cases[i].overlap ? 1U : 0U);
                ordering_leave(o, b);
        }
}

static void chain(void) {
        _cleanup_(ordering_freep) struct ordering *o = new_ordering();

        ASSERT_TRUE(ordering_enter(o, set(requests + 0, REQUEST_WRITE, 0, 8192)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 1, REQUEST_WRITE, 4096, 8192)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 2, REQUEST_READ, 8192, 4096))); /* for one that waits itself */
        ASSERT_FALSE(ordering_enter(o, set(requests + 3, REQUEST_READ, 0, 4096)));
        ASSERT_TRUE(ordering_enter(o, set(requests + 4, REQUEST_READ, 16384, 4096)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 5, REQUEST_READ, 4096, 4096))); /* for two */

        ordering_leave(o, requests + 0);
        ASSERT_TRUE(n_released == 2 && released[0] == 1 && released[1] == 3);
        ordering_leave(o, requests + 1);
        ASSERT_TRUE(n_released == 4 && released[2] == 2 && released[3] == 5);
        for (size_t i = 2; i < 6; i++)
                ordering_leave(o, requests + i);
        ordering_leave(o, requests + 5); /* is out already */
        ASSERT_EQ(n_released, 4U);
}

/* What waits can fail before its turn, and then nobody waits for it any more. */
static void leaves_while_it_waits(void) {
        _cleanup_(ordering_freep) struct ordering *o = new_ordering();

        ASSERT_TRUE(ordering_enter(o, set(requests + 0, REQUEST_WRITE, 0, 4096)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 1, REQUEST_WRITE, 0, 8192)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 2, REQUEST_READ, 4096, 4096)));
        ASSERT_FALSE(ordering_enter(o, set(requests + 3, REQUEST_READ, 0, 4096)));
        ordering_leave(o, requests + 1);
        ASSERT_TRUE(n_released == 1 && released[0] == 2);
        ordering_leave(o, requests + 0);
        ASSERT_TRUE(n_released == 2 && released[1] == 3);
        ordering_leave(o, requests + 2);
        ordering_leave(o, requests + 3);
}

static struct ordering *nested;

static void fail_the_others(struct request *request, void *userdata) {
        released[n_released++] = (size_t) (request - requests);
        /* The first that is released takes everybody with it, among them some that were to be released behind it. */
        for (size_t i = 0; i < 4; i++)
                ordering_leave(nested, requests + i);
        /* And something new comes in. */
        if (n_released == 1)
                ASSERT_TRUE(ordering_enter(nested, set(requests + 4, REQUEST_WRITE, 0, 4096)));
}

static void released_calls_back_in(void) {
        ASSERT_OK(ordering_new(&nested, fail_the_others, NULL));
        n_released = 0;
        ASSERT_TRUE(ordering_enter(nested, set(requests + 0, REQUEST_WRITE, 0, 4096)));
        for (size_t i = 1; i < 4; i++)
                ASSERT_FALSE(ordering_enter(nested, set(requests + i, REQUEST_READ, 0, 4096)));
        ordering_leave(nested, requests + 0);
        ASSERT_TRUE(n_released == 1 && released[0] == 1);
        ordering_leave(nested, requests + 4);
        nested = ordering_free(nested);
        ASSERT_TRUE(ordering_free(NULL) == NULL);
}

/* The model. */

static struct {
        bool in, may_go;
        uint64_t number;
} model[N_REQUESTS];
static uint64_t numbers;

static bool model_waits_for(size_t later, size_t earlier) {
        const struct request *a = requests + earlier, *b = requests + later;

        return model[earlier].in && model[earlier].number < model[later].number && a->op != REQUEST_READ &&
               a->op != REQUEST_FLUSH && b->op != REQUEST_FLUSH && a->offset < b->offset + b->length &&
               b->offset < a->offset + a->length;
}

static bool model_is_free(size_t i) {
        for (size_t k = 0; k < N_REQUESTS; k++)
                if (model_waits_for(i, k))
                        return false;
        return true;
}

static uint64_t random_state = 20230417;

static uint64_t rnd(uint64_t below) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % below;
}

static void random_range(struct request *r) {
        switch (rnd(8)) {
        case 0: /* anything, up to what is not counted any more */
                r->offset = 512 * rnd(8 * MIB);
                r->length = (uint32_t) (512 * (1 + rnd(200 * KIB)));
                break;
        case 1:
        case 2: /* large */
                r->offset = 4096 * rnd(512);
                r->length = (uint32_t) (4096 * (1 + rnd(64)));
                break;
        default: /* small */
                r->offset = 512 * rnd(4096);
                r->length = (uint32_t) (512 * (1 + rnd(24)));
                break;
        }
}

static void random_against_model(void) {
        _cleanup_(ordering_freep) struct ordering *o = new_ordering();
        unsigned n_waited = 0, n_went = 0;

        for (unsigned step = 0; step < N_STEPS; step++) {
                size_t i = rnd(N_REQUESTS);

                n_released = 0;
                if (!model[i].in) {
                        set(requests + i, (enum request_op) rnd(_REQUEST_OP_MAX), 0, 0);
                        if (requests[i].op != REQUEST_FLUSH)
                                random_range(requests + i);
                        model[i].in = true;
                        model[i].number = numbers++;
                        model[i].may_go = model_is_free(i);
                        ASSERT_EQ(ordering_enter(o, requests + i), model[i].may_go);
                        ASSERT_EQ(n_released, 0U);
                        *(model[i].may_go ? &n_went : &n_waited) += 1;
                } else if (model[i].may_go || rnd(8) == 0) {
                        uint64_t last = 0;

                        model[i].in = false;
                        ordering_leave(o, requests + i);
                        for (size_t k = 0; k < n_released; k++) {
                                size_t w = released[k];

                                ASSERT_TRUE(model[w].in && !model[w].may_go && model_is_free(w));
                                ASSERT_TRUE(k == 0 || model[w].number > last);
                                last = model[w].number;
                                model[w].may_go = true;
                        }
                        for (size_t k = 0; k < N_REQUESTS; k++) /* and nobody was forgotten */
                                ASSERT_TRUE(!model[k].in || model[k].may_go || !model_is_free(k));
                }
        }

        for (size_t i = 0; i < N_REQUESTS; i++)
                ordering_leave(o, requests + i);
        /* The run was worth something. */
        ASSERT_TRUE(n_waited > N_STEPS / 20 && n_went > N_STEPS / 20);
}

TEST_MAIN(TEST(who_waits_for_whom), TEST(ranges), TEST(chain), TEST(leaves_while_it_waits),
        TEST(released_calls_back_in), TEST(random_against_model));
