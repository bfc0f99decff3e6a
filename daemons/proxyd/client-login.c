/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is there: HELLO, which says what the client understands, and LOGIN, with a password or with a ticket. A changed
 * users file is noticed at the next login of either kind: that is looked at first, on a thread that does nothing slower.
 * A password is then held against its slow hash, see logins.c; whoever has to wait for too long is told to come back. A
 * ticket needs no hash and does not wait behind those who need one.
 *
 * While a password is being checked the client's input is still read, though not looked at, so that one that hangs up
 * leaves the queue. */

#include <string.h>
#include <time.h>

#include "client-login.h"
#include "log.h"
#include "message-ids.h"
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

        ivbs_hello_reply_encode(
                &(const struct ivbs_hello_reply){ client->caps, client->proxy->diverting ? IVBS_HELLO_DRAINED : 0 },
                reply);
        /* Without a transcript no login with SCRAM can succeed, which is all that a lack of memory may come to. */
        (void) ivbs_transcript_add(&client->transcript, payload, header->length);
        (void) ivbs_transcript_add(&client->transcript, reply, sizeof(reply));
        if (client->encrypted)
                (void) ivbs_transcript_add(&client->transcript, client->tls_binding, sizeof(client->tls_binding));
        client_answer_copy(client, header->op, header->sequence, IVBS_STATUS_OK, reply, sizeof(reply));
}

/* --- on a thread --- */

/* By whichever job. */
void client_refresh_users(struct job *job) {
        struct client *client = CLIENT_OF_JOB(job);
        struct control *control = &client->control;
        struct proxy *proxy = client->proxy;

        if (users_are_outdated(proxy->newest_users) &&
                users_load(proxy->settings->users_path, &control->new_users, &control->message) >= 0)
                proxy->newest_users = control->new_users;
}

/* --- and back --- */

uint64_t client_realtime_sec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec;
}

void client_take_users(struct client *client) {
        struct control *control = &client->control;

        if (control->message)
                log_event(LOG_ERR, NULL, "The users stay as they were: %s", control->message);
        if (control->new_users)
                client->proxy->users_changed(client->proxy, TAKE_PTR(control->new_users));
}

/* A fresh one, for the users as they are. */
static void make_ticket(struct client *client) {
        struct control *control = &client->control;
        uint8_t digest[TICKET_DIGEST_SIZE];

        control->n_ticket = 0;
        if ((client->caps & IVBS_CAP_TICKET) && users_digest(client->proxy->users, control->name, digest) >= 0 &&
                ticket_make(client->proxy->ticket_key, control->name, digest, client_realtime_sec(), control->ticket,
                        &control->n_ticket) < 0)
                control->n_ticket = 0;
        explicit_bzero(digest, sizeof(digest));
}

void client_logged_in(struct client *client, const char *how, const void *payload, size_t n) {
        struct control *control = &client->control;

        if (!client_user_has_room(client, control->name)) {
                log_event(LOG_WARNING, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "%s has %ju connections, as many as user-clients-max allows: %s is to come again later",
                        control->name, (uintmax_t) client->proxy->settings->user_clients_max, client->address);
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }
        strcpy(client->user, control->name);
        client_set_state(client, CLIENT_LOGGED_IN);
        log_event(LOG_INFO, CLIENT_EVENT_FIELDS(client, MESSAGE_LOGIN_ACCEPTED),
                "%s has logged in from %s with a %s%s", client->user, client->address, how, client->tls);
        client_control_end(client, IVBS_STATUS_OK, payload, n);
}

static void logged_in(struct client *client, const char *how) {
        make_ticket(client);
        client_logged_in(client, how, client->control.ticket, client->control.n_ticket);
}

void client_refused(struct client *client, enum ivbs_status status) {
        struct control *control = &client->control;

        login_limits_failed(client->proxy->login_limits, &client->login_address, control->name,
                ring_now_usec(client->proxy->ring));
        if (status == IVBS_STATUS_PERMISSION_DENIED)
                log_event(LOG_NOTICE,
                        LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name },
                                { "MESSAGE_ID", MESSAGE_LOGIN_REFUSED }),
                        "Login of %s from %s refused: unknown user or wrong password", control->name, client->address);
        else
                log_event(LOG_ERR, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "Login of %s from %s failed: libcrypt cannot check the hash in %s. Set the password anew",
                        control->name, client->address, client->proxy->settings->users_path);

        client->n_failed_logins++;
        if (client->n_failed_logins >= FAILED_LOGINS_MAX)
                client_control_end_last(client, status);
        else
                client_control_end(client, status, NULL, 0);
}

/* The input is looked at again from where it was left. */
static void listen_again(struct client *client) {
        client->checking = false;
        client_pause(client, PAUSE_CONTROL);
}

/* result: as logins_ask() and done() have it. */
static void password_checked(struct client *client, int result) {
        struct control *control = &client->control;
        uint8_t digest[USERS_DIGEST_SIZE];

        if (result > 0 && (users_digest(client->proxy->users, control->name, digest) < 0 ||
                                  memcmp(digest, control->digest, sizeof(digest)) != 0))
                /* The user is another one than a moment ago. */
                result = -EAGAIN;

        if (result > 0)
                logged_in(client, "password");
        else if (result == 0)
                client_refused(client, IVBS_STATUS_PERMISSION_DENIED);
        else if (result == -EBUSY || result == -EAGAIN || result == -ENOMEM)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        else
                client_refused(client, IVBS_STATUS_PERMANENT_ERROR);
}

static void check_over(struct login *login, int result) {
        struct client *client = CONTAINER_OF(login, struct client, login);

        listen_again(client);
        password_checked(client, result);
}

static void check_password(struct client *client) {
        struct control *control = &client->control;
        struct proxy *proxy = client->proxy;
        int r;

        client_take_users(client);
        if (client->state == CLIENT_CLOSING) {
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                return;
        }

        (void) users_digest(proxy->users, control->name, control->digest);
        client->login.done = check_over;
        r = logins_ask(proxy->logins, &client->login, proxy->users, control->name, control->password);
        explicit_bzero(control->password, sizeof(control->password));
        if (r != 0) {
                password_checked(client, r);
                return;
        }
        client->checking = true;
        client_resume(client, PAUSE_CONTROL);
}

void client_login_abandon(struct client *client) {
        if (!client->checking)
                return;

        logins_leave(&client->login);
        listen_again(client);
        client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
}

static void check_ticket(struct client *client) {
        struct control *control = &client->control;
        struct proxy *proxy = client->proxy;
        uint8_t digest[TICKET_DIGEST_SIZE];
        int r;

        client_take_users(client);
        r = users_digest(proxy->users, control->name, digest);
        if (r >= 0)
                r = ticket_check(proxy->ticket_key, control->ticket, control->n_ticket, digest, client_realtime_sec());
        explicit_bzero(digest, sizeof(digest));

        if (r > 0)
                logged_in(client, "ticket");
        else if (r == -ENOMEM)
                client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        else {
                log_event(LOG_INFO, LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name }),
                        "A ticket of %s from %s is not good any more", control->name, client->address);
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
        }
}

/* --- packets --- */

bool client_may_try(struct client *client) {
        struct control *control = &client->control;

        if (login_limits_admit(client->proxy->login_limits, &client->login_address, control->name,
                    ring_now_usec(client->proxy->ring)))
                return true;

        /* Once a connection: the flood is not to be one of the journal, too. */
        if (!client->held_back)
                log_event(LOG_NOTICE,
                        LOG_FIELDS({ "CLIENT", client->address }, { "USER", control->name },
                                { "MESSAGE_ID", MESSAGE_LOGINS_HELD_BACK }),
                        "Login of %s from %s put off: too many have failed", control->name, client->address);
        client->held_back = true;
        client_control_end(client, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        return false;
}

/* LOGIN and its tickets can be used again by whoever reads them on the way. */
static bool refuse_classic(struct client *client, const struct ivbs_header *header) {
        enum classic_login policy = client->proxy->settings->classic_login;

        if (policy == CLASSIC_LOGIN_ALWAYS || (policy == CLASSIC_LOGIN_SECURE && client->secure))
                return false;

        log_event(LOG_NOTICE, LOG_FIELDS({ "CLIENT", client->address }, { "MESSAGE_ID", MESSAGE_CLASSIC_LOGIN_OFF }),
                "%s of %s refused: %s", ivbs_op_to_string(header->op), client->address,
                policy == CLASSIC_LOGIN_NEVER ? "\"classic-login\" is \"never\""
                                              : "it would be good for whoever reads it on the network, see "
                                                "\"classic-login\"");
        client_answer(client, header->op, header->sequence,
                client->caps & IVBS_CAP_SCRAM ? IVBS_STATUS_LOGIN_OFF : IVBS_STATUS_PERMISSION_DENIED);
        return true;
}

void client_login(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;
        char user[IVBS_USER_SIZE + 1];

        if (refuse_classic(client, header))
                return;
        client_control_start(client, header);
        if (ivbs_login_decode(payload, user, control->password) < 0 || !users_file_name_is_valid(user)) {
                client_control_end(client, IVBS_STATUS_INVALID_REQUEST, NULL, 0);
                return;
        }

        strcpy(control->name, user);
        if (!client_may_try(client))
                return;
        client_control_run(client, client->proxy->users_jobs, client_refresh_users, check_password);
}

void client_login_ticket(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct control *control = &client->control;

        if (refuse_classic(client, header))
                return;
        client_control_start(client, header);
        if (ticket_claims(payload, header->length, control->name) < 0 || !users_file_name_is_valid(control->name)) {
                client_control_end(client, IVBS_STATUS_PERMISSION_DENIED, NULL, 0);
                return;
        }

        memcpy(control->ticket, payload, header->length);
        control->n_ticket = header->length;
        client_control_run(client, client->proxy->users_jobs, client_refresh_users, check_ticket);
}
