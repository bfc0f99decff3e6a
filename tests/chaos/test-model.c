/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The model's own rules: what it accepts and what it does not, by a few requests each. A model that accepts too much finds nothing. */

#include "../unit/test.h"
#include "block.h"
#include "model.h"

#define SEED 42U
#define SIZE (64U * CHAOS_BLOCK)

static unsigned n_reports;
static enum model_wrong last;

static void report(void *userdata, enum model_wrong wrong, uint64_t offset, const char *text) {
        n_reports++;
        last = wrong;
}

static struct model *new_model(bool strict) {
        struct model *m;

        n_reports = 0;
        ASSERT_OK(model_new(&m, SIZE, SEED, strict, report, NULL));
        return m;
}

static uint64_t begin(struct model *m, enum model_change change) {
        uint64_t sent = model_event(m);

        ASSERT_OK(model_begin(m, change, CHAOS_BLOCK, CHAOS_BLOCK, sent));
        return sent;
}

static void end(struct model *m, enum model_change change, uint64_t sent, enum model_outcome outcome) {
        model_end(m, change, CHAOS_BLOCK, CHAOS_BLOCK, sent, outcome);
}

/* Whether a read that was sent then may bring the content of a write (0: zeroes). */
static bool accepts_at(struct model *m, uint64_t counter, uint64_t sent, bool ordered) {
        uint8_t data[CHAOS_BLOCK] = {};

        if (counter > 0)
                block_fill(data, SEED, CHAOS_BLOCK, counter);
        return model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, data, sent, ordered) == 0;
}

static bool accepts(struct model *m, uint64_t counter) {
        return accepts_at(m, counter, model_event(m), true);
}

static void writes(void) {
        struct model *m = new_model(true);
        uint64_t a, b;

        ASSERT_TRUE(accepts(m, 0));
        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        ASSERT_TRUE(accepts(m, a));
        ASSERT_FALSE(accepts(m, 0)); /* a lost write */
        b = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, b, MODEL_DONE);
        ASSERT_TRUE(accepts(m, b));
        ASSERT_FALSE(accepts(m, a)); /* a ghost */
        ASSERT_EQ(last, WRONG_STALE);
        ASSERT_FALSE(accepts(m, 1000000));
        model_free(m);
}

static void in_flight_and_failed(void) {
        struct model *m = new_model(false);
        uint64_t a, b, c;

        a = begin(m, MODEL_WRITE);
        ASSERT_TRUE(accepts(m, 0));
        ASSERT_TRUE(accepts(m, a));
        end(m, MODEL_WRITE, a, MODEL_UNKNOWN);
        ASSERT_TRUE(accepts(m, a));
        ASSERT_TRUE(accepts(m, 0));
        ASSERT_TRUE(accepts(m, a));
        b = begin(m, MODEL_WRITE);
        ASSERT_TRUE(accepts(m, a));
        end(m, MODEL_WRITE, b, MODEL_DONE);
        ASSERT_FALSE(accepts(m, a));
        ASSERT_FALSE(accepts(m, 0));
        c = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, c, MODEL_UNKNOWN);
        ASSERT_TRUE(accepts(m, b));
        ASSERT_TRUE(accepts(m, c));
        ASSERT_FALSE(accepts(m, a));
        model_free(m);
}

/* After it has settled a failed write is there or not, and stays so. */
static void settled(void) {
        for (unsigned there = 0; there < 2; there++) {
                struct model *m = new_model(true);
                uint64_t a, b, early, trim, late;

                a = begin(m, MODEL_WRITE);
                end(m, MODEL_WRITE, a, MODEL_DONE);
                early = model_event(m);
                model_set_horizon(m, early);
                b = begin(m, MODEL_WRITE);
                end(m, MODEL_WRITE, b, MODEL_UNKNOWN);
                ASSERT_TRUE(accepts(m, b));
                ASSERT_TRUE(accepts(m, a)); /* not yet */
                model_settle(m);
                ASSERT_TRUE(accepts_at(m, there ? a : b, early, true)); /* sent before: decides nothing */
                ASSERT_TRUE(accepts(m, there ? b : a));
                ASSERT_TRUE(accepts(m, there ? b : a));
                ASSERT_TRUE(accepts_at(m, there ? a : b, early, true));
                ASSERT_FALSE(accepts_at(m, there ? a : b, model_event(m), false));
                ASSERT_EQ(last, WRONG_STALE);

                /* What is sent later has its own fate; a trim's is open for ever. */
                late = begin(m, MODEL_WRITE);
                ASSERT_TRUE(accepts_at(m, there ? b : a, model_event(m), false));
                end(m, MODEL_WRITE, late, MODEL_UNKNOWN);
                ASSERT_TRUE(accepts(m, late));
                ASSERT_TRUE(accepts(m, there ? b : a));
                trim = begin(m, MODEL_TRIM);
                end(m, MODEL_TRIM, trim, MODEL_UNKNOWN);
                model_settle(m);
                ASSERT_TRUE(accepts(m, 0));
                ASSERT_TRUE(accepts(m, late));
                ASSERT_TRUE(accepts(m, 0));
                model_free(m);
        }
}

static void trims_and_zeroes(void) {
        struct model *m = new_model(true);
        uint64_t a, t, z;

        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        t = begin(m, MODEL_TRIM);
        end(m, MODEL_TRIM, t, MODEL_DONE);
        ASSERT_TRUE(accepts(m, a));
        ASSERT_TRUE(accepts(m, 0));
        ASSERT_TRUE(accepts(m, a));
        t = begin(m, MODEL_TRIM);
        end(m, MODEL_TRIM, t, MODEL_DONE);
        ASSERT_TRUE(accepts(m, a));
        z = begin(m, MODEL_ZERO);
        end(m, MODEL_ZERO, z, MODEL_DONE);
        ASSERT_TRUE(accepts(m, 0));
        ASSERT_FALSE(accepts(m, a));
        model_free(m);
}

/* The second of two that overlap decides; who is not strict takes either for as long as both were in flight together. */
static void overlapping(void) {
        for (unsigned strict = 0; strict < 2; strict++) {
                struct model *m = new_model(strict);
                uint64_t a, b;

                a = begin(m, MODEL_WRITE);
                b = begin(m, MODEL_WRITE);
                end(m, MODEL_WRITE, a, MODEL_DONE);
                end(m, MODEL_WRITE, b, MODEL_DONE);
                ASSERT_TRUE(accepts(m, b));
                ASSERT_EQ(accepts(m, a), !strict);
                ASSERT_FALSE(accepts(m, 0));
                model_free(m);
        }
}

static void answered_out_of_order(void) {
        struct model *m = new_model(true);
        uint64_t a, b, r;

        a = begin(m, MODEL_WRITE);
        b = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, b, MODEL_DONE);
        ASSERT_EQ(n_reports, 1U);
        ASSERT_EQ(last, WRONG_ORDER);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        ASSERT_TRUE(accepts(m, b));

        a = begin(m, MODEL_WRITE);
        r = model_event(m);
        ASSERT_FALSE(accepts_at(m, b, r, true)); /* it was to wait for a */
        ASSERT_EQ(last, WRONG_ORDER);
        ASSERT_TRUE(accepts_at(m, b, r, false)); /* another connection need not */
        end(m, MODEL_WRITE, a, MODEL_DONE);
        model_free(m);
}

/* A read brings what stood there at any time between its sending and its answer. */
static void reads_in_flight(void) {
        struct model *m = new_model(true);
        uint64_t a, b, early, late;

        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        early = model_event(m);
        model_set_horizon(m, early);
        b = begin(m, MODEL_WRITE);
        late = model_event(m);
        end(m, MODEL_WRITE, b, MODEL_DONE);
        ASSERT_TRUE(accepts_at(m, a, early, true));
        ASSERT_TRUE(accepts_at(m, b, early, true));
        ASSERT_FALSE(accepts_at(m, a, late, true));
        ASSERT_TRUE(accepts_at(m, a, late, false));

        /* Forgotten: nobody can bring it any more. */
        model_set_horizon(m, model_event(m));
        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        ASSERT_FALSE(accepts(m, b));
        model_free(m);
}

/* Half before, half after: only while a change is under way. */
static void mixed(void) {
        struct model *m = new_model(true);
        uint8_t before[CHAOS_BLOCK], after[CHAOS_BLOCK];
        uint64_t a, b, read;

        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);
        read = model_event(m);
        model_set_horizon(m, read);
        b = begin(m, MODEL_WRITE);
        block_fill(before, SEED, CHAOS_BLOCK, a);
        block_fill(after, SEED, CHAOS_BLOCK, b);
        memcpy(after + 256, before + 256, 256);
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, after, read, true), 0U);
        end(m, MODEL_WRITE, b, MODEL_DONE);
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, after, read, true), 0U);
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, after, model_event(m), true), 1U);
        after[300] ^= 1;
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, after, read, true), 1U);
        model_free(m);
}

static void damaged(void) {
        struct model *m = new_model(true);
        uint8_t data[CHAOS_BLOCK];
        uint64_t a;

        a = begin(m, MODEL_WRITE);
        end(m, MODEL_WRITE, a, MODEL_DONE);

        for (unsigned i = 0; i < CHAOS_BLOCK; i++) {
                block_fill(data, SEED, CHAOS_BLOCK, a);
                data[i] ^= 1;
                ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, data, model_event(m), true), 1U);
        }
        ASSERT_EQ(n_reports, 1U); /* each block is told once */
        block_fill(data, SEED, 2 * CHAOS_BLOCK, a);
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, data, model_event(m), true), 1U);
        block_fill(data, SEED + 1, CHAOS_BLOCK, a);
        ASSERT_EQ(model_check(m, CHAOS_BLOCK, CHAOS_BLOCK, data, model_event(m), true), 1U);
        model_free(m);
}

TEST_MAIN(TEST(writes), TEST(in_flight_and_failed), TEST(settled), TEST(trims_and_zeroes), TEST(overlapping),
        TEST(answered_out_of_order), TEST(reads_in_flight), TEST(mixed), TEST(damaged));
