/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A caller on the bus who waits: owns the message that is to be answered, and its deadline. Listed where the work is done, counted by the manager. */

#include <sys/queue.h>

#include <systemd/sd-bus.h>

#include "cleanup.h"
#include "error-table.h"

#define OPERATIONS_MAX 256U

struct manager;
struct operation;

LIST_HEAD(operation_list, operation);

/* Called at the deadline; must end the operation with one of the two below. */
typedef void (*operation_timeout_t)(struct operation *operation, void *userdata);

/* For a caller within the supervisor. */
typedef void (*operation_done_t)(enum failure failure, const char *message, void *userdata);

struct operation {
        LIST_ENTRY(operation) entry;
        struct manager *manager;
        sd_bus_message *message; /* or done */
        operation_done_t done;
        void *done_userdata;
        sd_event_source *timer;
        operation_timeout_t timeout;
        void *userdata;
};

/* Returns 0, or a negative errno with error set: Busy at OPERATIONS_MAX. */
int operation_new(struct manager *manager, struct operation_list *list, sd_bus_message *message, uint64_t timeout_usec,
        operation_timeout_t timeout, void *userdata, sd_bus_error *error);

/* The same for the supervisor's own ends: done comes once (failure FAILURE_NONE: it is done, or goes on after the deadline), unless operations_forget_caller() comes first. */
int operation_new_internal(struct manager *manager, struct operation_list *list, operation_done_t done,
        void *done_userdata, uint64_t timeout_usec, operation_timeout_t timeout, void *userdata, sd_bus_error *error);
/* Whoever waits with this userdata does so no more. */
void operations_forget_caller(struct operation_list *list, const void *done_userdata);

/* Answer and free. An Attach or Detach of an Image has no result, an AttachImage returns path. */
void operation_succeed(struct operation *operation, const char *path);
void operation_fail(struct operation *operation, enum failure failure, const char *message);

/* The same for all of a list. */
void operations_succeed(struct operation_list *list, const char *path);
void operations_fail(struct operation_list *list, enum failure failure, const char *message);
/* Those on the bus, without an answer: the bus is gone. */
void operations_forget(struct operation_list *list);
