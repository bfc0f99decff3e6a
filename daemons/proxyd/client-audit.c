/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who did what, and who was not let: one line each in the journal, with a message id and the same fields, so that `journalctl MESSAGE_ID=...` is the audit trail. Nothing here
 * decides anything. Logins have their lines in client-login.c. */

#include <stdarg.h>

#include "client.h"
#include "log.h"

/* What it is about need not be attached. */
#define AUDIT_FIELDS(client, id, name)                                                                  \
        LOG_FIELDS({ "MESSAGE_ID", (id) }, { "CLIENT", (client)->address }, { "USER", (client)->user }, \
                { "IMAGE", (name) }, { "OPERATION", ivbs_op_to_string((client)->control.op) })

void client_audit_change(struct client *client, const char *name, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        log_event(LOG_NOTICE, AUDIT_FIELDS(client, MESSAGE_ADMIN_OPERATION, name), "%s (%s) %s", client->user,
                client->address, text);
}

void client_audit_attached(struct client *client) {
        const struct attachment *a = &client->attachment;
        const struct control *control = &client->control;

        log_event(LOG_INFO, AUDIT_FIELDS(client, MESSAGE_CLIENT_ATTACHED, a->image->name),
                "%s (%s) has attached %s for %s (%s, generation %ju)", client->user, client->address, a->image->name,
                a->writes ? "writing" : "reading", ivbs_op_to_string(control->op), (uintmax_t) a->generation);
        if (control->op == IVBS_OP_ATTACH_LEASE && control->writes && control->ousted.host[0])
                log_event(LOG_WARNING, AUDIT_FIELDS(client, MESSAGE_LEASE_TAKEN, a->image->name),
                        "%s (%s) has taken %s over from %s, which had it attached for writing", client->user,
                        client->address, a->image->name, control->ousted.host);
}

void client_refuse_right(struct client *client, const char *name, const char *what) {
        log_event(LOG_NOTICE, AUDIT_FIELDS(client, MESSAGE_RIGHTS_REFUSED, name), "%s (%s) has no right to %s %s",
                client->user, client->address, what, name);
        client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
}
