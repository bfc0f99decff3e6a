/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Greeting, capabilities, login, attach: each step's reply sends the next step's request. A modern server tells in its greeting what it is, so there is nothing to
 * try and no time-out to wait for; whether this is a step down from what the image was attached with is decided before the password is sent. */

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "container-of.h"
#include "session.h"

#define CAPS_WANTED \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE)

/* Of our application: ids derived with it tell nothing of the machine's own. */
#define MACHINE_APPLICATION SD_ID128_MAKE(3c, 2b, 79, 0e, 8a, 54, 4e, 1f, b0, 6d, 51, 9c, e7, 20, 83, fa)

static void control_sent(struct stream_out *out, int error) {
        struct session *s = CONTAINER_OF(out, struct session, control_out);

        s->control_busy = false;
        explicit_bzero(s->control, sizeof(s->control));
}

void session_send_control(struct session *s, uint32_t op, const void *payload, size_t n) {
        struct ivbs_header header = { .op = op, .length = (uint32_t) n };

        memcpy(header.session_id, s->id, sizeof(s->id));
        header.sequence = s->next_sequence++;
        ivbs_header_encode(&header, s->control);
        if (n > 0)
                memcpy(s->control + IVBS_HEADER_SIZE, payload, n);

        s->control_busy = true;
        s->control_op = op;
        s->control_sequence = header.sequence;
        s->control_out = (struct stream_out){
                .iov = { { .iov_base = s->control, .iov_len = IVBS_HEADER_SIZE + n } },
                .n_iov = 1,
                .done = control_sent,
        };
        stream_send(&s->stream, &s->control_out);
}

int session_call(
        struct session *s, uint32_t op, const void *payload, size_t n, session_reply_t reply, void *userdata) {
        if (s->state != SESSION_READY)
                return -ENOTCONN;
        if (s->reply || s->control_busy)
                return -EBUSY;
        if (n > sizeof(s->control) - IVBS_HEADER_SIZE)
                return -EMSGSIZE;
        if (!s->modern || !(s->caps & (op == IVBS_OP_DETACH ? IVBS_CAP_LEASE : IVBS_CAP_IMAGES)))
                return -EOPNOTSUPP;

        if (s->n_in_flight == 0)
                s->waiting_usec = ring_now_usec(s->ring);
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
                return send_login(s);
        }

        s->modern = true;
        s->idle_limit_ms = greeting.idle_limit_ms;
        send_hello(s);
        return 0;
}

int session_on_hello(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        uint64_t caps;

        if (header->status != IVBS_STATUS_OK || ivbs_hello_reply_decode(payload, header->length, &caps) < 0)
                return -EPROTO;

        s->caps = caps & CAPS_WANTED;
        return send_login(s);
}

static int send_attach(struct session *s) {
        const struct attachment *a = s->attachment;
        uint32_t flags = a->read_only ? IVBS_LEASE_READ_ONLY : 0;
        uint8_t payload[IVBS_RESUME_SIZE];
        uint32_t op;
        size_t n;
        int r;

        if (a->attached && a->modern && !(s->caps & IVBS_CAP_LEASE)) {
                session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                        "this proxy knows no leases, and cannot continue an attachment with one");
                return 0;
        }

        /* What began at a classic server goes on as it began: there is no token that a modern one would know. */
        if (!(s->caps & IVBS_CAP_LEASE) || (a->attached && !a->modern)) {
                op = IVBS_OP_ATTACH_TO_IMAGE;
                n = IVBS_IMAGE_NAME_SIZE;
                r = ivbs_image_name_encode(a->name, payload);
        } else if (a->attached) {
                struct ivbs_resume resume = { .flags = flags, .generation = a->generation };

                memcpy(resume.token, a->token, sizeof(resume.token));
                memcpy(resume.name, a->name, sizeof(resume.name));
                op = IVBS_OP_RESUME;
                n = IVBS_RESUME_SIZE;
                r = ivbs_resume_encode(&resume, payload);
        } else {
                struct ivbs_lease lease = { .flags = flags | (a->steal ? IVBS_LEASE_STEAL : 0) };

                memcpy(lease.name, a->name, sizeof(lease.name));
                op = IVBS_OP_ATTACH_LEASE;
                n = IVBS_LEASE_SIZE;
                r = ivbs_lease_encode(&lease, payload);
        }
        if (r < 0)
                return r;

        session_set_state(s, SESSION_ATTACHING);
        session_send_control(s, op, payload, n);
        explicit_bzero(payload, sizeof(payload));
        return 0;
}

static void become_ready(struct session *s) {
        session_set_state(s, SESSION_READY);
        s->ops->ready(s);
}

int session_on_login(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        switch (header->status) {
        case IVBS_STATUS_OK:
                if (s->attachment)
                        return send_attach(s);
                become_ready(s);
                return 0;

        case IVBS_STATUS_PERMISSION_DENIED:
        case IVBS_STATUS_NOT_FOUND:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED, "the login of user \"%s\" was refused",
                        s->credentials->user);
                return 0;

        default:
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the login failed: %s",
                        ivbs_status_to_string(header->status));
                return 0;
        }
}

/* Why an attach failed, as a user is to read it. */
static void attach_failed(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        const char *name = s->attachment->name;
        struct ivbs_holder holder;

        switch (header->status) {
        case IVBS_STATUS_NOT_FOUND:
                session_close(s, SESSION_REFUSED, FAILURE_NO_SUCH_IMAGE, "the store has no image \"%s\"", name);
                break;
        case IVBS_STATUS_PERMISSION_DENIED:
        case IVBS_STATUS_READ_ONLY:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED, "user \"%s\" may not %s image \"%s\"",
                        s->credentials->user, s->attachment->read_only ? "read" : "write to", name);
                break;
        case IVBS_STATUS_HELD:
                if (ivbs_holder_decode(payload, header->length, &holder) < 0)
                        strcpy(holder.host, "another host");
                session_close(s, SESSION_REFUSED, FAILURE_HELD,
                        "image \"%s\" is attached by %s; --steal takes it over", name,
                        holder.host[0] ? holder.host : "another host");
                break;
        case IVBS_STATUS_EXPIRED:
                session_close(s, SESSION_EXPIRED, FAILURE_HELD,
                        "image \"%s\" has been attached by somebody else since", name);
                break;
        case IVBS_STATUS_NOT_READY:
        case IVBS_STATUS_TEMPORARY_ERROR:
        case IVBS_STATUS_USE_ANOTHER_PROXY:
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the proxy cannot attach image \"%s\" now: %s", name,
                        ivbs_status_to_string(header->status));
                break;
        default:
                session_close(s, SESSION_REFUSED, FAILURE_IO, "the proxy cannot attach image \"%s\": %s", name,
                        ivbs_status_to_string(header->status));
                break;
        }
}

int session_on_attach(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        char reason[PROXY_REASON_MAX];
        int r;

        if (header->op != s->control_op)
                return -EPROTO;
        if (header->status != IVBS_STATUS_OK) {
                attach_failed(s, header, payload);
                return 0;
        }

        if (header->op == IVBS_OP_ATTACH_TO_IMAGE) {
                char name[IVBS_IMAGE_NAME_SIZE];
                uint64_t size;

                r = ivbs_attach_reply_decode(payload, header->length, name, &size);
                if (r == -ERANGE)
                        session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                                "the proxy gives image \"%s\" an impossible size", s->attachment->name);
                if (r < 0)
                        return r == -ERANGE ? 0 : r;
                if (strcmp(name, s->attachment->name) != 0)
                        return -EPROTO;

                r = attachment_check_classic(s->attachment, size, reason, sizeof(reason));
                if (r >= 0)
                        attachment_set_classic(s->attachment, size);
        } else {
                struct ivbs_lease_reply reply;

                r = ivbs_lease_reply_decode(payload, header->length, &reply);
                if (r == -ERANGE)
                        session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                                "the proxy gives image \"%s\" an impossible size", s->attachment->name);
                if (r < 0)
                        return r == -ERANGE ? 0 : r;

                r = attachment_check_modern(s->attachment, s->caps, &reply, reason, sizeof(reason));
                if (r >= 0)
                        attachment_set_modern(s->attachment, s->caps, &reply);
        }
        if (r < 0) {
                session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL, "%s", reason);
                return 0;
        }

        become_ready(s);
        return 0;
}
