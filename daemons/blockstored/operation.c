/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Several callers may wait for one piece of work (two AttachImage of the same image): the work knows nothing of them but a list, and what ends it answers all of it. A caller whose
 * deadline comes is answered and taken from the list; the work goes on. */

#include <errno.h>

#include "manager.h"
#include "operation.h"
#include "peer-bus.h"

static void operation_free(struct operation *operation) {
        LIST_REMOVE(operation, entry);
        operation->manager->n_operations--;
        sd_event_source_disable_unref(operation->timer);
        sd_bus_message_unref(operation->message);
        manager_check_idle(operation->manager);
        free(operation);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        struct operation *operation = userdata;

        operation->timeout(operation, operation->userdata);
        return 0;
}

static int begin(struct manager *manager, struct operation_list *list, const struct operation *wanted,
        uint64_t timeout_usec, sd_bus_error *error) {
        struct operation *operation;
        int r;

        if (manager->n_operations >= OPERATIONS_MAX)
                return peer_bus_error_set(
                        error, FAILURE_BUSY, "%u operations are under way already; try again later", OPERATIONS_MAX);

        operation = calloc(1, sizeof(*operation));
        if (!operation)
                return -ENOMEM;
        *operation = *wanted;
        operation->manager = manager;
        if (operation->message)
                sd_bus_message_ref(operation->message);
        LIST_INSERT_HEAD(list, operation, entry);
        manager->n_operations++;

        r = sd_event_add_time_relative(
                manager->event, &operation->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, operation);
        if (r < 0)
                operation_free(operation);
        else
                manager_check_idle(manager);
        return r;
}

int operation_new(struct manager *manager, struct operation_list *list, sd_bus_message *message, uint64_t timeout_usec,
        operation_timeout_t timeout, void *userdata, sd_bus_error *error) {
        const struct operation wanted = { .message = message, .timeout = timeout, .userdata = userdata };

        return begin(manager, list, &wanted, timeout_usec, error);
}

int operation_new_internal(struct manager *manager, struct operation_list *list, operation_done_t done,
        void *done_userdata, uint64_t timeout_usec, operation_timeout_t timeout, void *userdata, sd_bus_error *error) {
        const struct operation wanted = {
                .done = done, .done_userdata = done_userdata, .timeout = timeout, .userdata = userdata
        };

        return begin(manager, list, &wanted, timeout_usec, error);
}

/* The operation is gone before its caller hears of it, who may begin another. */
static void tell(struct operation *operation, enum failure failure, const char *message) {
        operation_done_t done = operation->done;
        void *userdata = operation->done_userdata;

        operation_free(operation);
        if (done)
                done(failure, message, userdata);
}

void operation_succeed(struct operation *operation, const char *path) {
        sd_bus_message *message = operation->message;

        if (!message) {
                tell(operation, FAILURE_NONE, "");
                return;
        }
        if (path && sd_bus_message_is_method_call(message, MANAGER_INTERFACE, "AttachImage"))
                (void) sd_bus_reply_method_return(message, "o", path);
        else
                (void) sd_bus_reply_method_return(message, NULL);
        operation_free(operation);
}

void operation_fail(struct operation *operation, enum failure failure, const char *message) {
        if (!operation->message) {
                tell(operation, failure, message);
                return;
        }
        (void) sd_bus_reply_method_errorf(operation->message, failure_lookup(failure)->bus_name, "%s", message);
        operation_free(operation);
}

void operations_succeed(struct operation_list *list, const char *path) {
        while (!LIST_EMPTY(list))
                operation_succeed(LIST_FIRST(list), path);
}

void operations_fail(struct operation_list *list, enum failure failure, const char *message) {
        while (!LIST_EMPTY(list))
                operation_fail(LIST_FIRST(list), failure, message);
}

void operations_forget(struct operation_list *list) {
        struct operation *operation, *next;

        for (operation = LIST_FIRST(list); operation; operation = next) {
                next = LIST_NEXT(operation, entry);
                if (operation->message)
                        operation_free(operation);
        }
}

void operations_forget_caller(struct operation_list *list, const void *done_userdata) {
        struct operation *operation;

        LIST_FOREACH(operation, list, entry)
                if (operation->done && operation->done_userdata == done_userdata)
                        operation->done = NULL;
}
