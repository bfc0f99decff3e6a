/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "attachment-internal.h"
#include "image-gate.h"

#define PIECE_SIZE_MIN (1024U * 1024U) /* what a change may have to wait for */
#define PIECES_MAX     (1U << 23)      /* as many bits: 1 MiB of them, enough for 8 TiB in the smallest pieces */

static bool is_copied(const struct image_gate *gate, uint64_t piece) {
        return gate->copied[piece / 8] & (1U << piece % 8);
}

static void set_copied(struct image_gate *gate, uint64_t piece) {
        if (is_copied(gate, piece))
                return;
        gate->copied[piece / 8] |= (uint8_t) (1U << piece % 8);
        gate->n_copied++;
}

/* Moves on over what has been copied since it looked the last time. */
static bool must_wait(const struct image_gate *gate, struct image_gate_waiter *waiter) {
        uint64_t end;

        if (gate->closed)
                return true;
        if (waiter->length == 0)
                return false;

        end = (waiter->offset + waiter->length - 1) / gate->piece_size;
        while (waiter->reached <= end && waiter->reached < gate->n_pieces && is_copied(gate, waiter->reached))
                waiter->reached++;
        /* What lies behind the size that the snapshot has is not copied at all. */
        return waiter->reached <= end && waiter->reached < gate->n_pieces;
}

/* Lets go on who need not wait any more. A waiter that goes on may be the last one that kept its client, but not the image: the gate's owner has that. */
static void release(struct image_gate *gate, bool all) {
        struct image_gate_waiter_list free_ones = TAILQ_HEAD_INITIALIZER(free_ones);
        struct image_gate_waiter *waiter, *next;

        for (waiter = TAILQ_FIRST(&gate->waiters); waiter; waiter = next) {
                next = TAILQ_NEXT(waiter, entry);
                if (!all && must_wait(gate, waiter))
                        continue;
                TAILQ_REMOVE(&gate->waiters, waiter, entry);
                TAILQ_INSERT_TAIL(&free_ones, waiter, entry);
                gate->n_waiting--;
        }
        while ((waiter = TAILQ_FIRST(&free_ones))) {
                TAILQ_REMOVE(&free_ones, waiter, entry);
                waiter->go(waiter);
        }
}

void image_gate_close(struct image_gate *gate, struct image *image) {
        assert(!image->gate && !gate->image);

        *gate = (struct image_gate){
                .quiet = gate->quiet,
                .abandoned = gate->abandoned,
                .image = image,
                .closed = true,
        };
        TAILQ_INIT(&gate->waiters);
        image->gate = gate;
        image_gate_review(gate);
}

int image_gate_start_copying(struct image_gate *gate, uint64_t size) {
        assert(gate->closed && gate->told_quiet);

        gate->size = size;
        gate->piece_size = PIECE_SIZE_MIN;
        while (size / gate->piece_size >= PIECES_MAX)
                gate->piece_size *= 2;
        gate->n_pieces = (size + gate->piece_size - 1) / gate->piece_size;
        gate->copied = calloc((size_t) (gate->n_pieces + 7) / 8, 1);
        if (!gate->copied)
                return -ENOMEM;

        gate->closed = false;
        for (struct image_gate_waiter *w = TAILQ_FIRST(&gate->waiters); w; w = TAILQ_NEXT(w, entry))
                w->reached = w->offset / gate->piece_size;
        release(gate, false);
        return 0;
}

bool image_gate_next(struct image_gate *gate, uint64_t *ret_offset, uint64_t *ret_length) {
        struct image_gate_waiter *waiter = TAILQ_FIRST(&gate->waiters);
        uint64_t piece;

        while (gate->next < gate->n_pieces && is_copied(gate, gate->next))
                gate->next++;
        piece = waiter ? waiter->reached : gate->next;
        if (piece >= gate->n_pieces)
                return false;

        /* In turns: somebody who waits for much must not keep others waiting who wait for little. */
        if (waiter) {
                TAILQ_REMOVE(&gate->waiters, waiter, entry);
                TAILQ_INSERT_TAIL(&gate->waiters, waiter, entry);
        }
        *ret_offset = piece * gate->piece_size;
        *ret_length = gate->piece_size;
        return true;
}

void image_gate_copied(struct image_gate *gate, uint64_t offset, uint64_t end) {
        if (!gate->image)
                return;

        if (end >= gate->size)
                end = gate->n_pieces * gate->piece_size;
        for (uint64_t piece = offset / gate->piece_size; piece < end / gate->piece_size; piece++)
                set_copied(gate, piece);
        release(gate, false);
}

uint64_t image_gate_progress(const struct image_gate *gate) {
        uint64_t bytes = gate->n_copied * gate->piece_size;

        return bytes < gate->size ? bytes : gate->size;
}

void image_gate_open(struct image_gate *gate) {
        struct image *image = gate->image;

        if (!image)
                return;

        image->gate = NULL;
        gate->image = NULL;
        free(gate->copied);
        gate->copied = NULL;
        release(gate, true);
        image_review_hold(image);
}

void image_gate_forget(struct image_gate *gate) {
        if (gate->image)
                gate->image->gate = NULL;
        gate->image = NULL;
        free(gate->copied);
        gate->copied = NULL;
}

bool image_gate_stops(
        struct image_gate *gate, struct image_gate_waiter *waiter, bool dispensable, bool *ret_leave_out) {
        *ret_leave_out = false;
        waiter->reached = gate->closed ? 0 : waiter->offset / gate->piece_size;
        if (!must_wait(gate, waiter))
                return false;

        if (dispensable && !gate->closed) {
                *ret_leave_out = true;
                return false;
        }
        TAILQ_INSERT_TAIL(&gate->waiters, waiter, entry);
        gate->n_waiting++;
        return true;
}

void image_gate_review(struct image_gate *gate) {
        const struct attachment *a;
        unsigned n = 0;

        if (!gate->closed || gate->told_quiet)
                return;

        TAILQ_FOREACH(a, &gate->image->attachments, entry)
                n += a->n_changes;
        /* Those who wait count as in hand, so that nobody gets the image before they are over. */
        if (n > gate->n_waiting)
                return;
        gate->told_quiet = true;
        gate->quiet(gate);
}
