/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store's images, for those who may: a list shows what a user may read (an administrator: all); an image is made
 * and removed by an administrator or by who may write it. */

#include <string.h>

#include "client.h"
#include "ivbs-lifecycle.h"
#include "log.h"

#define SECTOR_SIZE 512U
#define TRIES_MAX   8U

bool client_may_change(const struct client *client, const char *name) {
        const struct users *users = client->proxy->users;

        return users_is_admin(users, client->user) || users_may_write(users, client->user, name);
}

enum ivbs_status client_status_of_store(int error) {
        switch (-error) {
        case 0:
                return IVBS_STATUS_OK;
        case ENOENT:
                return IVBS_STATUS_NOT_FOUND;
        case EEXIST:
                return IVBS_STATUS_ALREADY_EXISTS;
        case EBUSY:
                return IVBS_STATUS_IN_USE;
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
                return IVBS_STATUS_NO_SPACE;
        case ENOTEMPTY:
                return IVBS_STATUS_HAS_SNAPSHOTS;
        case EAGAIN:
                return IVBS_STATUS_NOT_READY;
        case EOPNOTSUPP:
                return IVBS_STATUS_NOT_SUPPORTED;
        case EREMOTE: /* another proxy has taken the image meanwhile */
        case ESHUTDOWN:
        case ENODEV:
                return IVBS_STATUS_USE_ANOTHER_PROXY;
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case ESTALE:
        case ETIMEDOUT:
        case ECANCELED:
                return IVBS_STATUS_TEMPORARY_ERROR;
        default:
                return IVBS_STATUS_PERMANENT_ERROR;
        }
}

void client_note(struct client *client, int error) {
        struct control *control = &client->control;

        control->status = client_status_of_store(error);
        if (control->status == IVBS_STATUS_NOT_SUPPORTED && !(client->caps & IVBS_CAP_CARE))
                control->status = IVBS_STATUS_PERMANENT_ERROR;
        if (control->status == IVBS_STATUS_PERMANENT_ERROR || control->status == IVBS_STATUS_NO_SPACE)
                log_event(LOG_ERR,
                        LOG_FIELDS(
                                { "CLIENT", client->address }, { "IMAGE", control->name[0] ? control->name : NULL }),
                        "%s %s for %s failed: %s", ivbs_op_to_string(control->op), control->name, client->address,
                        strerror(-error));
}

bool client_should_try_again(struct client *client) {
        struct control *control = &client->control;
        const struct image *image = images_find(client->proxy->images, control->name);

        if (control->status != IVBS_STATUS_IN_USE || (image && image_is_attached(image)))
                return false;
        return ++control->n_tries < TRIES_MAX;
}

/* --- list --- */

static bool may_see(const char *name, void *userdata) {
        const struct client *client = userdata;
        const struct users *users = client->control.users;

        return users_is_admin(users, client->user) || users_may_read(users, client->user, name);
}

static void run_list(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client, store->ops->list(store, control->name[0] ? control->name : NULL, may_see, client,
                                    control->limit, &control->listed, &control->n_listed, &control->more));
}

static void listed(struct client *client) {
        struct control *control = &client->control;
        uint8_t *data;
        size_t n = 8;

        if (control->status != IVBS_STATUS_OK) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }
        data = malloc(n + control->n_listed * IVBS_LISTED_IMAGE_SIZE_MAX);
        if (!data) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }

        ivbs_list_reply_start_encode((uint32_t) control->n_listed, control->more, data);
        for (size_t i = 0; i < control->n_listed; i++) {
                const struct store_listed *found = control->listed + i;
                struct ivbs_listed_image image = { .size = found->size, .used = found->used };
                struct image *open = images_find(client->proxy->images, found->name);

                memcpy(image.uuid, found->uuid.bytes, IVBS_UUID_SIZE);
                strcpy(image.name, found->name);
                if (found->leased || (open && image_is_attached(open)))
                        image.flags |= IVBS_LISTED_ATTACHED;
                n += ivbs_listed_image_encode(&image, data + n);
        }
        client_control_end_take(client, IVBS_STATUS_OK, data, n);
}

void client_list_images(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        uint32_t fitting;

        client_control_start(client, header);
        if (ivbs_list_images_decode(payload, header->length, control->name, &control->limit) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        fitting = client->max_length > 8 + IVBS_LISTED_IMAGE_SIZE_MAX
                          ? (client->max_length - 8) / IVBS_LISTED_IMAGE_SIZE_MAX
                          : 1;
        if (control->limit > fitting)
                control->limit = fitting;
        control->users = users_ref(client->proxy->users);
        client_control_run(client, client->proxy->store_jobs, run_list, listed);
}

/* --- create --- */

static void run_create(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;
        bool checksums = control->flags & IVBS_CREATE_CHECKSUMS;
        int r;

        r = checksums && !store->ops->add_checksums
                    ? -EOPNOTSUPP
                    : store->ops->create(store, control->name, control->size, control->flags & IVBS_CREATE_PREALLOCATE,
                              &control->uuid);
        if (r >= 0 && checksums) {
                r = store->ops->add_checksums(store, control->name);
                /* It is not what was asked for. */
                if (r < 0)
                        (void) store->ops->remove(store, control->name, control->uuid, false);
        }
        client_note(client, r);
}

/* Only who is granted SNAPSHOTS can ask after a job. */
static bool wants_job(const struct client *client) {
        return (client->control.flags & IVBS_CREATE_AS_JOB) && (client->caps & IVBS_CAP_SNAPSHOTS);
}

static void created(struct client *client) {
        struct control *control = &client->control;
        bool ok = control->status == IVBS_STATUS_OK;
        struct ivbs_change_reply reply = {};
        uint8_t data[IVBS_CHANGE_REPLY_SIZE];

        if (ok)
                client_audit_change(client, control->name, "has created %s of %ju bytes", control->name,
                        (uintmax_t) control->size);
        if (ok && wants_job(client)) {
                memcpy(reply.uuid, control->uuid.bytes, IVBS_UUID_SIZE);
                ivbs_change_reply_encode(&reply, data);
                client_control_end(client, control->status, data, sizeof(data));
        } else
                client_control_end(client, control->status, control->uuid.bytes, ok ? IVBS_UUID_SIZE : 0);
}

void client_create_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        const struct store_ops *ops = client->proxy->store->ops;
        struct control *control = &client->control;
        struct ivbs_create_image create;

        client_control_start(client, header);
        /* A block device cannot end within a sector. What is behind '@' would be a snapshot. */
        if (ivbs_create_image_decode(payload, header->length, &create) < 0 || create.size % SECTOR_SIZE != 0 ||
                !ivbs_new_name_is_valid(create.name) ||
                ((create.flags & IVBS_CREATE_CHECKSUMS) && !(client->caps & IVBS_CAP_CARE))) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!client_may_change(client, create.name)) {
                client_refuse_right(client, create.name, "create");
                return;
        }

        strcpy(control->name, create.name);
        control->size = create.size;
        control->flags = create.flags;
        if ((create.flags & IVBS_CREATE_PREALLOCATE) && ops->preallocates_slowly) {
                if (wants_job(client) && (!(create.flags & IVBS_CREATE_CHECKSUMS) || ops->add_checksums))
                        client_preallocate(client);
                else {
                        client_note(client, -EOPNOTSUPP);
                        client_control_end(client, control->status, NULL, 0);
                }
                return;
        }
        client_control_run(client, client->proxy->store_jobs, run_create, created);
}

/* --- remove --- */

static void run_remove(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client,
                store->ops->remove(store, control->name, control->uuid, control->flags & IVBS_REMOVE_SNAPSHOTS_TOO));
}

static void removed(struct client *client) {
        struct control *control = &client->control;

        if (client_should_try_again(client)) {
                client_control_run(client, client->proxy->store_jobs, run_remove, removed);
                return;
        }
        if (control->status == IVBS_STATUS_OK)
                client_audit_change(client, control->name, "has removed %s", control->name);
        client_control_end(client, control->status, NULL, 0);
}

void client_remove_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_remove_image remove;
        const struct image *image;

        client_control_start(client, header);
        if (ivbs_remove_image_decode(payload, header->length, &remove) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!client_may_change(client, remove.name)) {
                client_refuse_right(client, remove.name, "remove");
                return;
        }
        strcpy(control->name, remove.name);
        control->flags = remove.flags;
        memcpy(control->uuid.bytes, remove.uuid, IVBS_UUID_SIZE);
        /* Who has it elsewhere is seen by the store. */
        image = images_find(client->proxy->images, remove.name);
        if (image && image_is_attached(image)) {
                client_control_end(client, IVBS_STATUS_IN_USE, NULL, 0);
                return;
        }
        client_control_run(client, client->proxy->store_jobs, run_remove, removed);
}
