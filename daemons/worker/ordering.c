/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each request that waits knows for how many it waits, and each mutation how many wait for it: so one for which nobody waits leaves without a look at anyone.
 *
 * The common case is that nothing overlaps, with hundreds in flight. For it mutations are counted by the granules of the image that they touch, in a small table under a
 * hash of the granule: where all counts are zero there is nothing to compare. Where one is not, a small request is compared with the small mutations that begin in its
 * granules or in the one before them, and with the large ones; only a large request is compared with all. A range of very many granules is not counted but compared always.
 *
 * Releasing calls out, and what is called may come back in: who is to be released is moved to a list first, which the outermost call empties. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fault-point.h"
#include "ordering.h"

#define GRANULE_SHIFT 16U
#define GRANULE_SIZE  (UINT64_C(1) << GRANULE_SHIFT)
#define TABLE_BITS    12U
#define TABLE_SIZE    (1U << TABLE_BITS)
/* More granules than the largest write has, and cheaper to compare with than to count. */
#define COUNTED_MAX 1024U

enum ordering_state {
        ORDERING_OUT, /* as requests_get() leaves it */
        ORDERING_WAITING,
        ORDERING_RELEASED, /* release() is about to be called */
        ORDERING_GOING,
};

LIST_HEAD(ordering_line, request);

struct ordering {
        void (*release)(struct request *request, void *userdata);
        void *userdata;

        uint64_t next_number;
        struct request_list mutations; /* that have not left, in order of acceptance */
        struct request_list waiting;   /* in order of acceptance */
        struct request_list released;
        bool releasing;

        uint16_t counts[TABLE_SIZE];
        struct ordering_line small[TABLE_SIZE]; /* mutations of up to a granule, by the one in which they begin */
        struct ordering_line large;             /* all others */
        unsigned n_uncounted;                   /* of the large ones */
};

int ordering_new(struct ordering **ret, void (*release)(struct request *request, void *userdata), void *userdata) {
        struct ordering *o;

        o = calloc(1, sizeof(*o));
        if (!o)
                return -ENOMEM;

        o->release = release;
        o->userdata = userdata;
        TAILQ_INIT(&o->mutations);
        TAILQ_INIT(&o->waiting);
        TAILQ_INIT(&o->released);
        *ret = o;
        return 0;
}

struct ordering *ordering_free(struct ordering *o) {
        if (!o)
                return NULL;

        assert(TAILQ_EMPTY(&o->mutations) && TAILQ_EMPTY(&o->waiting) && TAILQ_EMPTY(&o->released));
        free(o);
        return NULL;
}

static unsigned slot_of(uint64_t granule) {
        return (unsigned) ((granule * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - TABLE_BITS));
}

static uint64_t first_granule(const struct request *r) {
        return r->offset >> GRANULE_SHIFT;
}

static uint64_t last_granule(const struct request *r) {
        return (r->offset + r->length - 1) >> GRANULE_SHIFT;
}

static bool is_small(const struct request *r) {
        return r->length <= GRANULE_SIZE;
}

static bool is_counted(const struct request *r) {
        return last_granule(r) - first_granule(r) < COUNTED_MAX;
}

static bool overlap(const struct request *a, const struct request *b) {
        return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

static bool may_overlap(const struct ordering *o, const struct request *r) {
        if (o->n_uncounted > 0 || !is_counted(r))
                return true;
        for (uint64_t g = first_granule(r); g <= last_granule(r); g++)
                if (o->counts[slot_of(g)] > 0)
                        return true;
        return false;
}

/* by: what m's followers gain. Returns whether r has to wait for m. */
static bool meet(struct request *m, const struct request *r, int by) {
        if (m->ordering_number >= r->ordering_number || !overlap(m, r))
                return false;

        m->ordering_followers += (unsigned) by;
        return true;
}

/* All earlier mutations that overlap r gain or lose a follower. Returns their number. */
static unsigned meet_earlier(struct ordering *o, const struct request *r, int by) {
        uint64_t first = first_granule(r);
        struct request *m;
        unsigned n = 0;

        if (!is_small(r)) {
                TAILQ_FOREACH(m, &o->mutations, ordering_entry)
                        n += meet(m, r, by);
                return n;
        }

        LIST_FOREACH(m, &o->large, ordering_line)
                n += meet(m, r, by);

        /* A small one that begins before the granule in front of ours ends before us. A line may hold several granules, of which each has its turn. */
        for (uint64_t g = first > 0 ? first - 1 : 0; g <= last_granule(r); g++)
                LIST_FOREACH(m, &o->small[slot_of(g)], ordering_line)
                        if (first_granule(m) == g)
                                n += meet(m, r, by);
        return n;
}

static void count(struct ordering *o, const struct request *r, int by) {
        if (!is_counted(r)) {
                o->n_uncounted += (unsigned) by;
                return;
        }
        for (uint64_t g = first_granule(r); g <= last_granule(r); g++)
                o->counts[slot_of(g)] = (uint16_t) (o->counts[slot_of(g)] + by);
}

bool ordering_enter(struct ordering *o, struct request *r) {
        assert(r->ordering_state == ORDERING_OUT);

        if (r->op == REQUEST_FLUSH || r->length == 0 || rule_is_off("ordering"))
                return true;

        r->ordering_number = o->next_number++;
        r->ordering_followers = 0;
        r->ordering_waits_for = may_overlap(o, r) ? meet_earlier(o, r, 1) : 0;

        if (r->op != REQUEST_READ) {
                TAILQ_INSERT_TAIL(&o->mutations, r, ordering_entry);
                if (is_small(r))
                        LIST_INSERT_HEAD(&o->small[slot_of(first_granule(r))], r, ordering_line);
                else
                        LIST_INSERT_HEAD(&o->large, r, ordering_line);
                count(o, r, 1);
        }

        if (r->ordering_waits_for > 0) {
                r->ordering_state = ORDERING_WAITING;
                TAILQ_INSERT_TAIL(&o->waiting, r, ordering_queue);
                return false;
        }
        r->ordering_state = ORDERING_GOING;
        return true;
}

static void release_in_order(struct ordering *o, struct request *r) {
        struct request *other;

        r->ordering_state = ORDERING_RELEASED;
        TAILQ_FOREACH_REVERSE(other, &o->released, request_list, ordering_queue)
                if (other->ordering_number < r->ordering_number) {
                        TAILQ_INSERT_AFTER(&o->released, other, r, ordering_queue);
                        return;
                }
        TAILQ_INSERT_HEAD(&o->released, r, ordering_queue);
}

static void end_waits_for(struct ordering *o, const struct request *mutation) {
        struct request *r = TAILQ_FIRST(&o->waiting);
        unsigned left = mutation->ordering_followers;

        while (r && left > 0) {
                struct request *next = TAILQ_NEXT(r, ordering_queue);

                if (r->ordering_number > mutation->ordering_number && overlap(mutation, r)) {
                        left--;
                        if (--r->ordering_waits_for == 0) {
                                TAILQ_REMOVE(&o->waiting, r, ordering_queue);
                                release_in_order(o, r);
                        }
                }
                r = next;
        }
        assert(left == 0);
}

void ordering_leave(struct ordering *o, struct request *r) {
        struct request *next;

        if (r->ordering_state == ORDERING_OUT)
                return;

        if (r->ordering_state == ORDERING_WAITING) {
                TAILQ_REMOVE(&o->waiting, r, ordering_queue);
                meet_earlier(o, r, -1);
        } else if (r->ordering_state == ORDERING_RELEASED)
                TAILQ_REMOVE(&o->released, r, ordering_queue);
        r->ordering_state = ORDERING_OUT;

        if (r->op != REQUEST_READ) {
                TAILQ_REMOVE(&o->mutations, r, ordering_entry);
                LIST_REMOVE(r, ordering_line);
                count(o, r, -1);
                if (r->ordering_followers > 0)
                        end_waits_for(o, r);
        }

        if (o->releasing)
                return;
        o->releasing = true;
        while ((next = TAILQ_FIRST(&o->released))) {
                TAILQ_REMOVE(&o->released, next, ordering_queue);
                next->ordering_state = ORDERING_GOING;
                o->release(next, o->userdata);
        }
        o->releasing = false;
}
