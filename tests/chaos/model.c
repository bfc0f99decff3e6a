/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each block has a short list of contents, see model.h. A content that was replaced stays in its list until no read can still bring it; then it is forgotten, and whatever is in
 * no list is wrong. An empty list is a block that was never touched: zeroes. */

#include <inttypes.h>
#include <string.h>

#include "block.h"
#include "model.h"

#define NEVER UINT64_MAX

enum state {
        IN_FLIGHT,
        DONE,
        UNKNOWN,
};

struct content {
        uint64_t sent;       /* event at which the change was sent; 0: the zeroes of a new image */
        uint64_t ended;      /* NEVER: in flight */
        uint64_t over_sent;  /* the acknowledged change that replaced it was sent then; NEVER: none */
        uint64_t over_ended; /* ... and acknowledged then */
        uint8_t state;
        bool zero, trim;
};

struct block {
        struct content *contents; /* NULL: new */
        uint16_t n, size;
        bool reported;
};

struct model {
        struct block *blocks;
        uint64_t n_blocks, seed, event, horizon, settled; /* settled: model_settle() was called then; 0: never */
        bool strict;
        model_report_t report;
        void *userdata;
};

static const char *const wrong_names[] = {
        [WRONG_STALE] = "stale",
        [WRONG_TORN] = "torn",
        [WRONG_MISPLACED] = "misplaced",
        [WRONG_FOREIGN] = "foreign",
        [WRONG_ORDER] = "out of order",
};

const char *model_wrong_to_string(enum model_wrong wrong) {
        return wrong < _WRONG_MAX ? wrong_names[wrong] : "unknown";
}

int model_new(struct model **ret, uint64_t size, uint64_t seed, bool strict, model_report_t report, void *userdata) {
        _cleanup_(model_freep) struct model *m = calloc(1, sizeof(*m));

        if (!m)
                return -ENOMEM;
        *m = (struct model){
                .n_blocks = size / CHAOS_BLOCK, .seed = seed, .strict = strict, .report = report, .userdata = userdata
        };
        m->blocks = calloc(m->n_blocks, sizeof(*m->blocks));
        if (!m->blocks)
                return -ENOMEM;
        *ret = TAKE_PTR(m);
        return 0;
}

struct model *model_free(struct model *m) {
        if (!m)
                return NULL;
        for (uint64_t i = 0; m->blocks && i < m->n_blocks; i++)
                free(m->blocks[i].contents);
        free(m->blocks);
        free(m);
        return NULL;
}

uint64_t model_event(struct model *m) {
        return ++m->event;
}

void model_set_horizon(struct model *m, uint64_t event) {
        m->horizon = event;
}

void model_settle(struct model *m) {
        m->settled = model_event(m);
}

static void forget(struct model *m, struct block *b) {
        unsigned kept = 0;

        for (unsigned i = 0; i < b->n; i++)
                if (b->contents[i].over_ended >= m->horizon || b->contents[i].state == IN_FLIGHT)
                        b->contents[kept++] = b->contents[i];
        b->n = (uint16_t) kept;
}

static struct content *append(struct block *b) {
        if (b->n == b->size) {
                unsigned size = b->size ? b->size * 2U : 2U;
                struct content *grown;

                if (size > UINT16_MAX)
                        return NULL;
                grown = reallocarray(b->contents, size, sizeof(*grown));
                if (!grown)
                        return NULL;
                b->contents = grown;
                b->size = (uint16_t) size;
        }
        return b->contents + b->n++;
}

int model_begin(struct model *m, enum model_change change, uint64_t offset, uint64_t length, uint64_t sent) {
        for (uint64_t i = offset / CHAOS_BLOCK; i < (offset + length) / CHAOS_BLOCK; i++) {
                struct block *b = m->blocks + i;
                struct content *c;

                forget(m, b);
                if (b->n == 0) {
                        c = append(b);
                        if (!c)
                                return -ENOMEM;
                        *c = (struct content){ .over_sent = NEVER, .over_ended = NEVER, .state = DONE, .zero = true };
                }
                c = append(b);
                if (!c)
                        return -ENOMEM;
                *c = (struct content){
                        .sent = sent,
                        .ended = NEVER,
                        .over_sent = NEVER,
                        .over_ended = NEVER,
                        .state = IN_FLIGHT,
                        .zero = change != MODEL_WRITE,
                        .trim = change == MODEL_TRIM,
                };
        }
        return 0;
}

static void complain(struct model *m, uint64_t i, enum model_wrong wrong, const char *text) {
        if (m->blocks[i].reported)
                return;
        m->blocks[i].reported = true;
        m->report(m->userdata, wrong, i * CHAOS_BLOCK, text);
}

/* change number `sent` of block i was acknowledged. */
static void replace_older(struct model *m, uint64_t i, uint64_t sent, uint64_t now, bool replaces) {
        struct block *b = m->blocks + i;

        for (struct content *c = b->contents; c < b->contents + b->n; c++) {
                if (c->sent >= sent)
                        continue;
                if (m->strict && c->state == IN_FLIGHT) {
                        char text[128];

                        (void) snprintf(text, sizeof(text), "change %" PRIu64 " was answered before change %" PRIu64,
                                sent, c->sent);
                        complain(m, i, WRONG_ORDER, text);
                }
                if (!replaces || c->over_ended != NEVER || !(m->strict || c->ended < sent))
                        continue;
                c->over_sent = sent;
                c->over_ended = now;
        }
        if (replaces)
                b->reported = false;
}

/* Of several zeroes that stand for ever the latest will do. */
static void merge_zeroes(struct block *b, uint64_t sent) {
        unsigned kept = 0;

        for (unsigned i = 0; i < b->n; i++) {
                const struct content *c = b->contents + i;

                if (!c->zero || c->sent >= sent || c->state == IN_FLIGHT || c->over_ended != NEVER)
                        b->contents[kept++] = *c;
        }
        b->n = (uint16_t) kept;
}

void model_end(struct model *m, enum model_change change, uint64_t offset, uint64_t length, uint64_t sent,
        enum model_outcome outcome) {
        uint64_t now = model_event(m);

        for (uint64_t i = offset / CHAOS_BLOCK; i < (offset + length) / CHAOS_BLOCK; i++) {
                struct block *b = m->blocks + i;

                for (struct content *c = b->contents; c < b->contents + b->n; c++)
                        if (c->sent == sent) {
                                c->ended = now;
                                c->state = outcome == MODEL_DONE ? DONE : UNKNOWN;
                        }
                if (outcome == MODEL_DONE)
                        replace_older(m, i, sent, now, change != MODEL_TRIM);
                if (change != MODEL_WRITE)
                        merge_zeroes(b, sent);
        }
}

static bool acceptable(const struct model *m, const struct content *c, uint64_t sent, bool ordered) {
        return (m->strict && ordered ? c->over_sent : c->over_ended) > sent;
}

/* A read that a change of the block overlaps in time may bring some bytes of before and some of after: neither the page cache nor the protocol promises more. Whether
 * each byte is one that the block may have. */
static bool is_mixture(const struct model *m, const struct block *b, const uint8_t *data, uint64_t offset,
        uint64_t sent, bool ordered) {
        bool known[CHAOS_BLOCK] = {}, overlapped = false;

        for (const struct content *c = b->contents; c < b->contents + b->n; c++) {
                uint8_t expected[CHAOS_BLOCK] = {};

                overlapped = overlapped || (c->state == IN_FLIGHT || c->ended > sent);
                if (!acceptable(m, c, sent, ordered))
                        continue;
                if (!c->zero)
                        block_fill(expected, m->seed, offset, c->sent);
                for (unsigned i = 0; i < CHAOS_BLOCK; i++)
                        known[i] = known[i] || expected[i] == data[i];
        }
        for (unsigned i = 0; i < CHAOS_BLOCK; i++)
                if (!known[i])
                        return false;
        return overlapped;
}

static void describe(const struct block *b, char *text, size_t size) {
        size_t used = strlen(text);

        for (unsigned i = 0; i < b->n && used < size; i++) {
                const struct content *c = b->contents + i;

                used += (size_t) snprintf(text + used, size - used, "%s%s %" PRIu64 "%s%s",
                        i == 0 ? "; known: " : ", ",
                        c->trim   ? "trim"
                        : c->zero ? "zeroes"
                                  : "write",
                        c->sent,
                        c->state == IN_FLIGHT ? " in flight"
                        : c->state == UNKNOWN ? " unanswered"
                                              : "",
                        c->over_ended == NEVER ? "" : " (replaced)");
        }
}

static bool is_same(const struct content *c, enum block_kind kind, uint64_t counter) {
        return kind == BLOCK_ZERO ? c->zero : kind == BLOCK_STAMPED && !c->zero && c->sent == counter;
}

/* A good read shows what has become of changes that were settled before it was sent: what it brought stands, the rest is gone. */
static void decide(struct model *m, struct block *b, enum block_kind kind, uint64_t counter, uint64_t sent) {
        bool found = false;

        if (m->settled == 0 || sent < m->settled)
                return;
        for (const struct content *c = b->contents; c < b->contents + b->n; c++) {
                if (c->over_ended != NEVER)
                        continue;
                if (c->state == IN_FLIGHT || c->ended > m->settled || c->trim)
                        return;
                found = found || is_same(c, kind, counter);
        }
        for (struct content *c = b->contents; found && c < b->contents + b->n; c++)
                if (c->over_ended == NEVER && !is_same(c, kind, counter))
                        c->over_sent = c->over_ended = m->settled;
}

unsigned model_check(
        struct model *m, uint64_t offset, uint64_t length, const uint8_t *data, uint64_t sent, bool ordered) {
        unsigned n_wrong = 0;

        for (uint64_t at = offset; at < offset + length; at += CHAOS_BLOCK, data += CHAOS_BLOCK) {
                struct block *b = m->blocks + at / CHAOS_BLOCK;
                uint64_t found_offset = 0, counter = 0;
                enum block_kind kind;
                enum model_wrong wrong = WRONG_STALE;
                bool good = false, early = false;
                char text[512] = "";

                kind = block_look(data, m->seed, &found_offset, &counter);
                if (b->n == 0)
                        good = kind == BLOCK_ZERO;
                for (const struct content *c = b->contents; c < b->contents + b->n; c++) {
                        early = early || (m->strict && ordered && c->state == IN_FLIGHT && c->sent < sent);
                        if (is_same(c, kind, counter) && (kind == BLOCK_ZERO || found_offset == at))
                                good = good || acceptable(m, c, sent, ordered);
                }
                if (good && !early)
                        decide(m, b, kind, counter, sent);
                if (kind == BLOCK_TORN && is_mixture(m, b, data, at, sent, ordered))
                        good = true;
                if (good && !early)
                        continue;

                if (good) {
                        wrong = WRONG_ORDER;
                        (void) snprintf(
                                text, sizeof(text), "read %" PRIu64 " was answered before an earlier change", sent);
                } else if (kind == BLOCK_TORN) {
                        wrong = WRONG_TORN;
                        (void) snprintf(text, sizeof(text), "read %" PRIu64 " brought a damaged block", sent);
                } else if (kind == BLOCK_FOREIGN || (kind == BLOCK_STAMPED && counter > m->event)) {
                        wrong = WRONG_FOREIGN;
                        (void) snprintf(text, sizeof(text), "read %" PRIu64 " brought a block of another run", sent);
                } else if (kind == BLOCK_STAMPED && found_offset != at) {
                        wrong = WRONG_MISPLACED;
                        (void) snprintf(text, sizeof(text),
                                "read %" PRIu64 " brought write %" PRIu64 " of offset %" PRIu64, sent, counter,
                                found_offset);
                } else if (kind == BLOCK_STAMPED)
                        (void) snprintf(text, sizeof(text), "read %" PRIu64 " brought write %" PRIu64, sent, counter);
                else
                        (void) snprintf(text, sizeof(text), "read %" PRIu64 " brought zeroes", sent);
                describe(b, text, sizeof(text));
                complain(m, at / CHAOS_BLOCK, wrong, text);
                n_wrong++;
        }
        return n_wrong;
}

int model_settled(struct model *m, uint64_t offset, uint64_t *ret_counter) {
        const struct block *b = m->blocks + offset / CHAOS_BLOCK;
        const struct content *only = NULL;

        for (const struct content *c = b->contents; c < b->contents + b->n; c++) {
                if (c->over_ended != NEVER)
                        continue;
                if (only || c->state != DONE)
                        return 0;
                only = c;
        }
        if (only && only->trim)
                return 0;
        *ret_counter = !only || only->zero ? 0 : only->sent;
        return 1;
}
