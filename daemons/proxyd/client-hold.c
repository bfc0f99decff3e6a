/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A client's way to an image that it is to write. This proxy has to hold the image (image-hold.c), and to get it from another one disturbs others. So the client's claim is looked at
 * first, then the image is held, and only then the decision falls, on what the record says by that time:
 *
 *     prove ──▶ hold ──▶ change ──▶ settle ──▶ answer
 *
 * The image stays pinned until the answer is out. When it is held already, the first two steps are left out; who only reads needs neither. */

#include <string.h>

#include "client.h"
#include "container-of.h"
#include "log.h"

bool client_try_anew(struct client *client) {
        struct control *control = &client->control;
        struct image *fresh;

        if (!control->stale || control->retried)
                return false;

        image_forget(control->image);
        fresh = images_acquire(client->proxy->images, control->image->name);
        if (!fresh)
                return false;
        if (control->pinned)
                image_unpin(control->image);
        control->pinned = false;
        image_release(control->image);
        control->image = fresh;
        control->retried = true;
        client_change(client);
        return true;
}

static enum ivbs_status status_of_hold(const struct control *control, int error) {
        switch (-error) {
        case EBUSY:
                if (control->op == IVBS_OP_RESIZE_IMAGE)
                        return IVBS_STATUS_IN_USE;
                return control->op == IVBS_OP_ATTACH_TO_IMAGE ? IVBS_STATUS_NOT_READY : IVBS_STATUS_HELD;
        case ESHUTDOWN:
        case ENODEV:
                return IVBS_STATUS_USE_ANOTHER_PROXY;
        default:
                return IVBS_STATUS_TEMPORARY_ERROR;
        }
}

/* What has not been told by whoever found it. */
static bool is_worth_telling(int error) {
        return error != -EBUSY && error != -ESHUTDOWN && error != -ENODEV && error != -ETIMEDOUT && error != -ESTALE;
}

static void held(struct hold_waiter *waiter, int error) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.hold);
        struct control *control = &client->control;

        if (error == 0) {
                control->pinned = true;
                client_control_run(client, client->proxy->store_jobs, control->change, control->changed);
                return;
        }

        if (is_worth_telling(error))
                log_event(LOG_ERR, LOG_FIELDS({ "CLIENT", client->address }, { "IMAGE", control->image->name }),
                        "%s cannot be held for %s: %s", control->image->name, client->address, strerror(-error));
        control->stale = error == -ESTALE;
        if (client_try_anew(client))
                return;
        /* Only a client without a lease, at the proxy that holds the image, stands in the way of one that takes a lease. */
        control->lease = (struct lease){ .holder = { .host = "a-classic-client" } };
        control->status = status_of_hold(control, error);
        client_answer_refused(client);
}

static void proved(struct client *client) {
        struct control *control = &client->control;

        if (client_try_anew(client))
                return;
        if (control->status != IVBS_STATUS_OK) {
                client_answer_refused(client);
                return;
        }

        control->hold.held = held;
        if (control->op == IVBS_OP_ATTACH_TO_IMAGE)
                control->hold.why = HAND_OVER_CLASSIC;
        else if (control->op == IVBS_OP_RESUME || (control->flags & IVBS_LEASE_STEAL))
                control->hold.why = HAND_OVER_PROVEN;
        else
                control->hold.why = HAND_OVER_TAKE;
        image_hold(control->image, &control->hold);
}

void client_change(struct client *client) {
        struct control *control = &client->control;
        struct jobs *jobs = client->proxy->store_jobs;

        if (control->writes)
                control->pinned = image_pin(control->image);
        if (control->writes && !control->pinned)
                client_control_run(client, jobs, control->prove, proved);
        else
                client_control_run(client, jobs, control->change, control->changed);
}
