/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Nobody gets an image before the last change of those who had it is over. */

#include "attachment.h"
#include "test.h"

static unsigned n_closed;

static struct store_image *close_image(struct store_image *image) {
        n_closed++;
        return NULL;
}

static unsigned n_looked;

static int look(struct store_image *image, store_lease_change_t change, void *userdata, struct lease *ret) {
        n_looked++;
        *ret = (struct lease){ .generation = 2, .live = true };
        return 0;
}

static struct store_size stored_size = { .bytes = 65536 };

static void get_size(struct store_image *image, struct store_size *ret) {
        *ret = stored_size;
}

static const struct store_ops ops = { .close_image = close_image, .change_lease = look, .get_size = get_size };
static struct store store = { .ops = &ops };

struct waited {
        struct image_waiter waiter;
        bool settled;
};

static void settled(struct image_waiter *waiter) {
        ((struct waited *) waiter)->settled = true;
}

static struct attachment writer(uint64_t generation) {
        return (struct attachment){ .writes = true, .leased = true, .generation = generation };
}

static void waits_for_those_before(void) {
        struct attachment old = writer(1), new = writer(2);
        struct waited waited = { .waiter.settled = settled };
        struct images *images;
        struct image *image;

        n_closed = 0;
        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        image_lease_is(image, &(const struct lease){ .generation = 1, .live = true });
        attachment_start(&old, image);
        attachment_io_started(&old, true);
        attachment_io_started(&old, true);
        attachment_io_started(&old, false);

        image_lease_is(image, &(const struct lease){ .generation = 2, .live = true });
        ASSERT_TRUE(old.expired);
        attachment_start(&new, image);
        image_settle(image, &waited.waiter);
        ASSERT_FALSE(waited.settled);
        attachment_io_done(&old, true);
        ASSERT_FALSE(waited.settled);
        attachment_io_done(&old, true);
        /* A read may still be under way. */
        ASSERT_TRUE(waited.settled);
        ASSERT_FALSE(new.expired);

        attachment_end(&old);
        ASSERT_FALSE(attachment_is_over(&old));
        attachment_io_done(&old, false);
        ASSERT_TRUE(attachment_is_over(&old));
        attachment_end(&new);
        ASSERT_EQ(n_closed, 0U);
        image_release(image);
        ASSERT_EQ(n_closed, 1U);
        ASSERT_EQ(images_count(images), 0U);
        images_free(images);
}

/* A session that comes back waits for what its lost connection left behind, not for its siblings. */
static void resumed_waits_for_the_lost(void) {
        struct attachment lost = writer(1), sibling = writer(1), back = writer(1);
        struct waited waited = { .waiter.settled = settled };
        struct images *images;
        struct image *image;

        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        image_lease_is(image, &(const struct lease){ .generation = 1, .live = true });
        attachment_start(&lost, image);
        attachment_start(&sibling, image);
        attachment_io_started(&lost, true);
        attachment_io_started(&sibling, true);
        attachment_end(&lost);

        attachment_start(&back, image);
        image_settle(image, &waited.waiter);
        ASSERT_FALSE(waited.settled);
        attachment_io_done(&lost, true);
        ASSERT_TRUE(waited.settled);
        ASSERT_TRUE(attachment_is_over(&lost));
        ASSERT_FALSE(back.expired || sibling.expired);

        attachment_io_done(&sibling, true);
        attachment_end(&sibling);
        attachment_end(&back);
        image_release(image);
        images_free(images);
}

/* The one that fences goes on, and hears of it when nothing of the others is in hand; they can come back. */
static void fenced_waits_for_siblings(void) {
        struct attachment fencing = writer(1), sibling = writer(1);
        struct waited waited = { .waiter.settled = settled };
        struct images *images;
        struct image *image;

        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        image_lease_is(image, &(const struct lease){ .generation = 1, .live = true });
        attachment_start(&fencing, image);
        attachment_start(&sibling, image);
        attachment_io_started(&fencing, true);
        attachment_io_started(&sibling, true);

        fencing.generation = 2;
        image_lease_is(image, &(const struct lease){ .generation = 2, .live = true });
        ASSERT_FALSE(fencing.expired);
        ASSERT_TRUE(sibling.expired);
        image_settle(image, &waited.waiter);
        ASSERT_FALSE(waited.settled);
        attachment_io_done(&sibling, true);
        ASSERT_TRUE(waited.settled);

        attachment_renew(&sibling, 2);
        image_lease_is(image, &(const struct lease){ .generation = 2, .live = true });
        ASSERT_FALSE(fencing.expired || sibling.expired);

        attachment_io_done(&fencing, true);
        attachment_end(&sibling);
        attachment_end(&fencing);
        image_release(image);
        images_free(images);
}

static void given_back_lease_ends_siblings(void) {
        struct attachment sibling = writer(3), reader = { .generation = 3 },
                          unleased = { .writes = true, .generation = 3 };
        struct images *images;
        struct image *image;

        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        attachment_start(&sibling, image);
        attachment_start(&reader, image);
        image->n_unleased_writers++;
        attachment_start(&unleased, image);
        image_lease_is(image, &(const struct lease){ .generation = 3 });
        ASSERT_TRUE(sibling.expired);
        ASSERT_FALSE(reader.expired);
        ASSERT_FALSE(unleased.expired);
        /* A lease ends a writer without one, and leaves readers alone. */
        image_lease_is(image, &(const struct lease){ .generation = 4, .live = true });
        ASSERT_TRUE(unleased.expired);
        ASSERT_FALSE(reader.expired);

        attachment_end(&unleased);
        ASSERT_EQ(image->n_unleased_writers, 0U);
        ASSERT_TRUE(image_is_attached(image));
        attachment_end(&sibling);
        attachment_end(&reader);
        ASSERT_FALSE(image_is_attached(image));
        image_release(image);
        images_free(images);
}

static void forgotten_image_lives_on(void) {
        struct attachment old = writer(1);
        struct images *images;
        struct image *image, *fresh;

        n_closed = 0;
        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        attachment_start(&old, image);
        ASSERT_TRUE(images_acquire(images, "x") == image);
        image_release(image);
        image_forget(image);
        fresh = images_acquire(images, "x");
        ASSERT_TRUE(fresh != image);
        ASSERT_TRUE(images_find(images, "x") == fresh);
        image_release(image);
        ASSERT_EQ(n_closed, 0U);
        attachment_end(&old);
        ASSERT_EQ(n_closed, 1U);
        image_release(fresh);
        ASSERT_EQ(n_closed, 2U);
        images_free(images);
}

/* Another proxy has taken the lease over. */
static void record_changed(void) {
        struct attachment old = writer(1);
        struct store_image handle = {};
        struct images *images;
        struct image *image;
        struct jobs *jobs;
        struct ring *ring;

        n_closed = n_looked = 0;
        ASSERT_OK(ring_new(&ring, 8));
        ASSERT_OK(jobs_new(&jobs, ring, "store", 4));
        ASSERT_OK(images_new(&images, &store, jobs));
        image = images_acquire(images, "x");
        image->handle = &handle;
        /* Nobody is attached: nothing to do. */
        images_record_changed(images, &handle);
        image_lease_is(image, &(const struct lease){ .generation = 1, .live = true });
        attachment_start(&old, image);
        for (unsigned i = 0; i < 10; i++)
                images_record_changed(images, &handle);
        while (!old.expired)
                ASSERT_OK(ring_step(ring, true));
        while (image->looking)
                ASSERT_OK(ring_step(ring, true));
        /* One for what had changed when it looked, one for what may have since. */
        ASSERT_EQ(n_looked, 2U);

        /* The end comes while a look is under way. */
        images_record_changed(images, &handle);
        attachment_end(&old);
        image_release(image);
        ASSERT_EQ(n_closed, 0U);
        ring_free(ring);
        jobs_free(jobs);
        images_free(images);
        ASSERT_EQ(n_closed, 1U);
}

static unsigned n_resized;

static void resized(struct image *image, void *userdata) {
        n_resized++;
}

static void reaches_no_further_than_it_was_told(void) {
        const struct lease lease = { .generation = 1, .live = true };
        struct attachment a = writer(1), b = writer(1);
        struct images *images;
        struct image *image;

        n_resized = 0;
        stored_size = (struct store_size){ .bytes = 65536 };
        ASSERT_OK(images_new(&images, &store, NULL));
        images_tell_sizes(images, resized, NULL);
        image = images_acquire(images, "x");
        image_lease_is(image, &lease);
        attachment_start(&a, image);
        attachment_start(&b, image);
        ASSERT_EQ(a.limit, 65536U);

        /* Larger: told, and until the session asks it reaches as far as before. */
        stored_size = (struct store_size){ .bytes = 131072, .epoch = 1 };
        image_lease_is(image, &lease);
        ASSERT_EQ(n_resized, 1U);
        ASSERT_EQ(a.limit, 65536U);
        attachment_take_size(&a);
        ASSERT_EQ(a.limit, 131072U);

        /* Smaller and larger again: what was sent before is not for what is there now. */
        stored_size = (struct store_size){ .bytes = 4096, .epoch = 2 };
        image_lease_is(image, &lease);
        stored_size = (struct store_size){ .bytes = 131072, .epoch = 3 };
        image_lease_is(image, &lease);
        image_lease_is(image, &lease);
        ASSERT_EQ(n_resized, 3U);
        ASSERT_EQ(a.limit, 4096U);
        ASSERT_EQ(b.limit, 4096U);
        attachment_take_size(&b);
        ASSERT_EQ(b.limit, 131072U);
        ASSERT_EQ(a.limit, 4096U);

        attachment_end(&a);
        attachment_end(&b);
        image_release(image);
        images_free(images);
        stored_size = (struct store_size){ .bytes = 65536 };
}

static void quiet_before_it_shrinks(void) {
        struct waited waited = { .waiter.settled = settled };
        struct attachment a = writer(1);
        struct images *images;
        struct image *image;

        ASSERT_OK(images_new(&images, &store, NULL));
        image = images_acquire(images, "x");
        image_lease_is(image, &(const struct lease){ .generation = 1, .live = true });
        attachment_start(&a, image);
        attachment_io_started(&a, true);
        attachment_io_started(&a, false);

        image_quiesce(image, &waited.waiter);
        ASSERT_FALSE(waited.settled);
        attachment_io_done(&a, true);
        ASSERT_TRUE(waited.settled);
        image_unquiesce(image);
        ASSERT_EQ(image->n_quiescing, 0U);

        attachment_io_done(&a, false);
        attachment_end(&a);
        image_release(image);
        images_free(images);
}

TEST_MAIN(TEST(reaches_no_further_than_it_was_told), TEST(quiet_before_it_shrinks), TEST(waits_for_those_before),
        TEST(resumed_waits_for_the_lost), TEST(fenced_waits_for_siblings), TEST(given_back_lease_ends_siblings),
        TEST(forgotten_image_lives_on), TEST(record_changed));
