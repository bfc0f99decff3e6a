/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A list of the store's comes in several answers of the proxy and becomes one reply on the bus: each answer's rows are appended, and the next is asked for behind the last of them, up to
 * QUERY_LIST_MAX rows. Images and snapshots differ in the packet that asks and in a row. */

#include <string.h>

#include <systemd/sd-id128.h>

#include "query-internal.h"

#define ROWS_OFFSET 8U /* behind what ivbs_list_reply_start_decode() reads */

const char *query_uuid_to_string(
        const uint8_t uuid[static IVBS_UUID_SIZE], char ret[static SD_ID128_UUID_STRING_MAX]) {
        sd_id128_t id;

        memcpy(id.bytes, uuid, sizeof(id.bytes));
        return sd_id128_to_uuid_string(id, ret);
}

static int append_rows(struct query_operation *operation, const struct query_list *list, const uint8_t *payload,
        size_t n, char last[static IVBS_IMAGE_NAME_SIZE], bool *ret_more) {
        size_t offset = ROWS_OFFSET;
        uint32_t count;
        bool more;
        int r;

        r = ivbs_list_reply_start_decode(payload, n, &count, &more);
        for (uint32_t i = 0; r >= 0 && i < count; i++) {
                r = list->append(operation->reply, payload, n, &offset, last);
                operation->listed++;
        }
        if (r >= 0)
                *ret_more = more && count > 0;
        return r;
}

void query_list_answer(struct query_operation *answered, const struct query_list *list, int error, uint32_t status,
        const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = answered;
        char last[IVBS_IMAGE_NAME_SIZE] = "";
        bool more = false;
        int r = 0;

        if (!query_succeeded(operation, error, status, message))
                return;

        if (!operation->reply) {
                r = sd_bus_message_new_method_return(operation->call, &operation->reply);
                if (r >= 0)
                        r = sd_bus_message_open_container(operation->reply, 'a', list->row);
        }
        if (r >= 0)
                r = append_rows(operation, list, payload, n, last, &more);
        if (r >= 0 && more && operation->listed < QUERY_LIST_MAX) {
                r = list->ask(operation, last);
                if (r >= 0) {
                        TAKE_PTR(operation); /* goes on with the next answer */
                        return;
                }
        }
        if (r >= 0)
                r = sd_bus_message_close_container(operation->reply);
        if (r >= 0)
                r = sd_bus_send(NULL, operation->reply, NULL);
        if (r < 0)
                query_reply_error(operation, FAILURE_PROTOCOL, list->nonsense);
}
