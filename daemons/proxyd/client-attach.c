/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a session gets an image, and gives it back. Decisions about leases fall on the store's thread, where the record
 * is read and written as one step; what follows from them here is told to the image's attachments; and the answer
 * waits until the last change of whoever had the image before is over.
 *
 * A classic client knows no leases. It may read what it may read; it may write as long as nobody holds the lease, and
 * is cut off (EXPIRED) by whoever takes it. While somebody holds it, a classic client with the right to write is
 * refused (NOT_READY) rather than attached for reading: it has no way to learn that it may only read, and would fail
 * at its first write, which may be hours later. The other way round, a classic writer that is attached counts as a
 * holder: a lease is refused (HELD) unless it is taken over on purpose. */

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client.h"
#include "container-of.h"
#include "fault-point.h"
#include "ivbs-lifecycle.h"
#include "log.h"

enum {
        LEASE_UNCHANGED = 100, /* look, and leave it */
};

static enum ivbs_status status_of_error(int error) {
        switch (-error) {
        case ENOENT:
                return IVBS_STATUS_NOT_FOUND;
        case ENOSPC:
        case EDQUOT:
                return IVBS_STATUS_NO_SPACE;
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case ESTALE:
        case ETIMEDOUT:
        case EAGAIN:
                return IVBS_STATUS_TEMPORARY_ERROR;
        default:
                return IVBS_STATUS_PERMANENT_ERROR;
        }
}

static uint64_t realtime_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

/* --- on the store's thread --- */

int client_open_image(struct client *client) {
        struct store *store = client->proxy->store;
        struct image *image = client->control.image;

        return image->handle ? 0 : store->ops->open_image(store, image->name, &image->handle);
}

/* Opens the image, and sees or changes its lease; the outcome goes to control->status. */
static void work(struct client *client, store_lease_change_t change) {
        struct control *control = &client->control;
        struct store *store = client->proxy->store;
        int r;

        r = client_open_image(client);
        if (r >= 0)
                r = store->ops->change_lease(control->image->handle, change, control, &control->lease);

        if (r < 0) {
                if (r != -ENOENT && r != -ESTALE)
                        log_event(LOG_ERR,
                                LOG_FIELDS({ "CLIENT", client->address }, { "IMAGE", control->image->name }),
                                "%s of %s for %s failed: %s", ivbs_op_to_string(control->op), control->image->name,
                                client->address, strerror(-r));
                control->stale = r == -ESTALE;
                control->status = status_of_error(r);
        } else if (r == LEASE_HELD)
                control->status = IVBS_STATUS_HELD;
        else if (r == LEASE_EXPIRED)
                control->status = IVBS_STATUS_EXPIRED;
        else
                control->status = IVBS_STATUS_OK;
}

static void run_look(struct job *job) {
        work(CLIENT_OF_JOB(job), NULL);
}

/* A classic client that may write. */
static void run_prove_classic(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;

        work(client, NULL);
        if (control->status == IVBS_STATUS_OK && control->lease.live)
                control->status = IVBS_STATUS_NOT_READY;
}

static void run_classic(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);

        run_prove_classic(job);
        if (client->control.status == IVBS_STATUS_OK)
                client->control.image->n_unleased_writers++;
}

static bool is_taken_by_classic_client(struct control *control) {
        if (control->image->n_unleased_writers == 0 || (control->flags & IVBS_LEASE_STEAL))
                return false;

        control->lease = (struct lease){ .holder = { .host = "a-classic-client" } };
        control->status = IVBS_STATUS_HELD;
        return true;
}

static int take(struct lease *lease, void *userdata) {
        struct control *control = userdata;

        if (lease->live && !lease_same_machine(&lease->holder, &control->holder))
                control->ousted = lease->holder;
        return lease_take(lease, &control->holder, (control->flags & IVBS_LEASE_STEAL) || rule_is_off("one-writer"),
                control->token);
}

static int prove_take(struct lease *lease, void *userdata) {
        struct lease tried = *lease;
        int r;

        r = take(&tried, userdata);
        return r == 0 ? LEASE_UNCHANGED : r;
}

static void run_prove_take(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);

        if (!is_taken_by_classic_client(&client->control))
                work(client, prove_take);
}

static void run_take(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);

        fault_point("lease-taken");
        if (!is_taken_by_classic_client(&client->control))
                work(client, take);
        fault_point("lease-stored");
}

static int look_for_resume(struct lease *lease, void *userdata) {
        struct control *control = userdata;
        int r;

        r = rule_is_off("lease-generation") ? 0 : lease_resume(lease, control->token, control->generation);
        return r == 0 ? LEASE_UNCHANGED : r;
}

static void run_resume(struct job *job) {
        work(CLIENT_OF_JOB(job), look_for_resume);
}

static int give_back(struct lease *lease, void *userdata) {
        struct control *control = userdata;

        return lease_give_back(lease, control->token, control->generation);
}

static void run_give_back(struct job *job) {
        work(CLIENT_OF_JOB(job), give_back);
}

/* --- the end of an attachment's beginning --- */

void client_answer_attached(struct client *client) {
        struct control *control = &client->control;
        const struct attachment *a = &client->attachment;
        const struct store_image *handle = a->image->handle;
        uint8_t data[IVBS_ATTACH_REPLY_SIZE];
        struct ivbs_lease_reply reply = {
                .size = a->image->size.bytes,
                .flags = (a->writes ? 0 : IVBS_IMAGE_READ_ONLY) |
                         (client->proxy->store->ops->durable_acks ? IVBS_IMAGE_DURABLE_ACKS : 0),
                .block_size = handle->block_size,
                .generation = a->generation,
                .size_epoch = client->caps & IVBS_CAP_RESIZE ? a->image->size.epoch : 0,
        };

        attachment_take_size(&client->attachment);

        if (control->op == IVBS_OP_ATTACH_TO_IMAGE) {
                ivbs_attach_reply_encode(a->image->name, a->image->size.bytes, data);
                client_control_end(client, IVBS_STATUS_OK, data, IVBS_ATTACH_REPLY_SIZE);
                return;
        }

        memcpy(reply.uuid, handle->uuid.bytes, IVBS_UUID_SIZE);
        memcpy(reply.token, a->token, IVBS_UUID_SIZE);
        proxy_get_identity(client->proxy, &reply.identity);
        ivbs_lease_reply_encode(&reply, data);
        client_control_end(client, IVBS_STATUS_OK, data, IVBS_LEASE_REPLY_SIZE);
}

static void given_back_for_nobody(struct client *client) {
        struct control *control = &client->control;

        if (control->status == IVBS_STATUS_OK)
                image_lease_is(control->image, &control->lease);
        client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
}

/* What came before is over. */
static void settled(struct image_waiter *waiter) {
        struct client *client = CONTAINER_OF(waiter, struct client, control.waiter);
        struct attachment *a = &client->attachment;
        struct control *control = &client->control;

        /* They were looked at when the packet came, and that may be half a minute ago. */
        client_rights_changed(client);
        if (client->state == CLIENT_CLOSING) {
                /* It never learned its token, so nobody could come back with it. */
                if (control->op == IVBS_OP_ATTACH_LEASE && control->writes)
                        client_control_run(client, client->proxy->store_jobs, run_give_back, given_back_for_nobody);
                else
                        client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }
        if (a->expired) {
                attachment_end(a);
                client_control_end(client, IVBS_STATUS_EXPIRED, NULL, 0);
                return;
        }

        client_set_state(client, CLIENT_ATTACHED);
        client_audit_attached(client);
        client_answer_attached(client);
        client_divert(client);
        client_push_proxies(client);
}

void client_answer_refused(struct client *client) {
        struct control *control = &client->control;
        struct ivbs_holder holder = {};
        uint8_t data[IVBS_HOLDER_SIZE];

        if (control->status != IVBS_STATUS_HELD || client->caps == 0) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }

        memcpy(holder.machine_id, control->lease.holder.machine_id, IVBS_UUID_SIZE);
        memcpy(holder.boot_id, control->lease.holder.boot_id, IVBS_UUID_SIZE);
        holder.since_usec = control->lease.holder.since_usec;
        (void) snprintf(holder.host, sizeof(holder.host), "%s", control->lease.holder.host);
        ivbs_holder_encode(&holder, data);
        client_control_end(client, IVBS_STATUS_HELD, data, sizeof(data));
}

static void worked(struct client *client) {
        struct control *control = &client->control;
        struct attachment *a = &client->attachment;
        struct image *image = control->image;

        if (client_try_anew(client))
                return;
        if (control->status != IVBS_STATUS_OK) {
                client_answer_refused(client);
                return;
        }

        image_lease_is(image, &control->lease);
        control->generation = control->lease.generation;
        a->writes = control->writes;
        a->leased = control->writes && control->op != IVBS_OP_ATTACH_TO_IMAGE;
        a->generation = control->lease.generation;
        memcpy(a->token, control->token, LEASE_TOKEN_SIZE);
        attachment_start(a, image);
        client->lost_writing = false;
        if (client->state == CLIENT_CLOSING)
                attachment_end(a);

        image_settle(image, &control->waiter);
}

/* --- packets --- */

/* Looks up rights and image; answers and returns false when it cannot be. */
static bool prepare(struct client *client, const struct ivbs_header *header, bool writes) {
        struct control *control = &client->control;
        const struct users *users = client->proxy->users;

        /* Without the right to read, whether an image exists is none of the client's business. */
        if (!users_may_read(users, client->user, control->name) ||
                (writes && !users_may_write(users, client->user, control->name))) {
                client_refuse_right(client, control->name, writes ? "write" : "read");
                return false;
        }

        control->writes = writes;
        control->changed = worked;
        control->waiter.settled = settled;
        control->image = images_acquire(client->proxy->images, control->name);
        if (!control->image) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return false;
        }
        return true;
}

/* Who comes back to his image by RESUME has it already, and is never sent away. Answers and returns false. */
static bool has_room(struct client *client) {
        if (client_user_may_attach(client, client->control.name))
                return true;

        log_event(LOG_WARNING,
                LOG_FIELDS({ "CLIENT", client->address }, { "USER", client->user }, { "IMAGE", client->control.name }),
                "%s has %ju images attached here, as many as user-images-max allows: %s is refused", client->user,
                (uintmax_t) client->proxy->settings->user_images_max, client->control.name);
        client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        return false;
}

void client_attach(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;

        client_control_start(client, header);
        /* Whoever could have taken a lease has no business without one. */
        if ((client->caps & IVBS_CAP_LEASE) || ivbs_image_name_decode(payload, control->name) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        if (has_room(client) && prepare(client, header, false)) {
                control->writes = users_may_write(client->proxy->users, client->user, control->name);
                control->prove = run_prove_classic;
                control->change = control->writes ? run_classic : run_look;
                client_change(client);
        }
}

void client_attach_lease(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_lease lease;
        bool writes;

        client_control_start(client, header);
        if (ivbs_lease_decode(payload, header->length, &lease) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        strcpy(control->name, lease.name);
        control->flags = lease.flags;
        writes = !(lease.flags & IVBS_LEASE_READ_ONLY);
        if (writes && strchr(lease.name, IVBS_SNAPSHOT_SEPARATOR)) {
                client_control_end(client, IVBS_STATUS_READ_ONLY, NULL, 0);
                return;
        }
        if (!has_room(client) || !prepare(client, header, writes))
                return;
        control->prove = run_prove_take;
        control->change = writes ? run_take : run_look;
        if (!writes) {
                client_change(client);
                return;
        }

        control->holder = client->holder;
        control->holder.since_usec = realtime_usec();
        if (getrandom(control->token, sizeof(control->token), 0) != (ssize_t) sizeof(control->token)) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }
        client_change(client);
}

void client_resume_lease(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        struct ivbs_resume resume;
        bool writes;

        client_control_start(client, header);
        if (ivbs_resume_decode(payload, header->length, &resume) < 0) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        if (client->attachment.image) {
                client_rejoin(client, &resume);
                return;
        }
        strcpy(control->name, resume.name);
        writes = !(resume.flags & IVBS_LEASE_READ_ONLY);
        if (!prepare(client, header, writes))
                return;

        memcpy(control->token, resume.token, LEASE_TOKEN_SIZE);
        control->generation = resume.generation;
        control->prove = run_resume;
        control->change = writes ? run_resume : run_look;
        client_change(client);
}

/* --- detach --- */

static void detach(struct client *client, enum ivbs_status status) {
        log_event(LOG_INFO, CLIENT_FIELDS(client), "%s has detached %s", client->address, client->control.image->name);
        attachment_end(&client->attachment);
        if (client->state == CLIENT_ATTACHED)
                client->state = CLIENT_LOGGED_IN;
        client_control_end(client, status, NULL, 0);
}

static void given_back(struct client *client) {
        struct control *control = &client->control;

        /* The lease is still its own: it may try again. */
        if (control->status != IVBS_STATUS_OK && control->status != IVBS_STATUS_EXPIRED && !control->stale) {
                client_control_end(client, control->status, NULL, 0);
                return;
        }

        if (control->status == IVBS_STATUS_OK)
                image_lease_is(control->image, &control->lease);
        detach(client, control->stale ? IVBS_STATUS_EXPIRED : control->status);
}

void client_io_idle(struct client *client) {
        struct control *control = &client->control;

        if (control->finish)
                return;
        if (control->op == IVBS_OP_RESUME)
                client_rejoin_idle(client);
        if (control->op != IVBS_OP_DETACH)
                return;

        if (!client->attachment.leased) {
                detach(client, IVBS_STATUS_OK);
                return;
        }
        client_control_run(client, client->proxy->store_jobs, run_give_back, given_back);
}

void client_detach(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        const struct attachment *a = &client->attachment;

        client_control_start(client, header);
        if (!a->image) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        control->image = image_ref(a->image);
        memcpy(control->token, a->token, LEASE_TOKEN_SIZE);
        control->generation = a->generation;
        if (a->n_ios == 0)
                client_io_idle(client);
}
