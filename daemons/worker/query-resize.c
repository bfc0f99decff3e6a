/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ResizeImage of org.blockstore.Store. Whoever has the image attached hears of its new size from its proxy; a device that is to become smaller has been made smaller before this is called. */

#include <errno.h>
#include <string.h>

#include "query-internal.h"
#include "query-options.h"

static void on_resized(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        struct ivbs_resize_reply reply;
        char text[512];

        if (error == 0 && status == IVBS_STATUS_IN_USE) {
                snprintf(text, sizeof(text),
                        "Image \"%s\" is attached by another host, or by a classic client: only the host that writes "
                        "it can "
                        "make it smaller.",
                        operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return;
        }
        if (error == 0 && status == IVBS_STATUS_INVALID_REQUEST) {
                snprintf(text, sizeof(text),
                        "Image \"%s\" is larger than that. To cut off its end, with what is there, takes "
                        "\"force-shrink\".",
                        operation->name);
                query_reply_error(operation, FAILURE_USAGE, text);
                return;
        }
        if (!query_succeeded(operation, error, status, message))
                return;
        if (ivbs_resize_reply_decode(payload, n, &reply) < 0)
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
        else
                (void) sd_bus_reply_method_return(operation->call, "t", reply.size);
}

int query_resize_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const struct query_option options[] = { { "force-shrink", IVBS_RESIZE_SHRINK }, {} };
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        struct ivbs_resize_image resize = {};
        uint8_t payload[IVBS_RESIZE_IMAGE_SIZE];
        const char *name;
        int r;

        r = sd_bus_message_read(m, "st", &name, &resize.size);
        if (r >= 0)
                r = query_check_name(name, error);
        if (r >= 0)
                r = query_check_size(resize.size, error);
        if (r >= 0)
                r = query_read_options(m, options, &resize.flags, NULL, error);
        if (r < 0)
                return r;
        strcpy(resize.name, name);

        r = query_operation_new(userdata, m, &operation, error);
        if (r < 0)
                return r;
        strcpy(operation->name, name);
        r = ivbs_resize_image_encode(&resize, payload);
        if (r >= 0)
                r = engine_call(operation->query->engine, IVBS_OP_RESIZE_IMAGE, payload, sizeof(payload),
                        QUERY_CALL_USEC, on_resized, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}
