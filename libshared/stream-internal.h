/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between stream.c (life, receiving) and stream-send.c. */

#include "pipe-buffer.h"
#include "stream.h"

#define STREAM_OF(ptr, member) CONTAINER_OF(ptr, struct stream, member)

/* Sends what is queued, if nothing is being sent; may close the stream. */
void stream_send_queued(struct stream *stream);
/* The done() of send_op. */
void stream_sent(struct ring_op *op, int32_t res, uint32_t flags);
/* Copies what is queued and has not gone to rest->output, in one piece; pipes are empty then. Returns 0 or a negative errno. */
int stream_take_output(const struct stream *stream, struct stream_rest *rest);
