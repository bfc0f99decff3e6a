/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looking after an image: scrubs, which are jobs (image-job.h), limits, and what is known of both. */

#include <string.h>

#include "client.h"
#include "container-of.h"
#include "ivbs-care.h"
#include "ivbs-lifecycle.h"
#include "log.h"

static bool may_look(const struct client *client, const char *name) {
        const struct users *users = client->proxy->users;

        return users_is_admin(users, client->user) || users_may_read(users, client->user, name);
}

/* --- scrub --- */

static void told(struct image_job_waiter *waiter, struct image_job *job) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.job_waiter);
        struct ivbs_change_reply reply = {};
        uint8_t data[IVBS_CHANGE_REPLY_SIZE];
        struct image_job_status status;
        sd_id128_t id = image_job_id(job);

        image_job_get_status(job, &status);
        if (status.state == IMAGE_JOB_FAILED || status.state == IMAGE_JOB_CANCELLED) {
                client_control_end(client,
                        status.error == -EOPNOTSUPP ? IVBS_STATUS_NO_CHECKSUMS : client_status_of_store(status.error),
                        NULL, 0);
                return;
        }
        if (status.state != IMAGE_JOB_DONE)
                memcpy(reply.job, id.bytes, IVBS_UUID_SIZE);
        ivbs_change_reply_encode(&reply, data);
        client_control_end(client, IVBS_STATUS_OK, data, sizeof(data));
}

void client_scrub(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_remove_image scrub;

        client_control_start(client, header);
        if (ivbs_remove_image_decode(payload, header->length, &scrub) < 0 || scrub.flags != 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!client_may_change(client, scrub.name)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }
        if (!client->proxy->image_jobs || !client->proxy->store->ops->scrub_begin) {
                client_control_end(client, IVBS_STATUS_NOT_SUPPORTED, NULL, 0);
                return;
        }
        strcpy(control->name, scrub.name);
        memcpy(control->uuid.bytes, scrub.uuid, IVBS_UUID_SIZE);
        control->job_waiter.told = told;
        if (image_job_start_scrub(
                    client->proxy->image_jobs, control->name, control->uuid, client->user, &control->job_waiter) < 0)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
}

/* --- looking --- */

static void run_look(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client, store->ops->look_at_care(store, control->name, &control->care));
}

static void looked(struct client *client) {
        struct control *control = &client->control;
        const struct store_care *care = &control->care;
        const struct store_scrub_report *scrub = &care->scrub;
        uint8_t data[IVBS_CARE_REPLY_SIZE];
        struct ivbs_care reply;

        if (control->status != IVBS_STATUS_OK) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }
        reply = (struct ivbs_care){
                .flags = (care->checksums ? IVBS_CARE_CHECKSUMS : 0) |
                         (client->proxy->store->ops->add_checksums ? 0 : IVBS_CARE_CHECKED_BY_STORE),
                .scrub_state = scrub->state == STORE_SCRUB_RUNNING     ? IVBS_SCRUB_RUNNING
                               : scrub->state == STORE_SCRUB_DONE      ? IVBS_SCRUB_DONE
                               : scrub->state == STORE_SCRUB_FAILED    ? IVBS_SCRUB_FAILED
                               : scrub->state == STORE_SCRUB_CANCELLED ? IVBS_SCRUB_CANCELLED
                                                                       : IVBS_SCRUB_NEVER,
                .iops = care->limits.iops,
                .bandwidth = care->limits.bandwidth,
                .burst_usec = care->limits.burst_usec,
                .began_usec = scrub->began_usec,
                .updated_usec = scrub->updated_usec,
                .done = scrub->done,
                .size = scrub->size,
                .damaged = scrub->damaged,
                .unknown = scrub->unknown,
                .n_offsets = (uint32_t) scrub->n_offsets,
        };
        memcpy(reply.offsets, scrub->offsets, sizeof(reply.offsets));
        ivbs_care_encode(&reply, data);
        client_control_end(client, IVBS_STATUS_OK, data, sizeof(data));
}

void client_get_care(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;

        client_control_start(client, header);
        if (ivbs_get_care_decode(payload, header->length, control->name) < 0 ||
                !client->proxy->store->ops->look_at_care) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!may_look(client, control->name)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }
        client_control_run(client, client->proxy->store_jobs, run_look, looked);
}

/* --- limits --- */

static void run_set(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct store *store = client->proxy->store;

        client_note(client, store->ops->set_limits(store, control->name, control->uuid, &control->care.limits));
}

/* Whoever has the image attached, here or at another proxy, learns it from its record. */
static void set(struct client *client) {
        const struct control *control = &client->control;
        const struct store_limits *limits = &control->care.limits;

        if (control->status == IVBS_STATUS_OK)
                log_event(LOG_NOTICE,
                        LOG_FIELDS(
                                { "CLIENT", client->address }, { "USER", client->user }, { "IMAGE", control->name }),
                        "%s has set the limits of %s: %ju requests and %ju bytes a second (0: none), bursts of %ju ms",
                        client->user, control->name, (uintmax_t) limits->iops, (uintmax_t) limits->bandwidth,
                        (uintmax_t) limits->burst_usec / 1000);
        client_control_end(client, control->status, NULL, 0);
}

/* A limit is set by who looks after the store, and not by who is limited. */
void client_set_limits(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_limits limits;

        client_control_start(client, header);
        if (ivbs_limits_decode(payload, header->length, &limits) < 0 || !client->proxy->store->ops->set_limits) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }
        if (!users_is_admin(client->proxy->users, client->user)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }
        strcpy(control->name, limits.name);
        memcpy(control->uuid.bytes, limits.uuid, IVBS_UUID_SIZE);
        control->care.limits = (struct store_limits){
                .iops = limits.iops, .bandwidth = limits.bandwidth, .burst_usec = limits.burst_usec
        };
        client_control_run(client, client->proxy->store_jobs, run_set, set);
}
