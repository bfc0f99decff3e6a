/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* New images, of org.blockstore.Store: CreateImage, and PreallocateImage, which is the same for an image whose storage is had ahead. Where that takes its time it is a job of the proxy, as those of
 * query-lifecycle.c are; a proxy that does it at once, or knows no jobs for it, answers with the UUID alone. */

#include <string.h>

#include "ivbs-lifecycle.h"
#include "query-internal.h"
#include "query-options.h"

#define NO_CHECKSUMS                                                                                                 \
        "A store in a Ceph cluster has no checksums for single images: Ceph has its own for all data, and compares " \
        "with each read. Create it without checksums."
#define NO_SPACE_AHEAD                                                                                        \
        "The store cannot set space aside for an image: its file system cannot, or its proxy is of an older " \
        "version. "                                                                                           \
        "Create it without preallocating."
#define ONLY_AS_JOB \
        "Setting the space aside takes its time in this store: PreallocateImage does it, and tells how far it is."

/* What it means when the store cannot. */
static const char *meaning(uint32_t flags, bool preallocate) {
        if ((flags & IVBS_CREATE_CHECKSUMS) && (flags & IVBS_CREATE_PREALLOCATE))
                return "The store cannot set space aside for an image, or, as one in a Ceph cluster, has no checksums "
                       "for single images. Create it without one of them.";
        if (flags & IVBS_CREATE_CHECKSUMS)
                return NO_CHECKSUMS;
        return preallocate ? NO_SPACE_AHEAD : ONLY_AS_JOB;
}

static bool is_preallocation(sd_bus_message *call) {
        return strcmp(sd_bus_message_get_member(call), "PreallocateImage") == 0;
}

static void on_created(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        char text[SD_ID128_UUID_STRING_MAX];
        struct ivbs_change_reply reply = {};
        sd_id128_t job;

        if (error == 0 && status == IVBS_STATUS_NOT_SUPPORTED) {
                query_reply_error(operation, FAILURE_USAGE, operation->detail);
                return;
        }
        if (!query_succeeded(operation, error, status, message))
                return;
        if (n < IVBS_UUID_SIZE) {
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
                return;
        }

        if (!is_preallocation(operation->call)) {
                (void) sd_bus_reply_method_return(operation->call, "s", query_uuid_to_string(payload, text));
                return;
        }
        if (n >= IVBS_CHANGE_REPLY_SIZE)
                (void) ivbs_change_reply_decode(payload, n, &reply);
        memcpy(job.bytes, reply.job, sizeof(job.bytes));
        (void) sd_bus_reply_method_return(
                operation->call, "s", sd_id128_is_null(job) ? "" : sd_id128_to_string(job, text));
}

int query_create_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        /* Only the latter is one of PreallocateImage, too. */
        static const struct query_option options[] = {
                { "preallocate", IVBS_CREATE_PREALLOCATE },
                { "checksums", IVBS_CREATE_CHECKSUMS },
                {},
        };
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        struct ivbs_create_image create = {};
        uint8_t payload[IVBS_CREATE_IMAGE_SIZE];
        bool preallocate = is_preallocation(m);
        const char *name;
        int r;

        r = sd_bus_message_read(m, "st", &name, &create.size);
        if (r >= 0)
                r = query_check_name(name, error);
        if (r >= 0)
                r = query_check_size(create.size, error);
        if (r >= 0)
                r = query_read_options(m, options + preallocate, &create.flags, NULL, error);
        if (r >= 0)
                r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;

        if (preallocate)
                create.flags |= IVBS_CREATE_PREALLOCATE | IVBS_CREATE_AS_JOB;
        strcpy(create.name, name);
        strcpy(operation->name, name);
        (void) snprintf(operation->detail, sizeof(operation->detail), "%s", meaning(create.flags, preallocate));
        r = ivbs_create_image_encode(&create, payload);
        if (r >= 0)
                r = engine_call(operation->query->engine, IVBS_OP_CREATE_IMAGE, payload, sizeof(payload),
                        QUERY_CALL_USEC, on_created, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}
