/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A random verified workload through the worker's socket: reads, writes, FUA, flushes, trims and zeroings of 512 bytes to 1 MiB, many at a time, overlapping ones too, on one
 * connection that changes and one that only reads. Each answer goes to the model. It keeps the queue full until told to stop, and connects again when the worker was lost. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "cleanup.h"
#include "model.h"
#include "statistics.h"

struct workload;

struct workload_options {
        const char *socket_path;
        uint64_t size, seed;
        unsigned depth; /* requests in flight at most, 1-64 */
        bool strict;    /* see model.h */
        bool flushes;   /* otherwise nothing is ever flushed */
};

int workload_new(
        struct workload **ret, sd_event *event, const struct workload_options *options, struct statistics *statistics);
struct workload *workload_free(struct workload *workload);
DEFINE_CLEANUP(struct workload *, workload_free);

/* The worker is about to be killed: losing its connections is no error until this is called with false. */
void workload_worker_goes(struct workload *workload, bool goes);
/* The worker is gone: so are its connections, though what it has still sent may not have been read. */
void workload_drop_connections(struct workload *workload);
/* One request at a time, so that there are moments in which everything is durable. */
void workload_set_calm(struct workload *workload, bool calm);
/* So many requests that get an error do not count as errors. */
void workload_excuse(struct workload *workload, unsigned n);

/* So long after the last answer all requests fail, and EIO counts as asked for: on a machine with much to do, who is gone may have been silent for a while before. Failed: at least one has, and so have all that were waiting then. End: the reason is gone; errors are asked
 * for until the first good answer on that connection. No errors: none is asked for any more, nor any that was excused, and what has failed is settled, see model.h; returns how many there were. */
void workload_expect_errors(struct workload *workload, uint64_t timeout_usec);
bool workload_has_failed(const struct workload *workload);
void workload_end_errors(struct workload *workload);
uint64_t workload_expect_no_errors(struct workload *workload);

/* Sends no more. Idle: nothing is outstanding. */
void workload_stop(struct workload *workload);
bool workload_is_idle(const struct workload *workload);
bool workload_is_connected(const struct workload *workload);
/* Answers. Errors count while none is expected. */
uint64_t workload_n_done(const struct workload *workload);

/* Begins to look for the longest time without an answer while requests are outstanding, and says how long it has been since. */
void workload_watch_stall(struct workload *workload);
uint64_t workload_stall_usec(const struct workload *workload);
/* Time since the last answer, with requests outstanding. */
uint64_t workload_silence_usec(const struct workload *workload);

/* After workload_stop(), when idle: a FLUSH and a read of the whole image. done: workload_pass_is_over(). */
void workload_begin_pass(struct workload *workload);
bool workload_pass_is_over(const struct workload *workload);
/* Compares a file with what the image must hold. */
int workload_check_file(struct workload *workload, const char *path);

struct model *workload_model(struct workload *workload);
uint64_t workload_seed(const struct workload *workload);
