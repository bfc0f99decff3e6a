/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One holder at a time, and what it costs the others: two proxies' models on one ring, over a store whose lock is a variable. They find and ask each other over real sockets; what only other
 * processes can show (silence, death) is in tests/proxyd/test_hold.py. */

#include <fcntl.h>
#include <pthread.h>

#include "attachment.h"
#include "container-of.h"
#include "on-ring.h"
#include "proxyd-store.h"

#define UUID SD_ID128_MAKE(11, 22, 33, 44, 55, 66, 77, 88, 99, aa, bb, cc, dd, ee, ff, 01)

/* What both stores share. */
static struct {
        pthread_mutex_t mutex;
        const struct store *owner;
        struct store_holder holder;
        unsigned n_holds;
} the_lock = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static int directory_fd;

static int hold(struct store_image *image, const struct store_holder *self, struct store_holder *ret_other) {
        int r = 0;

        pthread_mutex_lock(&the_lock.mutex);
        if (the_lock.owner && the_lock.owner != image->store) {
                *ret_other = the_lock.holder;
                r = STORE_HELD_ELSEWHERE;
        } else {
                the_lock.owner = image->store;
                the_lock.holder = *self;
                the_lock.n_holds++;
        }
        pthread_mutex_unlock(&the_lock.mutex);
        return r;
}

static void let_go(struct store_image *image) {
        pthread_mutex_lock(&the_lock.mutex);
        ASSERT_TRUE(the_lock.owner == image->store);
        the_lock.owner = NULL;
        pthread_mutex_unlock(&the_lock.mutex);
}

static int meeting_place(const struct store *store) {
        return directory_fd;
}

static struct store_image *close_image(struct store_image *image) {
        return NULL;
}

static void get_size(struct store_image *image, struct store_size *ret) {
        *ret = (struct store_size){ .bytes = 65536 };
}

static const struct store_ops ops = {
        .get_size = get_size,
        .hold = hold,
        .let_go = let_go,
        .meeting_place = meeting_place,
        .close_image = close_image,
};

struct proxy {
        struct store store;
        struct store_image handle;
        struct images *images;
        struct image *image;
};

static struct rig {
        char *directory;
        struct ring *ring;
        struct jobs *jobs;
        struct proxy a, b;
} rig;

static void proxy_start(struct proxy *p) {
        sd_id128_t instance;

        *p = (struct proxy){ .store.ops = &ops };
        p->handle = (struct store_image){ .store = &p->store, .uuid = UUID };
        ASSERT_OK(sd_id128_randomize(&instance));
        ASSERT_OK(images_new(&p->images, &p->store, rig.jobs));
        ASSERT_OK(images_share(p->images, rig.ring, instance));
        p->image = images_acquire(p->images, "x");
        p->image->handle = &p->handle;
}

static void rig_start(void) {
        rig.directory = make_directory();
        directory_fd = open(rig.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_TRUE(directory_fd >= 0);
        rig.ring = ring_with_watchman();
        ASSERT_OK(jobs_new(&rig.jobs, rig.ring, "store", 8));
        the_lock.owner = NULL;
        the_lock.n_holds = 0;
        proxy_start(&rig.a);
        proxy_start(&rig.b);
}

/* In the order of server_free(). */
static void rig_stop(void) {
        ring_free(rig.ring);
        jobs_free(rig.jobs);
        image_release(rig.a.image);
        image_release(rig.b.image);
        images_free(rig.a.images);
        images_free(rig.b.images);
        close(directory_fd);
        remove_directory(rig.directory);
}

struct waited {
        struct hold_waiter waiter;
        bool over;
        int error;
};

static void held(struct hold_waiter *waiter, int error) {
        struct waited *w = CONTAINER_OF(waiter, struct waited, waiter);

        ASSERT_FALSE(w->over);
        w->over = true;
        w->error = error;
}

static void start_hold(struct proxy *p, struct waited *w, enum hand_over_why why) {
        *w = (struct waited){ .waiter = { .held = held, .why = why } };
        image_hold(p->image, &w->waiter);
}

/* Holds, attaches, and lets the pin go, as a client's way is. */
static void attach(struct proxy *p, struct attachment *a, bool leased, enum hand_over_why why) {
        struct waited w;

        start_hold(p, &w, why);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_OK(w.error);
        *a = (struct attachment){ .writes = true, .leased = leased, .generation = 1 };
        if (!leased)
                p->image->n_unleased_writers++;
        attachment_start(a, p->image);
        image_unpin(p->image);
        ASSERT_EQ(p->image->hold_state, IMAGE_HELD);
        ASSERT_FALSE(a->moved);
}

static void idle_holder_lets_go(void) {
        struct attachment a, b;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attach(&rig.b, &b, true, HAND_OVER_PROVEN);
        ASSERT_TRUE(a.moved);
        ASSERT_FALSE(b.moved);
        ASSERT_EQ(rig.a.image->hold_state, IMAGE_LOOSE);
        ASSERT_TRUE(the_lock.owner == &rig.b.store);
        /* What was moved needs nothing; who writes holds. */
        attachment_end(&a);
        ASSERT_TRUE(the_lock.owner == &rig.b.store);
        attachment_end(&b);
        ASSERT_TRUE(!the_lock.owner);
        ASSERT_EQ(the_lock.n_holds, 2U);
        rig_stop();
}

static void what_is_in_hand_comes_first(void) {
        struct attachment a, reader = {};
        struct waited w;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attachment_start(&reader, rig.a.image);
        attachment_io_started(&a, true);
        attachment_io_started(&a, false);
        attachment_io_started(&reader, false);
        start_hold(&rig.b, &w, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, a.moved);
        ASSERT_FALSE(reader.moved);
        ASSERT_TRUE(image_is_being_let_go(rig.a.image));
        ASSERT_FALSE(image_pin(rig.a.image));
        attachment_io_done(&a, true);
        run_what_is_due(rig.ring);
        ASSERT_TRUE(the_lock.owner == &rig.a.store);
        /* A reader's reads are nobody's concern. */
        attachment_io_done(&a, false);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_OK(w.error);
        image_unpin(rig.b.image);
        attachment_io_done(&reader, false);

        /* It comes back, on the connection that it has. */
        start_hold(&rig.a, &w, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_OK(w.error);
        attachment_renew(&a, 1);
        image_unpin(rig.a.image);
        ASSERT_FALSE(a.moved);
        ASSERT_EQ(rig.a.image->hold_state, IMAGE_HELD);

        attachment_end(&a);
        attachment_end(&reader);
        ASSERT_TRUE(!the_lock.owner);
        rig_stop();
}

/* Whoever was told that he has the image does what he wants it for, before it is handed on. */
static void pinned_is_served_first(void) {
        struct attachment a = { .writes = true, .leased = true };
        struct waited first, second;

        rig_start();
        start_hold(&rig.a, &first, HAND_OVER_TAKE);
        RUN_UNTIL(rig.ring, first.over);
        start_hold(&rig.b, &second, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, image_is_being_let_go(rig.a.image));
        ASSERT_TRUE(the_lock.owner == &rig.a.store);
        attachment_start(&a, rig.a.image);
        ASSERT_TRUE(a.moved); /* it has its answer, and is sent on by the first thing that it says */
        image_unpin(rig.a.image);
        RUN_UNTIL(rig.ring, second.over);
        ASSERT_OK(second.error);
        ASSERT_TRUE(the_lock.owner == &rig.b.store);
        image_unpin(rig.b.image);
        ASSERT_TRUE(!the_lock.owner);
        attachment_end(&a);
        rig_stop();
}

/* Two hosts, or two sessions, want it at the same time again and again: everybody gets a turn each time. */
static void everybody_gets_a_turn(void) {
        rig_start();
        for (unsigned i = 0; i < 50; i++) {
                struct waited a, b;

                start_hold(&rig.a, &a, HAND_OVER_PROVEN);
                start_hold(&rig.b, &b, HAND_OVER_PROVEN);
                RUN_UNTIL(rig.ring, a.over || b.over);
                if (a.over) {
                        ASSERT_FALSE(b.over);
                        image_unpin(rig.a.image);
                } else
                        image_unpin(rig.b.image);
                RUN_UNTIL(rig.ring, a.over && b.over);
                ASSERT_OK(a.error);
                ASSERT_OK(b.error);
                if (rig.a.image->hold_state == IMAGE_HELD)
                        image_unpin(rig.a.image);
                else
                        image_unpin(rig.b.image);
                ASSERT_TRUE(!the_lock.owner);
        }
        rig_stop();
}

static void claims_are_weighed(void) {
        static const struct {
                bool leased; /* the writer that is there */
                enum hand_over_why why;
                int error;
        } cases[] = {
                { true, HAND_OVER_CLASSIC, -EBUSY },
                { true, HAND_OVER_TAKE, 0 },
                { true, HAND_OVER_PROVEN, 0 },
                { false, HAND_OVER_CLASSIC, -EBUSY },
                { false, HAND_OVER_TAKE, -EBUSY },
                { false, HAND_OVER_PROVEN, 0 },
        };

        rig_start();
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct attachment a;
                struct waited w;

                attach(&rig.a, &a, cases[i].leased, HAND_OVER_PROVEN);
                start_hold(&rig.b, &w, cases[i].why);
                RUN_UNTIL(rig.ring, w.over);
                ASSERT_EQ(w.error, cases[i].error);
                ASSERT_EQ(a.moved, w.error == 0);
                if (w.error == 0)
                        image_unpin(rig.b.image);
                attachment_end(&a);
                ASSERT_TRUE(!the_lock.owner);
        }
        rig_stop();
}

/* One is refused; another, who waits beside him with a better claim, is not. */
static void refusal_is_for_whom_it_concerns(void) {
        struct attachment a;
        struct waited weak, strong;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        start_hold(&rig.b, &weak, HAND_OVER_CLASSIC);
        /* The ask goes out on the weak one's account; before its answer comes, the strong one is there. */
        RUN_UNTIL(rig.ring, rig.b.image->taking);
        start_hold(&rig.b, &strong, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, weak.over && strong.over);
        ASSERT_OK(strong.error);
        ASSERT_TRUE(weak.error == -EBUSY || weak.error == 0);
        image_unpin(rig.b.image);
        if (weak.error == 0)
                image_unpin(rig.b.image);
        attachment_end(&a);
        rig_stop();
}

static void draining(void) {
        struct attachment a;
        struct waited w;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attachment_io_started(&a, true);
        images_set_draining(rig.a.images, true);
        ASSERT_TRUE(a.moved);
        ASSERT_TRUE(the_lock.owner == &rig.a.store);
        attachment_io_done(&a, true);
        ASSERT_TRUE(!the_lock.owner);
        start_hold(&rig.a, &w, HAND_OVER_PROVEN);
        ASSERT_TRUE(w.over);
        ASSERT_EQ(w.error, -ESHUTDOWN);

        images_set_draining(rig.a.images, false);
        start_hold(&rig.a, &w, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_OK(w.error);
        image_unpin(rig.a.image);
        attachment_end(&a);
        rig_stop();
}

/* It begins to drain while it waits for another proxy. */
static void draining_while_taking(void) {
        struct attachment b;
        struct waited w;

        rig_start();
        attach(&rig.b, &b, true, HAND_OVER_PROVEN);
        attachment_io_started(&b, true);
        start_hold(&rig.a, &w, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, b.moved);
        images_set_draining(rig.a.images, true);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_EQ(w.error, -ESHUTDOWN);
        /* The one that was asked lets go all the same, as soon as it can. */
        attachment_io_done(&b, true);
        run_what_is_due(rig.ring);
        ASSERT_TRUE(!the_lock.owner);
        attachment_end(&b);
        rig_stop();
}

static void expired_writer_needs_no_hold(void) {
        struct attachment a;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attachment_io_started(&a, true);
        image_lease_is(rig.a.image, &(const struct lease){ .generation = 2, .live = true });
        ASSERT_TRUE(a.expired);
        ASSERT_TRUE(the_lock.owner == &rig.a.store);
        attachment_io_done(&a, true);
        ASSERT_TRUE(!the_lock.owner);
        attachment_end(&a);

        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attachment_make_read_only(&a);
        ASSERT_TRUE(!the_lock.owner);
        attachment_end(&a);
        rig_stop();
}

/* Nobody is there who could be asked: the name that was left in the store is not believed. */
static void holder_unknown(void) {
        struct waited w;

        rig_start();
        the_lock.owner = &(const struct store){};
        the_lock.holder = (struct store_holder){};
        start_hold(&rig.a, &w, HAND_OVER_PROVEN);
        for (unsigned i = 0; i < 50; i++)
                step_and_wait_a_little(rig.ring);
        ASSERT_FALSE(w.over);
        pthread_mutex_lock(&the_lock.mutex);
        the_lock.owner = NULL;
        pthread_mutex_unlock(&the_lock.mutex);
        RUN_UNTIL(rig.ring, w.over);
        ASSERT_OK(w.error);
        image_unpin(rig.a.image);
        rig_stop();
}

/* The end comes in the midst of it. */
static void freed_with_work_left(void) {
        struct attachment a;
        struct waited w;

        rig_start();
        attach(&rig.a, &a, true, HAND_OVER_PROVEN);
        attachment_io_started(&a, true);
        start_hold(&rig.b, &w, HAND_OVER_PROVEN);
        RUN_UNTIL(rig.ring, a.moved);
        attachment_io_done(&a, true);
        attachment_end(&a);
        rig_stop();
}

TEST_MAIN(TEST(idle_holder_lets_go), TEST(what_is_in_hand_comes_first), TEST(pinned_is_served_first),
        TEST(everybody_gets_a_turn), TEST(claims_are_weighed), TEST(refusal_is_for_whom_it_concerns), TEST(draining),
        TEST(draining_while_taking), TEST(expired_writer_needs_no_hold), TEST(holder_unknown),
        TEST(freed_with_work_left));
