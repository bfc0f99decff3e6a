/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image's life between create and remove: other names, snapshots, and what is made of them. What takes its time is a job (image-job.h): the client is answered when it is over, or told its id as soon as it is
 * clear that it will take a while, so that its session can be used meanwhile. */

#include <string.h>

#include "client.h"
#include "container-of.h"
#include "ivbs-lifecycle.h"
#include "log.h"

/* Decodes what most of these have in common into control. Answers and returns false when it makes no sense. */
static bool start(struct client *client, const struct ivbs_header *header, const uint8_t *payload, bool snapshot,
        bool new_name) {
        struct control *control = &client->control;
        struct ivbs_image_change change;

        client_control_start(client, header);
        if (ivbs_image_change_decode(payload, header->length, &change) < 0 || change.flags != 0 ||
                (snapshot && !ivbs_new_name_is_valid(change.snapshot)) ||
                (new_name && !ivbs_new_name_is_valid(change.new_name))) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return false;
        }

        strcpy(control->name, change.name);
        strcpy(control->snapshot, change.snapshot);
        strcpy(control->new_name, change.new_name);
        memcpy(control->uuid.bytes, change.uuid, IVBS_UUID_SIZE);
        return true;
}

static bool allowed(struct client *client, bool yes) {
        if (yes)
                return true;

        client_refuse_right(
                client, client->control.name, client->control.op == IVBS_OP_LIST_SNAPSHOTS ? "read" : "change");
        return false;
}

static bool may_read(const struct client *client, const char *name) {
        const struct users *users = client->proxy->users;

        return users_is_admin(users, client->user) || users_may_read(users, client->user, name);
}

/* Answers and returns false when a session has the image here; who has it elsewhere is seen by the store. */
static bool is_idle(struct client *client) {
        const struct image *image = images_find(client->proxy->images, client->control.name);

        if (!image || !image_is_attached(image))
                return true;
        client_control_end(client, IVBS_STATUS_IN_USE, NULL, 0);
        return false;
}

static void answer_plainly(struct client *client) {
        struct control *control = &client->control;

        if (client_should_try_again(client)) {
                client_control_run(client, client->proxy->store_jobs, control->job.run, answer_plainly);
                return;
        }
        if (control->status == IVBS_STATUS_OK)
                client_audit_change(client, control->name, "has done %s of %s%s%s", ivbs_op_to_string(control->op),
                        control->name,
                        control->new_name[0]   ? " to "
                        : control->snapshot[0] ? "@"
                                               : "",
                        control->new_name[0] ? control->new_name : control->snapshot);
        client_control_end(client, control->status, NULL, 0);
}

/* --- rename --- */

static void run_rename(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client, store->ops->rename(store, control->name, control->uuid, control->new_name));
}

void client_rename_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;

        if (start(client, header, payload, false, true) &&
                allowed(client,
                        client_may_change(client, control->name) && client_may_change(client, control->new_name)) &&
                is_idle(client))
                client_control_run(client, client->proxy->store_jobs, run_rename, answer_plainly);
}

/* --- lists, and remove --- */

static void run_list(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client,
                store->ops->list_snapshots(store, control->name, control->snapshot[0] ? control->snapshot : NULL,
                        control->limit, &control->listed_snapshots, &control->n_listed, &control->more));
}

static void listed(struct client *client) {
        struct control *control = &client->control;
        uint8_t *data = NULL;
        size_t n = 8;

        if (control->status == IVBS_STATUS_OK) {
                data = malloc(n + control->n_listed * IVBS_LISTED_SNAPSHOT_SIZE_MAX);
                if (!data)
                        control->status = IVBS_STATUS_TEMPORARY_ERROR;
        }
        if (!data) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }

        ivbs_list_reply_start_encode((uint32_t) control->n_listed, control->more, data);
        for (size_t i = 0; i < control->n_listed; i++) {
                const struct store_listed_snapshot *found = control->listed_snapshots + i;
                struct ivbs_listed_snapshot snapshot = {
                        .size = found->size,
                        .used = found->used,
                        .created_usec = found->created_usec,
                        .flags = found->open ? IVBS_LISTED_ATTACHED : 0,
                };

                memcpy(snapshot.uuid, found->uuid.bytes, IVBS_UUID_SIZE);
                strcpy(snapshot.name, found->name);
                n += ivbs_listed_snapshot_encode(&snapshot, data + n);
        }
        client_control_end_take(client, IVBS_STATUS_OK, data, n);
}

void client_list_snapshots(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_list_snapshots list;
        uint32_t fitting;

        client_control_start(client, header);
        if (ivbs_list_snapshots_decode(payload, header->length, &list) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        strcpy(control->name, list.name);
        strcpy(control->snapshot, list.after);
        fitting = client->max_length > 8 + IVBS_LISTED_SNAPSHOT_SIZE_MAX
                          ? (client->max_length - 8) / IVBS_LISTED_SNAPSHOT_SIZE_MAX
                          : 1;
        control->limit = list.limit < fitting ? list.limit : fitting;
        if (allowed(client, may_read(client, list.name)))
                client_control_run(client, client->proxy->store_jobs, run_list, listed);
}

static void run_remove(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client, store->ops->remove_snapshot(store, control->name, control->snapshot, control->uuid));
}

void client_remove_snapshot(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        if (start(client, header, payload, true, false) &&
                allowed(client, client_may_change(client, client->control.name)))
                client_control_run(client, client->proxy->store_jobs, run_remove, answer_plainly);
}

/* --- what is made of it --- */

static void make_copy(struct client *client);

static void told(struct image_job_waiter *waiter, struct image_job *job) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.job_waiter);
        struct ivbs_change_reply reply = {};
        uint8_t data[IVBS_CHANGE_REPLY_SIZE];
        struct image_job_status status;
        sd_id128_t id = image_job_id(job);

        image_job_get_status(job, &status);
        if (status.state == IMAGE_JOB_FAILED || status.state == IMAGE_JOB_CANCELLED) {
                client->control.status = client_status_of_store(status.error);
                if (client_should_try_again(client))
                        make_copy(client);
                else
                        client_control_end(client, client->control.status, NULL, 0);
                return;
        }

        if (status.state == IMAGE_JOB_DONE)
                memcpy(reply.uuid, status.made.bytes, IVBS_UUID_SIZE);
        else
                memcpy(reply.job, id.bytes, IVBS_UUID_SIZE);
        ivbs_change_reply_encode(&reply, data);
        client_control_end(client, IVBS_STATUS_OK, data, sizeof(data));
}

static void make_copy(struct client *client) {
        struct control *control = &client->control;
        const struct store_copy_how how = {
                .kind = control->op == IVBS_OP_CLONE_IMAGE    ? STORE_COPY_CLONE
                        : control->op == IVBS_OP_SNAPSHOT     ? STORE_COPY_SNAPSHOT
                        : control->op == IVBS_OP_CREATE_IMAGE ? STORE_COPY_NEW
                                                              : STORE_COPY_ROLL_BACK,
                .name = control->name,
                .uuid = control->uuid,
                .snapshot = control->snapshot,
                .new_name = control->new_name,
                .size = control->op == IVBS_OP_CREATE_IMAGE ? control->size : 0,
        };

        control->job_waiter.told = told;
        if (image_job_start(client->proxy->image_jobs, &how, client->user, &control->job_waiter) < 0)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
}

void client_preallocate(struct client *client) {
        make_copy(client);
}

void client_copy_image(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        const struct control *control = &client->control;
        bool clone = header->op == IVBS_OP_CLONE_IMAGE;

        if (!start(client, header, payload, true, clone))
                return;
        if (!allowed(client, clone ? may_read(client, control->name) && client_may_change(client, control->new_name)
                                   : client_may_change(client, control->name)))
                return;
        if (header->op == IVBS_OP_SNAPSHOT && (!ivbs_new_name_is_valid(control->name) ||
                                                      !ivbs_snapshot_name_fits(control->name, control->snapshot))) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (header->op != IVBS_OP_ROLL_BACK || is_idle(client))
                make_copy(client);
}

/* --- jobs --- */

/* Whoever may not know of a job, for him there is none. */
static struct image_job *find_job(struct client *client, const uint8_t *payload) {
        struct image_job *job;
        sd_id128_t id;

        memcpy(id.bytes, payload, IVBS_JOB_SIZE);
        job = image_jobs_find(client->proxy->image_jobs, id);
        if (job &&
                (strcmp(image_job_user(job), client->user) == 0 || users_is_admin(client->proxy->users, client->user)))
                return job;
        return NULL;
}

void client_job_status(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct image_job *job = find_job(client, payload);
        uint8_t data[IVBS_JOB_REPLY_SIZE];
        struct image_job_status status;
        struct ivbs_job_reply reply;

        if (!job) {
                client_answer(client, header->op, header->sequence, IVBS_STATUS_NOT_FOUND);
                return;
        }

        image_job_get_status(job, &status);
        reply = (struct ivbs_job_reply){
                .state = status.state == IMAGE_JOB_DONE        ? IVBS_JOB_DONE
                         : status.state == IMAGE_JOB_FAILED    ? IVBS_JOB_FAILED
                         : status.state == IMAGE_JOB_CANCELLED ? IVBS_JOB_CANCELLED
                                                               : IVBS_JOB_RUNNING,
                .status = status.state == IMAGE_JOB_FAILED ? client_status_of_store(status.error) : IVBS_STATUS_OK,
                .done = status.done,
                .total = status.total,
                .elapsed_usec = status.elapsed_usec,
        };
        memcpy(reply.uuid, status.made.bytes, IVBS_UUID_SIZE);
        ivbs_job_reply_encode(&reply, data);
        client_answer_copy(client, header->op, header->sequence, IVBS_STATUS_OK, data, sizeof(data));
}

void client_job_cancel(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct image_job *job = find_job(client, payload);

        if (job)
                image_job_cancel(job);
        client_answer(client, header->op, header->sequence, job ? IVBS_STATUS_OK : IVBS_STATUS_NOT_FOUND);
}
