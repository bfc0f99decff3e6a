/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Store operations without an attached image: a call on the bus becomes a call of org.blockstore.Store to the query worker, and its answer comes back as it is. */

#include <sys/queue.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"
#include "error-table.h"

#define QUERIES_MAX 16U

struct manager;
struct query;

/* Passes on the message with all its arguments as a call of method. Takes over the answer when it returns 0; else error is set. */
int query_forward(struct manager *manager, sd_bus_message *message, const char *method, sd_bus_error *error);
/* The same for the supervisor's own ends. fill appends the arguments (and may be called more than once); done comes once, from the loop: answer, or NULL with a failure and a sentence. Returns 0, or a negative errno
 * with error set. */
typedef int (*query_fill_t)(sd_bus_message *call, void *userdata);
typedef void (*query_done_t)(sd_bus_message *answer, enum failure failure, const char *message, void *userdata);
int query_ask(struct manager *manager, const char *method, query_fill_t fill, query_done_t done, void *userdata,
        struct query **ret, sd_bus_error *error);
/* Those that somebody on the bus waits for: the bus is gone. */
void queries_forget(struct manager *manager);
/* Without an answer. */
struct query *query_free(struct query *query);
