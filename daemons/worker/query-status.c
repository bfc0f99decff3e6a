/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How the store is doing, of org.blockstore.Store: one packet, one reply. */

#include "ivbs-admin.h"
#include "query-internal.h"

static int append_sessions(sd_bus_message *reply, const struct ivbs_store_status *status, const uint8_t *payload,
        size_t n, size_t offset) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(ssssbbt)");
        for (uint32_t i = 0; i < status->sessions && r >= 0; i++) {
                struct ivbs_store_session session;

                r = ivbs_store_session_decode(payload, n, &offset, &session);
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(ssssbbt)", session.image, session.user, session.host,
                                session.address, (int) ((session.flags & IVBS_SESSION_WRITES) != 0),
                                (int) ((session.flags & IVBS_SESSION_LEASED) != 0), session.generation);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void on_status(
        void *userdata, int error, uint32_t status_code, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        struct ivbs_store_status status;
        size_t offset;
        int r;

        if (error == 0 && status_code == IVBS_STATUS_PERMISSION_DENIED) {
                query_reply_error(operation, FAILURE_ACCESS_DENIED,
                        "The user of this host is no administrator of the store: blockstorectl user rights --admin, "
                        "on the proxy's machine, makes it one.");
                return;
        }
        if (!query_succeeded(operation, error, status_code, message))
                return;

        r = ivbs_store_status_decode(payload, n, &status, &offset);
        if (r >= 0)
                r = sd_bus_message_new_method_return(operation->call, &operation->reply);
        if (r >= 0)
                r = sd_bus_message_append(operation->reply, "ttu", status.total, status.available, status.clients);
        if (r >= 0)
                r = append_sessions(operation->reply, &status, payload, n, offset);
        if (r >= 0)
                r = sd_bus_send(NULL, operation->reply, NULL);
        if (r < 0)
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
}

int query_store_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        struct query *query = userdata;
        int r;

        r = query_operation_new(query, m, &operation, error);
        if (r >= 0)
                r = engine_call(query->engine, IVBS_OP_STORE_STATUS, "", 0, QUERY_CALL_USEC, on_status, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}
