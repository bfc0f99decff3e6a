/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Positions are consecutive, so an entry is found by its position alone, in a ring of pointers that doubles when it is full: a replay of ten thousand entries must not search for
 * each. The entries themselves do not move, for a request that replays one points to its data.
 *
 * No copy is made: the buffer that the write came in is kept, and goes back to the common buffers when the write is durable. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "retained.h"

#define RING_MIN 64U

struct retained {
        struct buffers *buffers;
        uint64_t limit;
        uint64_t bytes;
        uint64_t first, end; /* positions: of the oldest entry, and behind the last one */
        struct retained_entry **ring;
        uint64_t ring_size; /* 0, or a power of two */
};

static struct retained_entry **slot_of(const struct retained *log, uint64_t position) {
        return log->ring + (position & (log->ring_size - 1));
}

static uint64_t cost_of(enum request_op op, uint32_t length) {
        return op == REQUEST_WRITE ? buffers_size_for(length) : BUFFER_SIZE_MIN;
}

int retained_new(struct retained **ret, struct buffers *buffers, uint64_t limit) {
        struct retained *log;

        log = calloc(1, sizeof(*log));
        if (!log)
                return -ENOMEM;

        log->buffers = buffers;
        log->limit = limit;
        *ret = log;
        return 0;
}

struct retained *retained_free(struct retained *log) {
        if (!log)
                return NULL;

        retained_drop(log, log->end);
        free(log->ring);
        free(log);
        return NULL;
}

bool retained_has_room(const struct retained *log, const struct request *r) {
        uint64_t cost = cost_of(r->op, r->length);

        return retained_is_empty(log) || (cost <= log->limit && log->bytes <= log->limit - cost);
}

static int grow(struct retained *log) {
        uint64_t size = log->ring_size > 0 ? log->ring_size * 2 : RING_MIN;
        struct retained_entry **ring;

        ring = calloc(size, sizeof(*ring));
        if (!ring)
                return -ENOMEM;

        for (uint64_t p = log->first; p < log->end; p++)
                ring[p & (size - 1)] = *slot_of(log, p);
        free(log->ring);
        log->ring = ring;
        log->ring_size = size;
        return 0;
}

int retained_add(struct retained *log, struct request *r) {
        struct retained_entry *entry;
        int k;

        assert(r->op == REQUEST_WRITE || r->op == REQUEST_TRIM || r->op == REQUEST_WRITE_ZEROES);
        assert(r->op != REQUEST_WRITE || (r->data && !r->reserved));

        if (log->end - log->first == log->ring_size) {
                k = grow(log);
                if (k < 0)
                        return k;
        }
        entry = malloc(sizeof(*entry));
        if (!entry)
                return -ENOMEM;

        *entry = (struct retained_entry){
                .position = log->end,
                .op = r->op,
                .fua = r->fua,
                .no_hole = r->no_hole,
                .offset = r->offset,
                .length = r->length,
        };
        if (r->op == REQUEST_WRITE)
                entry->data = TAKE_PTR(r->data);
        *slot_of(log, log->end++) = entry;
        log->bytes += cost_of(entry->op, entry->length);
        return 0;
}

uint64_t retained_position(const struct retained *log) {
        return log->end;
}

void retained_drop(struct retained *log, uint64_t before) {
        while (log->first < log->end && log->first < before) {
                struct retained_entry *entry = TAKE_PTR(*slot_of(log, log->first));

                log->first++;
                log->bytes -= cost_of(entry->op, entry->length);
                buffers_put(log->buffers, entry->data, entry->length);
                free(entry);
        }
}

const struct retained_entry *retained_next(const struct retained *log, uint64_t position) {
        if (position < log->first)
                position = log->first;
        return position < log->end ? *slot_of(log, position) : NULL;
}

uint64_t retained_bytes(const struct retained *log) {
        return log->bytes;
}

size_t retained_count(const struct retained *log) {
        return (size_t) (log->end - log->first);
}

bool retained_is_empty(const struct retained *log) {
        return log->first == log->end;
}
