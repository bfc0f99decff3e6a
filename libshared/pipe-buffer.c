/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A pipe keeps references to pieces of pages, as many as it has slots. A socket hands over what the network has brought as it lies in memory: 32 KiB pieces from the
 * loopback, one packet's worth or a page from elsewhere. So the same pipe holds megabytes of one and some hundred kilobytes of another, and who fills it must be prepared
 * for it to be full.
 *
 * A user may have only so many slots in all (/proc/sys/fs/pipe-user-pages-soft); beyond that the kernel makes pipes that are too small to be of use, which are not kept. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "pipe-buffer.h"

/* What an unprivileged process may ask for (/proc/sys/fs/pipe-max-size), and what it must get: 256 slots, 64 slots. */
#define CAPACITY     (1024 * 1024)
#define CAPACITY_MIN (256 * 1024)

struct pipe_buffers {
        SLIST_HEAD(, pipe_buffer) free;
        unsigned max, n, n_free;
        unsigned n_idle; /* the least that n_free was since the last trim */
};

int pipe_buffers_new(struct pipe_buffers **ret, unsigned max) {
        struct pipe_buffers *pool;

        pool = calloc(1, sizeof(*pool));
        if (!pool)
                return -ENOMEM;

        SLIST_INIT(&pool->free);
        pool->max = max;
        *ret = pool;
        return 0;
}

static void destroy(struct pipe_buffer *pipe) {
        pipe->pool->n--;
        safe_close(pipe->fds[0]);
        safe_close(pipe->fds[1]);
        free(pipe);
}

static struct pipe_buffer *pop(struct pipe_buffers *pool) {
        struct pipe_buffer *pipe = SLIST_FIRST(&pool->free);

        if (!pipe)
                return NULL;

        SLIST_REMOVE_HEAD(&pool->free, entry);
        pool->n_free--;
        if (pool->n_idle > pool->n_free)
                pool->n_idle = pool->n_free;
        return pipe;
}

struct pipe_buffers *pipe_buffers_free(struct pipe_buffers *pool) {
        struct pipe_buffer *pipe;

        if (!pool)
                return NULL;

        while ((pipe = pop(pool)))
                destroy(pipe);
        assert(pool->n == 0);
        free(pool);
        return NULL;
}

struct pipe_buffer *pipe_buffer_get(struct pipe_buffers *pool) {
        struct pipe_buffer *pipe = pop(pool);

        if (pipe)
                return pipe;
        if (pool->n == pool->max)
                return NULL;

        pipe = calloc(1, sizeof(*pipe));
        if (!pipe)
                return NULL;
        if (pipe2(pipe->fds, O_CLOEXEC | O_NONBLOCK) < 0) {
                free(pipe);
                return NULL;
        }

        pipe->pool = pool;
        pool->n++;
        (void) fcntl(pipe->fds[0], F_SETPIPE_SZ, CAPACITY);
        if (fcntl(pipe->fds[0], F_GETPIPE_SZ) < CAPACITY_MIN) {
                destroy(pipe);
                return NULL;
        }
        return pipe;
}

struct pipe_buffer *pipe_buffer_put(struct pipe_buffer *pipe) {
        struct pipe_buffers *pool;

        if (!pipe)
                return NULL;

        /* Nothing else empties it without copying. */
        if (pipe->held > 0) {
                destroy(pipe);
                return NULL;
        }

        pool = pipe->pool;
        SLIST_INSERT_HEAD(&pool->free, pipe, entry);
        pool->n_free++;
        return NULL;
}

void pipe_buffers_trim(struct pipe_buffers *pool) {
        for (unsigned left = pool->n_idle; left > 0; left--)
                destroy(pop(pool));
        pool->n_idle = pool->n_free;
}

ssize_t pipe_buffer_fill(struct pipe_buffer *pipe, int fd, size_t n) {
        ssize_t r = splice(fd, NULL, pipe->fds[1], NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (r < 0)
                return -errno;
        pipe->held += (size_t) r;
        return r;
}

ssize_t pipe_buffer_write(struct pipe_buffer *pipe, const void *data, size_t n) {
        ssize_t r = write(pipe->fds[1], data, n);

        if (r < 0)
                return -errno;
        pipe->held += (size_t) r;
        return r;
}

ssize_t pipe_buffer_drain(struct pipe_buffer *pipe, int fd) {
        ssize_t r = splice(pipe->fds[0], NULL, fd, NULL, pipe->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (r <= 0)
                return r < 0 ? -errno : -EIO;
        pipe->held -= (size_t) r;
        return r;
}

int pipe_buffer_read(struct pipe_buffer *pipe, void *ret_data) {
        uint8_t *p = ret_data;

        while (pipe->held > 0) {
                ssize_t r = read(pipe->fds[0], p, pipe->held);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return r < 0 ? -errno : -EIO;
                p += r;
                pipe->held -= (size_t) r;
        }
        return 0;
}
