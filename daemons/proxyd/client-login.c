/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is there: HELLO, which says what the client understands, and LOGIN, with a password or with a ticket. Passwords
 * are checked on a thread of their own with a short queue: the hash is slow on purpose, and whoever finds the queue
 * full is told to come back. A ticket needs no hash and does not wait behind those who need one. A changed users file
 * is noticed at the next login of either kind. */

#include <string.h>
#include <time.h>

#include "client.h"
#include "log.h"
#include "tickets.h"

#define FAILED_LOGINS_MAX 3U

void client_hello(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        uint8_t reply[IVBS_HELLO_REPLY_SIZE];
        struct ivbs_hello hello;

        if (ivbs_hello_decode(payload, header->length, &hello) < 0) {
                client_answer(client, header->op, header->sequence, IVBS_STATUS_INVALID_REQUEST);
                return;
        }

        client->caps = hello.caps & client->proxy->caps;
        client->max_length = hello.max_length;
        memcpy(client->holder.machine_id, hello.machine_id, LEASE_ID_SIZE);
        memcpy(client->holder.boot_id, hello.boot_id, LEASE_ID_SIZE);
        (void) snprintf(client->holder.host, sizeof(client->holder.host), "%s", hello.host);
        client_set_state(client, CLIENT_INTRODUCED);

        ivbs_hello_reply_encode(client->caps, reply);
        client_answer_copy(client, header->op, header->sequence, IVBS_STATUS_OK, reply, sizeof(reply));
}

/* --- on a thread --- */

/* The users as they are now. */
static const struct users *look_up_users(struct client *client) {
        struct control *control = &client->control;

        if (users_are_outdated(control->users))
                (void) users_load(client->proxy->settings->users_path, &control->new_users, &control->message);
        return control->new_users ? control->new_users : control->users;
}

static uint64_t realtime_sec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec;
}

/* For the users that have just been asked: by the time of the answer there may be others. */
static void make_ticket(struct client *client, const struct users *users) {
        struct control *control = &client->control;
        uint8_t digest[TICKET_DIGEST_SIZE];

        control->n_ticket = 0;
        if ((client->caps & IVBS_CAP_TICKET) && users_digest(users, control->name, digest) >= 0 &&
                ticket_make(client->proxy->ticket_key, control->name, digest, realtime_sec(), control->ticket,
                        &control->n_ticket) < 0)
                control->n_ticket = 0;
        explicit_bzero(digest, sizeof(digest));
}

static void check_password(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        const struct users *users = look_up_users(client);
        int r;

        r = users_check(users, control->name, control->password);
        explicit_bzero(control->password, sizeof(control->password));
        if (r < 0)
                control->status = r == -ENOMEM ? IVBS_STATUS_TEMPORARY_ERROR : IVBS_STATUS_PERMANENT_ERROR;
        else if (r == 0)
                control->status = IVBS_STATUS_PERMISSION_DENIED;
        else {
                control->status = IVBS_STATUS_OK;
                make_ticket(client, users);
        }
}

static void check_ticket(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        const struct users *users = look_up_users(client);
        uint8_t digest[TICKET_DIGEST_SIZE];
        int r;

        r = users_digest(users, control->name, digest);
        if (r >= 0)
                r = ticket_check(
                        client->proxy->ticket_key, control->ticket, control->n_ticket, digest, realtime_sec());
        explicit_bzero(digest, sizeof(digest));
        if (r == -ENOMEM)
                control->status = IVBS_STATUS_TEMPORARY_ERROR;
        else
                control->status = r > 0 ? IVBS_STATUS_OK : IVBS_STATUS_PERMISSION_DENIED;
        if (r > 0)
                make_ticket(client, users);
}

/* --- and back --- */

static void take_users(struct client *client) {
        struct control *control = &client->control;

        if (control->message)
                log_event(LOG_ERR, NULL, "The users stay as they were: %s", control->message);
        if (control->new_users)
                client->proxy->users_changed(client->proxy, TAKE_PTR(control->new_users));
}

static void logged_in(struct client *client, const char *how) {
        struct control *control = &client->control;

        strcpy(client->user, control->name);
        client_set_state(client, CLIENT_LOGGED_IN);
        log_event(LOG_INFO, CLIENT_FIELDS(client), "%s has logged in from %s with a %s", client->user, client->address,
                how);
        client_control_end(client, IVBS_STATUS_OK, control->ticket, control->n_ticket);
}

static void password_checked(struct client *client) {
        struct control *control = &client->control;
        enum ivbs_status status = control->status;

        take_users(client);
        if (status == IVBS_STATUS_OK) {
                logged_in(client, "password");
                return;
        }

        if (status == IVBS_STATUS_PERMISSION_DENIED)
                log_event(LOG_NOTICE, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "Login of %s from %s refused: unknown user or wrong password", control->name, client->address);
        else if (status == IVBS_STATUS_PERMANENT_ERROR)
                log_event(LOG_ERR, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "Login of %s from %s failed: libcrypt cannot check the hash in %s. Set the password anew",
                        control->name, client->address, client->proxy->settings->users_path);

        client->n_failed_logins++;
        if (client->n_failed_logins >= FAILED_LOGINS_MAX)
                client_control_end_last(client, status);
        else
                client_control_end(client, status, NULL, 0);
}

static void ticket_checked(struct client *client) {
        struct control *control = &client->control;

        take_users(client);
        if (control->status == IVBS_STATUS_OK) {
                logged_in(client, "ticket");
                return;
        }
        if (control->status == IVBS_STATUS_PERMISSION_DENIED)
                log_event(LOG_INFO, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "A ticket of %s from %s is not good any more", control->name, client->address);
        client_control_end(client, control->status, NULL, 0);
}

/* --- packets --- */

void client_login(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        char user[IVBS_USER_SIZE + 1];

        client_control_start(client, header);
        if (ivbs_login_decode(payload, user, control->password) < 0 || !users_file_name_is_valid(user)) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        strcpy(control->name, user);
        control->users = users_ref(client->proxy->users);
        client_control_run(client, client->proxy->login_jobs, check_password, password_checked);
}

void client_login_ticket(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;

        client_control_start(client, header);
        if (ticket_claims(payload, header->length, control->name) < 0 || !users_file_name_is_valid(control->name)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }

        memcpy(control->ticket, payload, header->length);
        control->n_ticket = header->length;
        control->users = users_ref(client->proxy->users);
        client_control_run(client, client->proxy->store_jobs, check_ticket, ticket_checked);
}
