/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>

#include "mailbox.h"
#include "on-ring.h"

struct letter {
        struct mail mail;
        unsigned number;
};

struct reader {
        unsigned n;
        unsigned last;
        sd_event *event;
        unsigned wanted;
};

static void read_letter(struct mail *mail, void *context) {
        struct letter *letter = (struct letter *) mail;
        struct reader *reader = context;

        ASSERT_EQ(letter->number, reader->last + 1);
        reader->last = letter->number;
        reader->n++;
        free(letter);
        if (reader->event && reader->n == reader->wanted)
                ASSERT_OK(sd_event_exit(reader->event, 0));
}

static int send_letter(struct mailbox *mailbox, unsigned number) {
        struct letter *letter = malloc(sizeof(*letter));
        int r;

        ASSERT_TRUE(letter);
        *letter = (struct letter){ .mail.deliver = read_letter, .number = number };
        r = mailbox_send(mailbox, &letter->mail);
        if (r < 0)
                free(letter);
        return r;
}

#define LETTERS 50000U

static void *writer_main(void *userdata) {
        struct mailbox *mailbox = userdata;

        for (unsigned i = 1; i <= LETTERS;) {
                int r = send_letter(mailbox, i);

                if (r == -EAGAIN)
                        sched_yield(); /* full: the reader is behind */
                else {
                        ASSERT_OK(r);
                        i++;
                }
        }
        return NULL;
}

static void order_to_a_ring(void) {
        _cleanup_(mailbox_freep) struct mailbox *mailbox = NULL;
        struct reader reader = {};
        struct ring *ring = ring_with_watchman();
        pthread_t writer;

        ASSERT_OK(mailbox_new(&mailbox));
        mailbox_receive_ring(mailbox, ring, &reader);
        ASSERT_OK(-pthread_create(&writer, NULL, writer_main, mailbox));
        RUN_UNTIL(ring, reader.n == LETTERS);
        ASSERT_OK(-pthread_join(writer, NULL));
        ring_free(ring);
}

static void order_to_an_event_loop(void) {
        _cleanup_(mailbox_freep) struct mailbox *mailbox = NULL;
        struct reader reader = { .wanted = LETTERS };
        pthread_t writer;

        ASSERT_OK(sd_event_new(&reader.event));
        ASSERT_OK(sd_event_add_time_relative(
                reader.event, NULL, CLOCK_MONOTONIC, PATIENCE_USEC, 0, NULL, (void *) (intptr_t) -ETIMEDOUT));
        ASSERT_OK(mailbox_new(&mailbox));
        ASSERT_OK(mailbox_receive_event(mailbox, reader.event, &reader));
        ASSERT_OK(-pthread_create(&writer, NULL, writer_main, mailbox));
        ASSERT_OK(sd_event_loop(reader.event));
        ASSERT_EQ(reader.n, LETTERS);
        ASSERT_OK(-pthread_join(writer, NULL));
        mailbox = mailbox_free(mailbox);
        sd_event_unref(reader.event);
}

/* Never blocks: says that it is full, keeps what it has, and takes more when there is room. */
static void full(void) {
        _cleanup_(mailbox_freep) struct mailbox *mailbox = NULL;
        struct reader reader = {};
        struct ring *ring = ring_with_watchman();
        unsigned n = 0;
        int r;

        ASSERT_OK(mailbox_new(&mailbox));
        while ((r = send_letter(mailbox, n + 1)) >= 0)
                n++;
        ASSERT_EQ(r, -EAGAIN);
        ASSERT_TRUE(n >= 1000);
        ASSERT_ERROR(send_letter(mailbox, n + 1), EAGAIN);

        mailbox_receive_ring(mailbox, ring, &reader);
        RUN_UNTIL(ring, reader.n == n);
        ASSERT_OK(send_letter(mailbox, n + 1));
        RUN_UNTIL(ring, reader.n == n + 1);
        ring_free(ring);
}

/* The leak sanitizer sees what would be left behind. */
static void undelivered(void) {
        unsigned before = count_descriptors();
        struct mailbox *mailbox;

        ASSERT_OK(mailbox_new(&mailbox));
        for (unsigned i = 0; i < 100; i++)
                ASSERT_OK(send_letter(mailbox, i));
        ASSERT_TRUE(mailbox_free(mailbox) == NULL);
        ASSERT_TRUE(mailbox_free(NULL) == NULL);
        ASSERT_EQ(count_descriptors(), before);
}

TEST_MAIN(TEST(order_to_a_ring), TEST(order_to_an_event_loop), TEST(full), TEST(undelivered));
