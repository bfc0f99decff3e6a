/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Page-aligned buffers in size classes, handed out last in first out so that the warm ones are used again. Grows on demand up to a limit in
 * bytes, and gives back to the system what buffers_trim() finds unused. One thread only. */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

#define BUFFER_SIZE_MIN 4096U
#define BUFFER_SIZE_MAX (32U * 1024U * 1024U)

struct buffers;

int buffers_new(struct buffers **ret, size_t limit);
/* All buffers must have been returned. */
struct buffers *buffers_free(struct buffers *buffers);
DEFINE_CLEANUP(struct buffers *, buffers_free);

/* A buffer of at least size bytes (1 - BUFFER_SIZE_MAX), or NULL when the limit is reached: wait for a put. */
void *buffers_get(struct buffers *buffers, size_t size);
/* size: the same as at get. NULL is fine. */
void buffers_put(struct buffers *buffers, void *buffer, size_t size);

/* A promise instead of a buffer, for what is needed later: it counts as in use, and costs no memory yet. Returns whether the limit allows it. */
bool buffers_reserve(struct buffers *buffers, size_t size);
/* Ends the promise of size bytes without a buffer, ... */
void buffers_unreserve(struct buffers *buffers, size_t size);
/* ... or with one, the warmest there is. NULL only when the system has no memory; the promise stays then. */
void *buffers_get_reserved(struct buffers *buffers, size_t size);

/* Gives back what has not been needed at any moment since the last call. To be called now and then, also without load: every second, say. What is in use stays
 * what it is. Returns how many bytes have gone. */
size_t buffers_trim(struct buffers *buffers);

/* What a buffer of size bytes (1 - BUFFER_SIZE_MAX) takes from the limit. */
size_t buffers_size_for(size_t size);

/* Bytes handed out or promised at present. */
size_t buffers_in_use(const struct buffers *buffers);
/* Bytes that the system has given us: those handed out, and the free ones. */
size_t buffers_allocated(const struct buffers *buffers);
