/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* STORE_STATUS, for administrators: what the store has left, and who has what through this proxy. Of the sessions at other proxies of the store each of those knows its own. */

#include <string.h>

#include "client.h"
#include "ivbs-admin.h"
#include "log.h"

/* size and generation of the control are its results here: total and available. */
static void run(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;
        int r;

        r = store->ops->get_capacity(store, &control->size, &control->generation);
        /* Nothing to tell is no failure. */
        if (r == -ENODATA)
                control->size = control->generation = 0;
        client_note(client, r == -ENODATA ? 0 : r);
}

static bool has_image(const struct client *client) {
        return client->attachment.image && !client->attachment.expired && !client->attachment.ended;
}

static size_t encode_session(const struct client *client, uint8_t *ret) {
        const struct attachment *attachment = &client->attachment;
        struct ivbs_store_session session = {
                .flags = (attachment->writes ? IVBS_SESSION_WRITES : 0) |
                         (attachment->leased ? IVBS_SESSION_LEASED : 0) | (attachment->moved ? IVBS_SESSION_MOVED : 0),
                .generation = attachment->generation,
        };

        (void) snprintf(session.image, sizeof(session.image), "%s", attachment->image->name);
        (void) snprintf(session.user, sizeof(session.user), "%s", client->user);
        (void) snprintf(session.address, sizeof(session.address), "%s", client->address);
        (void) snprintf(session.host, sizeof(session.host), "%s", client->holder.host);
        return ivbs_store_session_encode(&session, ret);
}

static void finish(struct client *client) {
        struct control *control = &client->control;
        struct ivbs_store_status status = { .total = control->size, .available = control->generation };
        size_t n = IVBS_STORE_STATUS_SIZE, room = client->max_length;
        struct client *other;
        uint8_t *data;

        if (control->status != IVBS_STATUS_OK) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }
        TAILQ_FOREACH(other, &client->proxy->clients, entry) {
                status.clients++;
                status.sessions += has_image(other) && status.sessions < IVBS_STORE_SESSIONS_MAX;
        }
        if (room > IVBS_STORE_STATUS_SIZE + (size_t) status.sessions * IVBS_STORE_SESSION_SIZE_MAX)
                room = IVBS_STORE_STATUS_SIZE + (size_t) status.sessions * IVBS_STORE_SESSION_SIZE_MAX;
        data = malloc(room < IVBS_STORE_STATUS_SIZE ? IVBS_STORE_STATUS_SIZE : room);
        if (!data) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }

        status.sessions = 0;
        TAILQ_FOREACH(other, &client->proxy->clients, entry)
                if (has_image(other) && n + IVBS_STORE_SESSION_SIZE_MAX <= room) {
                        n += encode_session(other, data + n);
                        status.sessions++;
                }
        ivbs_store_status_encode(&status, data);
        client_control_end_take(client, IVBS_STATUS_OK, data, n);
}

void client_store_status(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        if (!users_is_admin(client->proxy->users, client->user)) {
                log_event(LOG_NOTICE, CLIENT_FIELDS(client), "%s (%s) has no right to the store's status",
                        client->user, client->address);
                client_answer(client, header->op, header->sequence, IVBS_STATUS_PERMISSION_DENIED);
                return;
        }
        client_control_start(client, header);
        client_control_run(client, client->proxy->store_jobs, run, finish);
}
