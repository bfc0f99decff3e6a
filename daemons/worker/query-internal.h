/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What query.c (the process) and query-bus.c (the operations) share. */

#include <systemd/sd-bus.h>

#include "engine.h"
#include "peer-bus.h"

struct query {
        sd_event *event;
        struct host_config *config;
        struct credentials *credentials;
        struct engine *engine; /* NULL: refused from the start */
        struct engine_status status;
        unsigned n_clients;
        bool retiring; /* no more questions than those of who is connected */
        bool stopping;
        enum failure failure;
        enum failure refused; /* every question is answered with this */
        char sentence[512];
        sd_event_source *idle_timer, *listen_source, *retire_timer;
};

extern const sd_bus_vtable query_vtable[];

#define QUERY_CALL_USEC (15U * 1000U * 1000U)
#define QUERY_LIST_MAX  65536U

/* One method call under way. */
struct query_operation {
        struct query *query;
        sd_bus_message *call;
        sd_bus_message *reply;
        char name[IVBS_IMAGE_NAME_SIZE];   /* what it is about, for messages */
        char detail[IVBS_IMAGE_NAME_SIZE]; /* ... besides: a snapshot's name, a new name */
        unsigned listed;
};

/* query-bus.c. new: returns 0, or a negative errno with error set. The operation is the caller's, until an answer goes to it. */
int query_operation_new(
        struct query *query, sd_bus_message *message, struct query_operation **ret, sd_bus_error *error);
void query_operationp(struct query_operation **operation);
void query_reply_error(struct query_operation *operation, enum failure failure, const char *message);
/* Whether the proxy said yes; answers the call when not. */
bool query_succeeded(struct query_operation *operation, int error, uint32_t status, const char *message);
int query_check_name(const char *name, sd_bus_error *error);
int query_check_size(uint64_t size, sd_bus_error *error);

/* query-lifecycle.c */
int query_rename_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_create_snapshot(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_list_snapshots(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_remove_snapshot(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_clone_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_roll_back_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_get_job(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_cancel_job(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* query-resize.c */
int query_resize_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
