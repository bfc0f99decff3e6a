/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Greeting, capabilities, login: each step's reply sends the next step's request. A modern server tells in its greeting what it is, so there is nothing to
 * try and no time-out to wait for; whether this is a step down from what the image was attached with is decided before the password is sent. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "container-of.h"
#include "session.h"

#define CAPS_WANTED                                                                                                 \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE | \
                IVBS_CAP_FENCE | IVBS_CAP_DURABILITY | IVBS_CAP_NOTICE | IVBS_CAP_TICKET | IVBS_CAP_DRAIN |         \
                IVBS_CAP_RESIZE | IVBS_CAP_SNAPSHOTS | IVBS_CAP_CARE | IVBS_CAP_SCRAM | IVBS_CAP_ADMIN)

/* Of our application: ids derived with it tell nothing of the machine's own. */
#define MACHINE_APPLICATION SD_ID128_MAKE(3c, 2b, 79, 0e, 8a, 54, 4e, 1f, b0, 6d, 51, 9c, e7, 20, 83, fa)

/* A packet of its own, since the one before may still be on its way out when its answer is here already. */
struct control {
        struct stream_out out;
        size_t n;
        uint8_t bytes[];
};

static void control_sent(struct stream_out *out, int error) {
        struct control *control = CONTAINER_OF(out, struct control, out);

        explicit_bzero(control->bytes, control->n);
        free(control);
}

void session_send_control(struct session *s, uint32_t op, const void *payload, size_t n) {
        struct ivbs_header header = { .op = op, .length = (uint32_t) n };
        struct control *control;

        control = malloc(sizeof(*control) + IVBS_HEADER_SIZE + n);
        if (!control) {
                session_close(s, SESSION_LOST, FAILURE_INTERNAL, "out of memory");
                return;
        }

        memcpy(header.session_id, s->id, sizeof(s->id));
        header.sequence = session_next_sequence(s);
        control->n = IVBS_HEADER_SIZE + n;
        ivbs_header_encode(&header, control->bytes);
        if (n > 0)
                memcpy(control->bytes + IVBS_HEADER_SIZE, payload, n);

        s->control_op = op;
        s->control_sequence = header.sequence;
        control->out = (struct stream_out){
                .iov = { { .iov_base = control->bytes, .iov_len = control->n } },
                .n_iov = 1,
                .done = control_sent,
        };
        stream_send(&s->stream, &control->out);
}

static uint64_t cap_of_call(uint32_t op, const uint8_t *payload, size_t n) {
        struct ivbs_create_image create;

        switch (op) {
        case IVBS_OP_CREATE_IMAGE:
                /* Who does not know the flag would make an image without them. */
                return ivbs_create_image_decode(payload, n, &create) >= 0 && (create.flags & IVBS_CREATE_CHECKSUMS)
                               ? IVBS_CAP_IMAGES | IVBS_CAP_CARE
                               : IVBS_CAP_IMAGES;
        case IVBS_OP_DETACH:
                return IVBS_CAP_LEASE;
        case IVBS_OP_DRAIN:
                return IVBS_CAP_DRAIN;
        case IVBS_OP_RENAME_IMAGE:
        case IVBS_OP_SNAPSHOT:
        case IVBS_OP_LIST_SNAPSHOTS:
        case IVBS_OP_REMOVE_SNAPSHOT:
        case IVBS_OP_CLONE_IMAGE:
        case IVBS_OP_ROLL_BACK:
        case IVBS_OP_JOB_STATUS:
        case IVBS_OP_JOB_CANCEL:
                return IVBS_CAP_SNAPSHOTS;
        case IVBS_OP_STORE_STATUS:
                return IVBS_CAP_ADMIN;
        case IVBS_OP_SCRUB:
                return IVBS_CAP_CARE | IVBS_CAP_SNAPSHOTS;
        case IVBS_OP_GET_CARE:
        case IVBS_OP_SET_LIMITS:
                return IVBS_CAP_CARE;
        case IVBS_OP_RESIZE_IMAGE:
                return IVBS_CAP_RESIZE;
        default:
                return IVBS_CAP_IMAGES;
        }
}

int session_call(
        struct session *s, uint32_t op, const void *payload, size_t n, session_reply_t reply, void *userdata) {
        uint64_t caps;

        if (s->state != SESSION_READY)
                return -ENOTCONN;
        if (s->reply || s->awaiting)
                return -EBUSY;
        if (n > SESSION_CALL_MAX)
                return -EMSGSIZE;
        caps = cap_of_call(op, payload, n);
        if (!s->modern || (s->caps & caps) != caps)
                return -EOPNOTSUPP;

        session_owes(s);
        s->reply = reply;
        s->reply_userdata = userdata;
        session_send_control(s, op, payload, n);
        return 0;
}

static int send_login(struct session *s) {
        uint8_t payload[IVBS_LOGIN_SIZE];
        int r;

        r = ivbs_login_encode(s->credentials->user, s->credentials->password, payload);
        if (r < 0)
                return r;

        session_set_state(s, SESSION_LOGIN);
        session_send_control(s, IVBS_OP_LOGIN, payload, sizeof(payload));
        explicit_bzero(payload, sizeof(payload));
        return 0;
}

/* LOGIN and its tickets are good for whoever reads them. */
static bool may_log_in_classic(const struct session *s) {
        switch (s->config->classic_login) {
        case HOST_CLASSIC_LOGIN_ALWAYS:
                return true;
        case HOST_CLASSIC_LOGIN_NEVER:
                return false;
        case HOST_CLASSIC_LOGIN_SECURE:
        default:
                return session_is_secure(s);
        }
}

int session_log_in_classic(struct session *s) {
        if (!may_log_in_classic(s)) {
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "the proxy %s, and a classic login could be read on the network: %s",
                        s->caps & IVBS_CAP_SCRAM ? "has nothing stored for SCRAM" : "does not know SCRAM",
                        s->caps & IVBS_CAP_SCRAM
                                ? "set the user's password there once more (\"blockstorectl user passwd\")"
                                : "use TLS, or allow it by \"classic-login\": \"always\"");
                return 0;
        }
        /* The password's slow check is for the first login at a store; after that there is a ticket. */
        if (!(s->caps & IVBS_CAP_TICKET) || s->proxy->n_ticket == 0 || s->proxy->ticket_is_proved)
                return send_login(s);

        session_set_state(s, SESSION_LOGIN);
        session_send_control(s, IVBS_OP_LOGIN_TICKET, s->proxy->ticket, s->proxy->n_ticket);
        return 0;
}

static int log_in(struct session *s) {
        bool has_ticket = (s->caps & IVBS_CAP_TICKET) && s->proxy->n_ticket > 0;

        if (!(s->caps & IVBS_CAP_SCRAM) || !s->credentials->keys)
                return session_log_in_classic(s);
        if (!has_ticket)
                return session_scram_start(s);
        if (s->proxy->ticket_is_proved)
                return session_scram_ticket(s);
        return may_log_in_classic(s) ? session_log_in_classic(s) : session_scram_start(s);
}

static void send_hello(struct session *s) {
        struct ivbs_hello hello = { .caps = CAPS_WANTED, .max_length = IVBS_LENGTH_MAX };
        char host[HOST_NAME_MAX + 1] = "";
        uint8_t payload[IVBS_HELLO_SIZE];
        sd_id128_t id;

        if (sd_id128_get_machine_app_specific(MACHINE_APPLICATION, &id) >= 0)
                memcpy(hello.machine_id, id.bytes, sizeof(id.bytes));
        if (sd_id128_get_boot(&id) >= 0)
                memcpy(hello.boot_id, id.bytes, sizeof(id.bytes));
        if (gethostname(host, sizeof(host) - 1) >= 0)
                memcpy(hello.host, host, strnlen(host, IVBS_HOST_SIZE));

        ivbs_hello_encode(&hello, payload);
        (void) ivbs_transcript_add(&s->transcript, payload, sizeof(payload));
        session_set_state(s, SESSION_HELLO);
        session_send_control(s, IVBS_OP_HELLO, payload, sizeof(payload));
}

int session_on_greeting(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct ivbs_greeting greeting;

        memcpy(s->id, header->session_id, sizeof(s->id));

        if (ivbs_greeting_decode(payload, header->length, &greeting) == 0) {
                if (s->attachment && s->attachment->attached && s->attachment->modern) {
                        session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                                "this is a classic server, which cannot continue an attachment with a lease");
                        return 0;
                }
                return session_log_in_classic(s);
        }

        s->modern = true;
        s->idle_limit_ms = greeting.idle_limit_ms;
        if (ivbs_transcript_start(&s->transcript, s->id) < 0 ||
                ivbs_transcript_add(&s->transcript, payload, header->length) < 0)
                return -ENOMEM;
        send_hello(s);
        return 0;
}

int session_on_hello(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct ivbs_hello_reply reply;

        if (header->sequence != s->control_sequence || header->status != IVBS_STATUS_OK ||
                ivbs_hello_reply_decode(payload, header->length, &reply) < 0)
                return -EPROTO;

        (void) ivbs_transcript_add(&s->transcript, payload, header->length);
        if (s->encrypted)
                (void) ivbs_transcript_add(&s->transcript, s->tls_binding, sizeof(s->tls_binding));
        s->caps = reply.caps & CAPS_WANTED;
        s->proxy->drained = reply.flags & IVBS_HELLO_DRAINED;
        return log_in(s);
}

void session_logged_in(struct session *s) {
        if (!s->attachment) {
                session_set_state(s, SESSION_READY);
                s->ops->ready(s);
        } else if (s->standby) {
                session_set_state(s, SESSION_STANDING_BY);
                s->ops->standing_by(s);
        } else
                session_attach(s);
}

void session_login_failed(struct session *s, uint32_t status) {
        switch (status) {
        case IVBS_STATUS_PERMISSION_DENIED:
        case IVBS_STATUS_NOT_FOUND:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED, "the login of user \"%s\" was refused",
                        s->credentials->user);
                break;

        case IVBS_STATUS_LOGIN_OFF:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "the proxy takes no classic login of user \"%s\" on this connection: set the user's password "
                        "there once more (\"blockstorectl user passwd\")",
                        s->credentials->user);
                break;

        case IVBS_STATUS_TEMPORARY_ERROR:
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY,
                        "the proxy has too many logins to check at present, and asks to come again");
                break;

        default:
                session_close(
                        s, SESSION_LOST, FAILURE_NO_PROXY, "the login failed: %s", ivbs_status_to_string(status));
                break;
        }
}

int session_on_login(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        if (header->op != s->control_op || header->sequence != s->control_sequence)
                return -EPROTO;
        if (header->op == IVBS_OP_LOGIN_TICKET && header->status == IVBS_STATUS_PERMISSION_DENIED) {
                proxy_forget_ticket(s->proxy);
                return log_in(s);
        }
        if (header->status != IVBS_STATUS_OK) {
                session_login_failed(s, header->status);
                return 0;
        }

        if (s->caps & IVBS_CAP_TICKET)
                proxy_set_ticket(s->proxy, payload, header->length);
        session_logged_in(s);
        return 0;
}
