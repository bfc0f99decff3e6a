/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pipes as buffers, for data that are only passed on from one socket to another: what is spliced into a pipe are references to the pages of the network, and what is spliced
 * out of it, too. Nothing is copied, and nobody here can look at the data. One thread only. */

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "cleanup.h"

struct pipe_buffers;

struct pipe_buffer {
        size_t held; /* bytes in it */

        /* private */
        SLIST_ENTRY(pipe_buffer) entry;
        struct pipe_buffers *pool;
        int fds[2];
};

/* max: how many there may be at a time, each two descriptors. Returns 0 or -ENOMEM. */
int pipe_buffers_new(struct pipe_buffers **ret, unsigned max);
/* All must have been returned. */
struct pipe_buffers *pipe_buffers_free(struct pipe_buffers *pool);
DEFINE_CLEANUP(struct pipe_buffers *, pipe_buffers_free);

/* An empty one, which has room for as much as is sensible to pass on in one piece; NULL when there is none to be had: take memory instead. */
struct pipe_buffer *pipe_buffer_get(struct pipe_buffers *pool);
/* What it holds is thrown away. NULL is fine; returns NULL. */
struct pipe_buffer *pipe_buffer_put(struct pipe_buffer *pipe);
/* Closes those that nobody has needed since the last call. */
void pipe_buffers_trim(struct pipe_buffers *pool);

/* Moves up to n bytes from the socket fd, without waiting. Returns how many, 0 at its end, or a negative errno: -EAGAIN when the socket has none or the pipe no room (how much fits depends
 * on how the network has cut the data). */
ssize_t pipe_buffer_fill(struct pipe_buffer *pipe, int fd, size_t n);
/* Copies n bytes into it. Returns how many, or a negative errno. */
ssize_t pipe_buffer_write(struct pipe_buffer *pipe, const void *data, size_t n);

/* Moves what it holds to the socket fd, which must not block: only O_NONBLOCK keeps the kernel from waiting here. Returns how many bytes have gone, or a negative errno. */
ssize_t pipe_buffer_drain(struct pipe_buffer *pipe, int fd);
/* Copies all that it holds, held bytes. Returns 0 or a negative errno. */
int pipe_buffer_read(struct pipe_buffer *pipe, void *ret_data);
