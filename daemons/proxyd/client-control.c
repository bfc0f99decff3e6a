/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slow operation from its packet to its answer: the input rests, a thread works, the answer goes out, the input goes
 * on. What the operation has taken is given back here, in one place, whatever came of it. */

#include <string.h>

#include "client.h"

static void done(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);

        client->control.finish(client);
}

void client_control_start(struct client *client, const struct ivbs_header *header) {
        client->control = (struct control){ .busy = true, .op = header->op, .sequence = header->sequence };
        client_pause(client, PAUSE_CONTROL);
}

void client_control_run(struct client *client, struct jobs *jobs, void (*run)(struct job *job),
        void (*finish)(struct client *client)) {
        struct control *control = &client->control;

        control->job = (struct job){ .run = run, .done = done };
        control->finish = finish;
        if (jobs_submit(jobs, &control->job) < 0)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
}

static void clear(struct control *control) {
        if (control->pinned)
                image_unpin(control->image);
        image_release(control->image);
        users_unref(control->users);
        users_unref(control->new_users);
        free(control->message);
        free(control->listed);
        free(control->listed_snapshots);
        explicit_bzero(control, sizeof(*control));
}

static void resume(struct client *client) {
        client_resume(client, PAUSE_CONTROL);
        client_settle(client);
}

void client_control_end(struct client *client, enum ivbs_status status, const void *payload, size_t n) {
        uint32_t op = client->control.op, sequence = client->control.sequence;

        client_answer_copy(client, op, sequence, status, payload, n);
        clear(&client->control);
        resume(client);
}

void client_control_end_take(struct client *client, enum ivbs_status status, void *payload, size_t n) {
        uint32_t op = client->control.op, sequence = client->control.sequence;

        client_answer_take(client, op, sequence, status, payload, n);
        clear(&client->control);
        resume(client);
}

void client_control_end_last(struct client *client, enum ivbs_status status) {
        uint32_t op = client->control.op, sequence = client->control.sequence;

        client_answer_last(client, op, sequence, status);
        clear(&client->control);
        resume(client);
}
