/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The log of what was acknowledged and is not known to be durable: mutations in the order of their acknowledgement, with their data. Bounded in bytes; knows no sessions. One
 * thread only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffers.h"
#include "cleanup.h"
#include "request.h"

struct retained;

struct retained_entry {
        uint64_t position;
        enum request_op op;
        bool fua;
        bool no_hole;
        uint64_t offset;
        uint32_t length;
        uint8_t *data; /* of a write: length bytes, the log's */
};

/* buffers: where the requests' data come from and go back to; must outlive the log. limit: bytes, as of retained_bytes(). */
int retained_new(struct retained **ret, struct buffers *buffers, uint64_t limit);
struct retained *retained_free(struct retained *log);
DEFINE_CLEANUP(struct retained *, retained_free);

/* false: flush first. An empty log has room for anything. */
bool retained_has_room(const struct retained *log, const struct request *request);

/* An acknowledged mutation, at the end. Takes over the data of a write: request->data is NULL then, and requests_put() is fine with that. -ENOMEM leaves the request as it was. The
 * limit is the caller's to keep: what was acknowledged is never refused here. */
int retained_add(struct retained *log, struct request *request);

/* Behind the last entry. Never falls over the log's life; entries have consecutive positions. */
uint64_t retained_position(const struct retained *log);

/* Forgets entries whose position is below before: they are durable now. Whoever sends one of them must have ended. requests_memory_freed() is the caller's. */
void retained_drop(struct retained *log, uint64_t before);

/* The first entry at or behind position; NULL: there is none. Valid until it is dropped. */
const struct retained_entry *retained_next(const struct retained *log, uint64_t position);

/* Memory held, in bytes: a write counts as the buffer that it keeps, anything else as the smallest one, so that the number of entries is bounded too. */
uint64_t retained_bytes(const struct retained *log);
size_t retained_count(const struct retained *log);
bool retained_is_empty(const struct retained *log);
