/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image gets another size, and all sessions hear of it.
 *
 * To grow is harmless: whoever has the image attached reaches no further than before until it has asked for the new size (RESUME), and what is added is zero.
 *
 * To shrink takes data away. So it has to be meant (a flag), and where the image is attached for writing it is for that very machine to do, which has made its device smaller first. It needs
 * the image held, so that no other proxy writes, and quiet, so that nothing which was let through before lands beyond the new end later:
 *
 *     look (may it?) ──▶ hold ──▶ quiesce ──▶ record, then data ──▶ tell ──▶ answer
 *
 * Sessions have a limit of their own, which only falls by itself: a request that was sent when the image was larger does not take effect after it has been made smaller and larger
 * again. That is the size epoch, enforced. */

#include <string.h>

#include "client.h"
#include "container-of.h"
#include "log.h"

#define SECTOR_SIZE 512U

enum {
        RESIZE_IN_USE = 1,
        RESIZE_NOT_MEANT,
};

void client_tell_size(struct client *client) {
        const struct store_size *size = &client->attachment.image->size;
        struct ivbs_notice notice = { IVBS_NOTICE_SIZE, size->bytes, size->epoch };
        uint8_t data[IVBS_NOTICE_SIZE_LENGTH];

        if (client->state != CLIENT_ATTACHED || !(client->caps & IVBS_CAP_NOTICE))
                return;

        ivbs_notice_size_encode(&notice, data);
        client_answer_copy(client, IVBS_OP_NOTICE, 0, IVBS_STATUS_OK, data,
                client->caps & IVBS_CAP_RESIZE ? IVBS_NOTICE_SIZE_LENGTH : IVBS_NOTICE_LENGTH);
}

/* --- on the store's thread --- */

static int check(const struct lease *lease, uint64_t old_size, uint64_t new_size, void *userdata) {
        const struct control *control = userdata;

        if (new_size >= old_size)
                return 0;
        if (!(control->flags & IVBS_RESIZE_SHRINK))
                return RESIZE_NOT_MEANT;
        if (lease->live && !lease_same_machine(&lease->holder, &control->holder))
                return RESIZE_IN_USE;
        return control->image->n_unleased_writers > 0 ? RESIZE_IN_USE : 0;
}

/* Whatever it came to, in terms of the protocol. */
static void conclude(struct client *client, int r) {
        struct control *control = &client->control;

        control->stale = r == -ESTALE;
        /* A snapshot is what it is. */
        if (r == -EROFS)
                control->status = IVBS_STATUS_READ_ONLY;
        else if (r == RESIZE_IN_USE)
                control->status = IVBS_STATUS_IN_USE;
        else if (r == RESIZE_NOT_MEANT)
                control->status = IVBS_STATUS_INVALID_REQUEST;
        else
                client_note(client, r);
}

static bool is_meant(const struct control *control) {
        return sd_id128_is_null(control->uuid) || sd_id128_equal(control->uuid, control->image->handle->uuid);
}

/* Whether it may be, by what the record says now. */
static void run_look(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        const struct store_ops *ops = client->proxy->store->ops;
        struct store_size size;
        int r;

        r = client_open_image(client);
        if (r >= 0 && !is_meant(control))
                r = -ENOENT;
        if (r >= 0)
                r = ops->change_lease(control->image->handle, NULL, NULL, &control->lease);
        if (r >= 0) {
                ops->get_size(control->image->handle, &size);
                r = check(&control->lease, size.bytes, control->size, control);
        }
        conclude(client, r);
}

static void run_resize(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        int r;

        r = client_open_image(client);
        if (r >= 0 && !is_meant(control))
                r = -ENOENT;
        if (r >= 0)
                r = client->proxy->store->ops->resize(
                        control->image->handle, control->size, check, control, &control->lease);
        conclude(client, r);
}

/* --- on the ring's --- */

static void resized(struct client *client) {
        struct control *control = &client->control;
        struct image *image = control->image;
        struct ivbs_resize_reply reply;
        uint8_t data[IVBS_RESIZE_REPLY_SIZE];

        if (control->quiesced)
                image_unquiesce(image);
        control->quiesced = false;
        if (client_try_anew(client))
                return;
        if (control->status != IVBS_STATUS_OK) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }

        image_lease_is(image, &control->lease);
        client_audit_change(client, image->name, "has given %s the size of %ju bytes (size epoch %ju)", image->name,
                (uintmax_t) image->size.bytes, (uintmax_t) image->size.epoch);
        reply = (struct ivbs_resize_reply){ image->size.bytes, image->size.epoch };
        ivbs_resize_reply_encode(&reply, data);
        client_control_end(client, IVBS_STATUS_OK, data, sizeof(data));
}

static void quiet(struct image_waiter *waiter) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.waiter);

        client_control_run(client, client->proxy->store_jobs, run_resize, resized);
}

/* It is held. */
static void looked(struct client *client) {
        struct control *control = &client->control;

        if (client_try_anew(client))
                return;
        if (control->status != IVBS_STATUS_OK) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }

        /* What is being made of it is of all that it has. */
        if (control->image->gate) {
                client_control_end(client, IVBS_STATUS_NOT_READY, NULL, 0);
                return;
        }
        control->quiesced = true;
        control->waiter.settled = quiet;
        image_quiesce(control->image, &control->waiter);
}

void client_resize_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        const struct users *users = client->proxy->users;
        struct ivbs_resize_image resize;

        client_control_start(client, header);
        if (ivbs_resize_image_decode(payload, header->length, &resize) < 0 || resize.size % SECTOR_SIZE != 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!users_is_admin(users, client->user) && !users_may_write(users, client->user, resize.name)) {
                client_refuse_right(client, resize.name, "resize");
                return;
        }

        strcpy(control->name, resize.name);
        memcpy(control->uuid.bytes, resize.uuid, IVBS_UUID_SIZE);
        control->size = resize.size;
        control->flags = resize.flags & IVBS_RESIZE_SHRINK;
        control->holder = client->holder;
        control->image = images_acquire(client->proxy->images, control->name);
        if (!control->image) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }

        control->writes = control->flags & IVBS_RESIZE_SHRINK;
        control->prove = run_look;
        control->change = control->writes ? run_look : run_resize;
        control->changed = control->writes ? looked : resized;
        client_change(client);
}
