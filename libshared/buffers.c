/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Buffers in powers of two from a page to the largest request. A class is a stack: the buffer that was used last is still in the cache and is
 * used next. The link of a free buffer lies in the buffer itself; nobody else can see it there, for a free buffer is never in the kernel's hands.
 *
 * The limit counts what was allocated, not only what is in use. When it is reached, free buffers of other classes make room, so that a burst of
 * large requests does not leave the small ones without memory for ever. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "buffers.h"

#define N_CLASSES 14U /* 4 KiB << 13 is 32 MiB */

struct free_buffer {
        struct free_buffer *next;
};

struct buffers {
        struct free_buffer *free[N_CLASSES];
        size_t limit;
        size_t allocated;
        size_t in_use;
};

static unsigned class_of(size_t size) {
        unsigned c = 0;

        while (((size_t) BUFFER_SIZE_MIN << c) < size)
                c++;
        return c;
}

static size_t class_size(unsigned c) {
        return (size_t) BUFFER_SIZE_MIN << c;
}

int buffers_new(struct buffers **ret, size_t limit) {
        struct buffers *buffers;

        buffers = calloc(1, sizeof(*buffers));
        if (!buffers)
                return -ENOMEM;

        buffers->limit = limit;
        *ret = buffers;
        return 0;
}

static void drop_one(struct buffers *buffers, unsigned c) {
        struct free_buffer *buffer = buffers->free[c];

        buffers->free[c] = buffer->next;
        buffers->allocated -= class_size(c);
        free(buffer);
}

struct buffers *buffers_free(struct buffers *buffers) {
        if (!buffers)
                return NULL;

        assert(buffers->in_use == 0);
        for (unsigned c = 0; c < N_CLASSES; c++)
                while (buffers->free[c])
                        drop_one(buffers, c);
        free(buffers);
        return NULL;
}

static bool make_room(struct buffers *buffers, size_t size) {
        for (unsigned c = N_CLASSES; c-- > 0;)
                while (buffers->allocated + size > buffers->limit && buffers->free[c])
                        drop_one(buffers, c);

        return buffers->allocated + size <= buffers->limit;
}

void *buffers_get(struct buffers *buffers, size_t size) {
        struct free_buffer *buffer;
        unsigned c;

        assert(size > 0 && size <= BUFFER_SIZE_MAX);

        c = class_of(size);
        buffer = buffers->free[c];
        if (buffer)
                buffers->free[c] = buffer->next;
        else {
                if (!make_room(buffers, class_size(c)))
                        return NULL;
                buffer = aligned_alloc(BUFFER_SIZE_MIN, class_size(c));
                if (!buffer)
                        return NULL;
                buffers->allocated += class_size(c);
        }

        buffers->in_use += class_size(c);
        return buffer;
}

void buffers_put(struct buffers *buffers, void *buffer, size_t size) {
        struct free_buffer *f = buffer;
        unsigned c;

        if (!buffer)
                return;

        c = class_of(size);
        f->next = buffers->free[c];
        buffers->free[c] = f;
        buffers->in_use -= class_size(c);
}

size_t buffers_size_for(size_t size) {
        return class_size(class_of(size));
}

size_t buffers_in_use(const struct buffers *buffers) {
        return buffers->in_use;
}
