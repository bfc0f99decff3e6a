/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Buffers in powers of two from a page to the largest request. A class is a stack: the buffer that was used last is still in the cache and is
 * used next. The link of a free buffer lies in the buffer itself; nobody else can see it there, for a free buffer is never in the kernel's hands.
 *
 * Two sums stay within the limit: what is handed out or promised, and what the system has given us. When the second stands in the way of the first, free
 * buffers of other classes make room, so that a burst of large requests does not leave the small ones without memory for ever, and so that a promise can be kept.
 *
 * Each buffer is a mapping of its own and not of the heap: the heap keeps what is freed below something that is not, here a free buffer goes back
 * wherever it lies. The kernel joins neighbours, so thousands of them are few mappings. How many of a class were free at the least since the last trim is how
 * many nobody would miss; a steady load gives back nothing, and so has nothing to fault in again. */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "buffers.h"

/* The address sanitizer sees no mappings; it is told what is nobody's. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void) (address), (void) (size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void) (address), (void) (size))
#endif

#define N_CLASSES 14U /* 4 KiB << 13 is 32 MiB */

/* As many as there are slots: to unmap them takes about a millisecond, in which nothing else is done. */
#define TRIM_MAX 512U

struct free_buffer {
        struct free_buffer *next;
};

struct class {
        struct free_buffer *free;
        unsigned n_free;
        unsigned n_idle; /* the least that n_free was since the last trim */
};

struct buffers {
        struct class classes[N_CLASSES];
        size_t limit;
        size_t allocated; /* handed out, or free */
        size_t in_use;    /* handed out, or promised */
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

static void push(struct buffers *buffers, unsigned c, struct free_buffer *buffer) {
        struct class *class = buffers->classes + c;

        buffer->next = class->free;
        class->free = buffer;
        class->n_free++;
        ASAN_POISON_MEMORY_REGION(buffer + 1, class_size(c) - sizeof(*buffer));
}

static struct free_buffer *pop(struct buffers *buffers, unsigned c) {
        struct class *class = buffers->classes + c;
        struct free_buffer *buffer = class->free;

        if (!buffer)
                return NULL;

        class->free = buffer->next;
        class->n_free--;
        if (class->n_idle > class->n_free)
                class->n_idle = class->n_free;
        ASAN_UNPOISON_MEMORY_REGION(buffer, class_size(c));
        return buffer;
}

/* Returns false when there is none, or the kernel would have to split too many mappings for it: then it stays. */
static bool drop_one(struct buffers *buffers, unsigned c) {
        struct free_buffer *buffer = pop(buffers, c);

        if (!buffer)
                return false;
        if (munmap(buffer, class_size(c)) < 0) {
                push(buffers, c, buffer);
                return false;
        }

        buffers->allocated -= class_size(c);
        return true;
}

struct buffers *buffers_free(struct buffers *buffers) {
        if (!buffers)
                return NULL;

        assert(buffers->in_use == 0);
        for (unsigned c = 0; c < N_CLASSES; c++)
                while (drop_one(buffers, c))
                        ;
        free(buffers);
        return NULL;
}

static bool make_room(struct buffers *buffers, size_t size) {
        for (unsigned c = N_CLASSES; c-- > 0;)
                while (buffers->allocated + size > buffers->limit && drop_one(buffers, c))
                        ;

        return buffers->allocated + size <= buffers->limit;
}

/* One that is charged for already. */
static void *take(struct buffers *buffers, unsigned c) {
        struct free_buffer *buffer = pop(buffers, c);

        if (buffer)
                return buffer;
        if (!make_room(buffers, class_size(c)))
                return NULL;

        buffer = mmap(NULL, class_size(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffer == MAP_FAILED)
                return NULL;
        buffers->allocated += class_size(c);
        return buffer;
}

void *buffers_get(struct buffers *buffers, size_t size) {
        void *buffer;

        if (!buffers_reserve(buffers, size))
                return NULL;

        buffer = buffers_get_reserved(buffers, size);
        if (!buffer)
                buffers_unreserve(buffers, size);
        return buffer;
}

void buffers_put(struct buffers *buffers, void *buffer, size_t size) {
        unsigned c;

        if (!buffer)
                return;

        c = class_of(size);
        push(buffers, c, buffer);
        buffers->in_use -= class_size(c);
}

bool buffers_reserve(struct buffers *buffers, size_t size) {
        assert(size > 0 && size <= BUFFER_SIZE_MAX);

        size = buffers_size_for(size);
        if (buffers->in_use + size > buffers->limit)
                return false;

        buffers->in_use += size;
        return true;
}

void buffers_unreserve(struct buffers *buffers, size_t size) {
        buffers->in_use -= buffers_size_for(size);
}

void *buffers_get_reserved(struct buffers *buffers, size_t size) {
        return take(buffers, class_of(size));
}

size_t buffers_trim(struct buffers *buffers) {
        size_t before = buffers->allocated;
        unsigned n = 0;

        for (unsigned c = N_CLASSES; c-- > 0;) {
                struct class *class = buffers->classes + c;

                for (unsigned left = class->n_idle; left > 0 && n < TRIM_MAX && drop_one(buffers, c); left--)
                        n++;
                class->n_idle = class->n_free;
        }

        return before - buffers->allocated;
}

size_t buffers_size_for(size_t size) {
        return class_size(class_of(size));
}

size_t buffers_in_use(const struct buffers *buffers) {
        return buffers->in_use;
}

size_t buffers_allocated(const struct buffers *buffers) {
        return buffers->allocated;
}
