/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The proof that nothing is still to land. A host that has lost a session fences: the image's generation becomes one higher, durably; from there on whatever comes
 * from its other sessions is refused, whether it was received long ago and not looked at, or still is in a socket; and the answer waits until the changes that had
 * been let through before are over. What is answered EXPIRED was not executed, what is unanswered is over: the host may repeat it.
 *
 * The other sessions of that host are alive, perhaps. They come back, on the connection that they have, by RESUME with the new generation. That an attachment is
 * revived only when nothing of it is in hand is what keeps the proof whole: what a FENCE waits for must not be taken out of its sight. */

#include <assert.h>
#include <string.h>

#include "client.h"
#include "container-of.h"
#include "fault-point.h"
#include "log.h"

enum {
        LEASE_UNCHANGED = 100, /* look, and leave it */
};

/* The image that is attached is open: nothing of it needs to be found. */
static void change(struct client *client, store_lease_change_t callback) {
        struct control *control = &client->control;
        int r;

        r = client->proxy->store->ops->change_lease(control->image->handle, callback, control, &control->lease);
        if (r < 0 && r != -ESTALE)
                log_event(LOG_ERR, LOG_FIELDS({ "CLIENT", client->address }, { "IMAGE", control->image->name }),
                        "%s of %s for %s failed: %s", ivbs_op_to_string(control->op), control->image->name,
                        client->address, strerror(-r));

        control->stale = r < 0;
        if (r == LEASE_EXPIRED || r == -ESTALE)
                control->status = IVBS_STATUS_EXPIRED;
        else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ETIMEDOUT || r == -EAGAIN)
                control->status = IVBS_STATUS_TEMPORARY_ERROR;
        else
                control->status = r < 0 ? IVBS_STATUS_PERMANENT_ERROR : IVBS_STATUS_OK;
}

/* Back on the ring's thread. Whatever the record says counts for all attachments; returns whether it was what the client hoped for. */
static bool changed(struct client *client) {
        struct control *control = &client->control;

        if (control->stale) {
                client_control_end(client, control->status, NULL, 0);
                return false;
        }
        image_lease_is(control->image, &control->lease);
        if (control->status != IVBS_STATUS_OK || client->state == CLIENT_CLOSING) {
                client_control_end(client, control->status, NULL, 0);
                return false;
        }
        return true;
}

/* --- FENCE --- */

static int fence(struct lease *lease, void *userdata) {
        struct control *control = userdata;

        return lease_fence(lease, control->token, control->generation);
}

static void run_fence(struct job *job) {
        change(CLIENT_OF_JOB(job), fence);
        fault_point("fence-stored");
}

static void settled(struct image_waiter *waiter) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.waiter);
        const struct attachment *a = &client->attachment;
        uint8_t reply[IVBS_FENCE_REPLY_SIZE];

        fault_point("fence-settled");
        if (!a->image || a->expired) {
                client_control_end(client, IVBS_STATUS_EXPIRED, NULL, 0);
                return;
        }

        log_event(LOG_INFO, CLIENT_EVENT_FIELDS(client, MESSAGE_CLIENT_FENCED), "%s has fenced %s (generation %ju)",
                client->address, a->image->name, (uintmax_t) a->generation);
        ivbs_fence_reply_encode(a->generation, reply);
        client_control_end(client, IVBS_STATUS_OK, reply, sizeof(reply));
}

static void fenced(struct client *client) {
        struct control *control = &client->control;

        /* Before the others are told: this one goes on. */
        if (!control->stale && control->status == IVBS_STATUS_OK)
                client->attachment.generation = control->lease.generation;
        if (!changed(client))
                return;

        if (rule_is_off("fence-settle"))
                settled(&control->waiter);
        else
                image_settle(control->image, &control->waiter);
}

void client_fence(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        const struct attachment *a = &client->attachment;

        client_control_start(client, header);
        if (ivbs_fence_decode(payload, header->length, control->token, &control->generation) < 0 || !a->leased)
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
        else if (a->expired)
                client_control_end(client, IVBS_STATUS_EXPIRED, NULL, 0);
        else if (!a->writes)
                client_control_end(client, IVBS_STATUS_READ_ONLY, NULL, 0);
        else if (a->moved || !image_pin(a->image))
                /* It is another proxy's now, and what is in hand there cannot be seen from here. */
                client_control_end(client, IVBS_STATUS_USE_ANOTHER_PROXY, NULL, 0);
        else {
                control->image = image_ref(a->image);
                control->pinned = true;
                control->waiter.settled = settled;
                client_control_run(client, client->proxy->store_jobs, run_fence, fenced);
        }
}

/* --- RESUME of what is attached --- */

static int prove(struct lease *lease, void *userdata) {
        struct control *control = userdata;
        int r;

        r = rule_is_off("lease-generation") ? 0 : lease_resume(lease, control->token, control->generation);
        return r == 0 ? LEASE_UNCHANGED : r;
}

static void run_rejoin(struct job *job) {
        change(CLIENT_OF_JOB(job), prove);
}

/* Who only reads comes back for the image's size alone. */
static void run_look(struct job *job) {
        change(CLIENT_OF_JOB(job), NULL);
}

static void rejoin_settled(struct image_waiter *waiter) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.waiter);
        const struct attachment *a = &client->attachment;

        if (!a->image || a->expired)
                client_control_end(client, IVBS_STATUS_EXPIRED, NULL, 0);
        else
                client_answer_attached(client);
}

static void rejoined(struct client *client) {
        struct control *control = &client->control;

        if (!control->stale && control->status == IVBS_STATUS_OK && client->state != CLIENT_CLOSING)
                attachment_renew(&client->attachment, control->lease.generation);
        if (changed(client))
                image_settle(control->image, &control->waiter);
}

void client_rejoin_idle(struct client *client) {
        client_change(client);
}

void client_rejoin(struct client *client, const struct ivbs_resume *resume) {
        struct control *control = &client->control;
        const struct attachment *a = &client->attachment;

        bool writes = !(resume->flags & IVBS_LEASE_READ_ONLY);

        if (a->leased != writes || strcmp(resume->name, a->image->name) != 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (writes && !a->writes) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }

        control->image = image_ref(a->image);
        control->writes = writes;
        control->prove = control->change = writes ? run_rejoin : run_look;
        control->changed = rejoined;
        control->retried = true; /* what it has attached is the image that it means */
        control->waiter.settled = rejoin_settled;
        memcpy(control->token, resume->token, LEASE_TOKEN_SIZE);
        control->generation = resume->generation;
        if (a->n_ios == 0)
                client_rejoin_idle(client);
}
