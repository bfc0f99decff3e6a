/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whom a snapshot in the making keeps waiting, and for what. */

#include "attachment-internal.h"
#include "container-of.h"
#include "test.h"

#define MiB (UINT64_C(1) << 20)

struct rig {
        struct image image;
        struct attachment attachment;
        struct image_gate gate;
        unsigned n_quiet;
};

static void quiet(struct image_gate *gate) {
        CONTAINER_OF(gate, struct rig, gate)->n_quiet++;
}

static void rig_init(struct rig *rig) {
        *rig = (struct rig){ .gate.quiet = quiet };
        TAILQ_INIT(&rig->image.attachments);
        TAILQ_INIT(&rig->image.waiters);
        TAILQ_INIT(&rig->image.hold_waiters);
        TAILQ_INIT(&rig->image.requests);
        TAILQ_INSERT_TAIL(&rig->image.attachments, &rig->attachment, entry);
}

struct change {
        struct image_gate_waiter waiter;
        unsigned n_gone;
};

static void go(struct image_gate_waiter *waiter) {
        CONTAINER_OF(waiter, struct change, waiter)->n_gone++;
}

/* Returns whether it has to wait. */
static bool begin(struct rig *rig, struct change *change, uint64_t offset, uint64_t length) {
        bool leave_out;

        *change = (struct change){ .waiter = { .go = go, .offset = offset, .length = length } };
        rig->attachment.n_changes++;
        return image_gate_stops(&rig->gate, &change->waiter, false, &leave_out);
}

static void closing(void) {
        struct change one, flush;
        struct rig rig;

        rig_init(&rig);
        rig.attachment.n_changes = 2;
        image_gate_close(&rig.gate, &rig.image);
        ASSERT_TRUE(rig.image.gate == &rig.gate);
        ASSERT_EQ(rig.n_quiet, 0U);
        /* Those who wait count as in hand, and do not keep it from being quiet. */
        ASSERT_TRUE(begin(&rig, &one, 0, 512));
        ASSERT_TRUE(begin(&rig, &flush, 0, 0));
        rig.attachment.n_changes--;
        image_gate_review(&rig.gate);
        ASSERT_EQ(rig.n_quiet, 0U);
        rig.attachment.n_changes--;
        image_gate_review(&rig.gate);
        image_gate_review(&rig.gate);
        ASSERT_EQ(rig.n_quiet, 1U);

        image_gate_open(&rig.gate);
        ASSERT_TRUE(!rig.image.gate);
        ASSERT_EQ(one.n_gone, 1U);
        ASSERT_EQ(flush.n_gone, 1U);
        image_gate_open(&rig.gate);
}

static void copying(void) {
        struct change early, flush, late, behind, across, passing;
        uint64_t offset, length;
        struct rig rig;

        rig_init(&rig);
        image_gate_close(&rig.gate, &rig.image);
        ASSERT_EQ(rig.n_quiet, 1U);
        ASSERT_TRUE(begin(&rig, &early, 5 * MiB, 4096));
        ASSERT_TRUE(begin(&rig, &flush, 0, 0));
        /* An image that has grown since: what is behind the snapshot's end is not copied. */
        ASSERT_OK(image_gate_start_copying(&rig.gate, 8 * MiB - 512));
        ASSERT_EQ(flush.n_gone, 1U);
        ASSERT_EQ(early.n_gone, 0U);
        ASSERT_TRUE(!begin(&rig, &behind, 9 * MiB, MiB));
        ASSERT_TRUE(begin(&rig, &late, 0, 512));
        ASSERT_TRUE(begin(&rig, &across, 3 * MiB - 512, 1024));

        /* What is waited for comes first, in turns. */
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        ASSERT_EQ(offset, 5 * MiB);
        ASSERT_EQ(length, MiB);
        image_gate_copied(&rig.gate, offset, offset + length);
        ASSERT_EQ(early.n_gone, 1U);
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        ASSERT_EQ(offset, 0U);
        /* The next two pieces are a hole, up to the middle of the fourth. */
        image_gate_copied(&rig.gate, 0, 3 * MiB + 4096);
        ASSERT_EQ(late.n_gone, 1U);
        ASSERT_EQ(across.n_gone, 0U);
        ASSERT_EQ(image_gate_progress(&rig.gate), 4 * MiB);
        ASSERT_TRUE(!begin(&rig, &passing, 0, 3 * MiB));
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        ASSERT_EQ(offset, 3 * MiB);
        image_gate_copied(&rig.gate, offset, offset + length);
        ASSERT_EQ(across.n_gone, 1U);

        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        ASSERT_EQ(offset, 4 * MiB);
        image_gate_copied(&rig.gate, offset, 8 * MiB - 512);
        ASSERT_EQ(image_gate_progress(&rig.gate), 8 * MiB - 512);
        ASSERT_TRUE(!image_gate_next(&rig.gate, &offset, &length));
        image_gate_open(&rig.gate);
}

static void turns(void) {
        struct change all, little;
        uint64_t offset, length;
        struct rig rig;

        rig_init(&rig);
        image_gate_close(&rig.gate, &rig.image);
        ASSERT_OK(image_gate_start_copying(&rig.gate, 64 * MiB));
        ASSERT_TRUE(begin(&rig, &all, 0, 64 * MiB));
        ASSERT_TRUE(begin(&rig, &little, 40 * MiB, 512));
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        image_gate_copied(&rig.gate, offset, offset + length);
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        image_gate_copied(&rig.gate, offset, offset + length);
        ASSERT_EQ(little.n_gone, 1U);
        ASSERT_EQ(all.n_gone, 0U);
        image_gate_open(&rig.gate);
        ASSERT_EQ(all.n_gone, 1U);
}

static void dispensable(void) {
        struct change trim = { .waiter = { .go = go, .offset = 0, .length = 64 * MiB } };
        struct rig rig;
        bool leave_out;

        rig_init(&rig);
        image_gate_close(&rig.gate, &rig.image);
        ASSERT_OK(image_gate_start_copying(&rig.gate, 64 * MiB));
        ASSERT_TRUE(!image_gate_stops(&rig.gate, &trim.waiter, true, &leave_out));
        ASSERT_TRUE(leave_out);
        image_gate_copied(&rig.gate, 0, 64 * MiB);
        ASSERT_TRUE(!image_gate_stops(&rig.gate, &trim.waiter, true, &leave_out));
        ASSERT_TRUE(!leave_out);
        image_gate_open(&rig.gate);
        ASSERT_EQ(trim.n_gone, 0U);
}

static void enormous(void) {
        uint64_t offset, length, size = (UINT64_C(1) << 63) - 512;
        struct rig rig;

        rig_init(&rig);
        image_gate_close(&rig.gate, &rig.image);
        ASSERT_OK(image_gate_start_copying(&rig.gate, size));
        ASSERT_TRUE(rig.gate.n_pieces <= UINT64_C(1) << 23);
        ASSERT_TRUE(image_gate_next(&rig.gate, &offset, &length));
        image_gate_copied(&rig.gate, 0, size);
        ASSERT_EQ(image_gate_progress(&rig.gate), size);
        ASSERT_TRUE(!image_gate_next(&rig.gate, &offset, &length));
        image_gate_open(&rig.gate);
}

TEST_MAIN(TEST(closing), TEST(copying), TEST(turns), TEST(dispensable), TEST(enormous));
