/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is there: HELLO, which says what the client understands, and LOGIN. Passwords are checked on a thread of their
 * own with a short queue: the hash is slow on purpose, and whoever finds the queue full is told to come back. A
 * changed users file is noticed at the next login. */

#include <string.h>

#include "client.h"
#include "log.h"

#define FAILED_LOGINS_MAX 3U

void client_hello(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        uint8_t reply[IVBS_HELLO_REPLY_SIZE];
        struct ivbs_hello hello;

        if (ivbs_hello_decode(payload, header->length, &hello) < 0) {
                client_answer(client, header->op, header->sequence, IVBS_STATUS_INVALID_REQUEST);
                return;
        }

        client->caps = hello.caps & PROXY_CAPS;
        client->max_length = hello.max_length;
        memcpy(client->holder.machine_id, hello.machine_id, LEASE_ID_SIZE);
        memcpy(client->holder.boot_id, hello.boot_id, LEASE_ID_SIZE);
        (void) snprintf(client->holder.host, sizeof(client->holder.host), "%s", hello.host);
        client_set_state(client, CLIENT_INTRODUCED);

        ivbs_hello_reply_encode(client->caps, reply);
        client_answer_copy(client, header->op, header->sequence, IVBS_STATUS_OK, reply, sizeof(reply));
}

static void check(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        int r;

        if (users_are_outdated(control->users))
                (void) users_load(client->proxy->settings->users_path, &control->new_users, &control->message);

        r = users_check(control->new_users ? control->new_users : control->users, control->name, control->password);
        explicit_bzero(control->password, sizeof(control->password));
        if (r < 0)
                control->status = r == -ENOMEM ? IVBS_STATUS_TEMPORARY_ERROR : IVBS_STATUS_PERMANENT_ERROR;
        else
                control->status = r > 0 ? IVBS_STATUS_OK : IVBS_STATUS_PERMISSION_DENIED;
}

static void checked(struct client *client) {
        struct control *control = &client->control;
        enum ivbs_status status = control->status;

        if (control->message)
                log_event(LOG_ERR, NULL, "The users stay as they were: %s", control->message);
        if (control->new_users)
                client->proxy->users_changed(client->proxy, TAKE_PTR(control->new_users));

        if (status == IVBS_STATUS_OK) {
                strcpy(client->user, control->name);
                client_set_state(client, CLIENT_LOGGED_IN);
                log_event(LOG_INFO, CLIENT_FIELDS(client), "%s has logged in from %s", client->user, client->address);
                client_control_end(client, status, NULL, 0);
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
        client_control_run(client, client->proxy->login_jobs, check, checked);
}
