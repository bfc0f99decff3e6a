/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Store operations without an attached image: a call on the bus becomes a call of org.blockstore.Store to the query worker, and its answer comes back as it is. */

#include <sys/queue.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"

#define QUERIES_MAX 16U

struct manager;
struct query;

/* Passes on the message with all its arguments as a call of method. Takes over the answer when it returns 0; else error is set. */
int query_forward(struct manager *manager, sd_bus_message *message, const char *method, sd_bus_error *error);
/* Without an answer: the bus is gone. */
struct query *query_free(struct query *query);
