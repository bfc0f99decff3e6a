/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What query.c (the process) and query-bus.c (the operations) share. */

#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>

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
        char name[IVBS_IMAGE_NAME_SIZE]; /* what it is about, for messages */
        char snapshot[IVBS_IMAGE_NAME_SIZE];
        char detail[IVBS_IMAGE_NAME_SIZE]; /* ... besides: a new name, an option */
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

/* query-list.c */
struct query_list {
        const char *row;      /* its type on the bus */
        const char *nonsense; /* what is said of a list that cannot be read */
        /* Asks for what comes behind that name ("": from the beginning); the answer goes to query_list_answer(). */
        int (*ask)(struct query_operation *operation, const char *after);
        /* One row from the payload at *offset, which moves on; its name goes to ret_name. */
        int (*append)(sd_bus_message *reply, const uint8_t *payload, size_t n, size_t *offset,
                char ret_name[static IVBS_IMAGE_NAME_SIZE]);
};

/* Takes the operation: replies, or asks for more. */
void query_list_answer(struct query_operation *operation, const struct query_list *list, int error, uint32_t status,
        const uint8_t *payload, size_t n, const char *message);
const char *query_uuid_to_string(const uint8_t uuid[static IVBS_UUID_SIZE], char ret[static SD_ID128_UUID_STRING_MAX]);

/* query-lifecycle.c */
int query_rename_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_create_snapshot(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_list_snapshots(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_remove_snapshot(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_clone_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_roll_back_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_store_status(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_get_job(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_cancel_job(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* query-care.c */
int query_scrub_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_get_image_care(sd_bus_message *message, void *userdata, sd_bus_error *error);
int query_set_image_limits(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* query-create.c: CreateImage and PreallocateImage */
int query_create_image(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* query-resize.c */
int query_resize_image(sd_bus_message *message, void *userdata, sd_bus_error *error);
