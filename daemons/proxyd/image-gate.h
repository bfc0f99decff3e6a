/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes those who change an image wait while a snapshot of it is made. Closed, it lets no change and no flush begin, until what is in hand is over: that is the moment that the snapshot is
 * of. Where the file system can share storage that moment is all. Where it has to be copied, the gate becomes a line that moves: reads go on, changes of what has been copied go
 * on, a change of what has not waits until it has, and what is waited for is copied next. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct image;
struct image_gate;

/* A change that waits; embedded in the request. */
struct image_gate_waiter {
        void (*go)(struct image_gate_waiter *waiter);
        uint64_t offset, length; /* bytes; length 0: a flush */
        uint64_t reached;        /* private: the first piece that it may still have to wait for */
        TAILQ_ENTRY(image_gate_waiter) entry;
};
TAILQ_HEAD(image_gate_waiter_list, image_gate_waiter);

struct image_gate {
        void (*quiet)(struct image_gate *gate);     /* closed, and nothing is in hand any more */
        void (*abandoned)(struct image_gate *gate); /* the image is about to be let go: to be opened soon */

        /* private */
        struct image *image; /* NULL: not in use */
        bool closed, told_quiet;
        uint64_t size, piece_size, n_pieces, n_copied, next;
        uint8_t *copied; /* a bit a piece */
        unsigned n_waiting;
        struct image_gate_waiter_list waiters;
};

/* One gate an image: image->gate must be NULL. quiet() comes, perhaps at once. */
void image_gate_close(struct image_gate *gate, struct image *image);
/* Closed and quiet: from now on only what has not been copied yet is waited for. Returns 0 or -ENOMEM. */
int image_gate_start_copying(struct image_gate *gate, uint64_t size);
/* What is to be copied next. Returns false when there is nothing left. */
bool image_gate_next(struct image_gate *gate, uint64_t *ret_offset, uint64_t *ret_length);
/* Everything in [offset, end) is copied, or a hole. end need not be a piece's, unless it is the size's. */
void image_gate_copied(struct image_gate *gate, uint64_t offset, uint64_t end);
/* Bytes. */
uint64_t image_gate_progress(const struct image_gate *gate);
/* Lets everybody go on. Not in use: nothing. */
void image_gate_open(struct image_gate *gate);
/* For the end, when nobody is there any more to go on. */
void image_gate_forget(struct image_gate *gate);

/* A change or flush that counts as in hand is about to begin: true when it has to wait, go() comes later. dispensable: it may be left out instead of waiting; then it is, false is
 * returned, and *ret_leave_out set. */
bool image_gate_stops(
        struct image_gate *gate, struct image_gate_waiter *waiter, bool dispensable, bool *ret_leave_out);
/* Something that was in hand is over. */
void image_gate_review(struct image_gate *gate);
