/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The image's side of a session: taking the lease the first time, resuming it ever after, and raising its generation. Only the very first session of a device attaches; all others
 * bring the token, so a host that has been fenced cannot steal its image back by reconnecting.
 *
 * A FENCE whose answer was lost leaves two generations possible. That is noted before it is sent, in the file as well, and RESUME then tries the one and the other: both are
 * this attachment's own, for the token is. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "fault-point.h"
#include "session.h"

static int send_attach(struct session *s, uint64_t generation) {
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
                struct ivbs_resume resume = { .flags = flags, .generation = generation };

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

        s->resume_generation = generation;
        session_send_control(s, op, payload, n);
        explicit_bzero(payload, sizeof(payload));
        return 0;
}

static void become_ready(struct session *s) {
        s->awaiting = false;
        if (s->state != SESSION_READY)
                session_set_state(s, SESSION_READY);
        s->ops->ready(s);
}

static void attach(struct session *s) {
        int r;

        r = send_attach(s, s->attachment->generation);
        if (r < 0)
                session_close(s, SESSION_REFUSED, FAILURE_CONFIGURATION,
                        "the store can have no image of the name \"%s\"", s->attachment->name);
}

void session_attach(struct session *s) {
        session_set_state(s, SESSION_ATTACHING);
        ring_timer_set(&s->timer, s->config->login_timeout_usec);
        attach(s);
}

void session_rejoin(struct session *s) {
        session_owes(s);
        s->awaiting = true;
        attach(s);
}

void session_fence(struct session *s) {
        struct attachment *a = s->attachment;
        uint8_t payload[IVBS_FENCE_SIZE];

        a->fencing = true;
        (void) attachment_save(a);
        fault_point("fence-noted");
        ivbs_fence_encode(a->token, a->generation, payload);
        session_owes(s);
        s->awaiting = true;
        session_send_control(s, IVBS_OP_FENCE, payload, sizeof(payload));
        explicit_bzero(payload, sizeof(payload));
}

/* Who has it, and since when: whoever reads it is to know whether that host is one to take it from. */
static void refuse_held(struct session *s, const char *name, const struct ivbs_holder *holder) {
        time_t since = (time_t) (holder->since_usec / 1000000);
        char text[64] = "";
        struct tm tm;

        if (holder->since_usec > 0 && gmtime_r(&since, &tm))
                (void) strftime(text, sizeof(text), " since %Y-%m-%d %H:%M:%S UTC", &tm);
        session_close(s, SESSION_REFUSED, FAILURE_HELD, "image \"%s\" is attached by %s%s; --steal takes it over",
                name, holder->host[0] ? holder->host : "another host", text);
}

static const char *why_not_now(uint32_t status) {
        switch (status) {
        case IVBS_STATUS_USE_ANOTHER_PROXY:
                return "it drains, or another proxy is taking the image over";
        case IVBS_STATUS_TEMPORARY_ERROR:
                return "it has too much to do";
        default:
                return "somebody else has it";
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
        case IVBS_STATUS_READ_ONLY:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED,
                        "\"%s\" is never written, as a snapshot is not: attach it read-only", name);
                break;
        case IVBS_STATUS_PERMISSION_DENIED:
                session_close(s, SESSION_REFUSED, FAILURE_ACCESS_DENIED, "user \"%s\" may not %s image \"%s\"",
                        s->credentials->user, s->attachment->read_only ? "read" : "write to", name);
                break;
        case IVBS_STATUS_HELD:
                if (ivbs_holder_decode(payload, header->length, &holder) < 0)
                        holder = (struct ivbs_holder){};
                refuse_held(s, name, &holder);
                break;
        case IVBS_STATUS_EXPIRED:
                session_close(s, SESSION_EXPIRED, FAILURE_HELD,
                        "image \"%s\" has been attached by somebody else since", name);
                break;
        case IVBS_STATUS_NOT_READY:
        case IVBS_STATUS_TEMPORARY_ERROR:
        case IVBS_STATUS_USE_ANOTHER_PROXY:
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the proxy cannot attach image \"%s\" now: %s", name,
                        why_not_now(header->status));
                break;
        default:
                session_close(s, SESSION_REFUSED, FAILURE_IO, "the proxy cannot attach image \"%s\": %s", name,
                        ivbs_status_to_string(header->status));
                break;
        }
}

int session_on_attach(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct attachment *a = s->attachment;
        char reason[PROXY_REASON_MAX];
        int r;

        if (header->op != s->control_op || header->sequence != s->control_sequence ||
                (s->state == SESSION_READY && !s->awaiting))
                return -EPROTO;
        if (header->status == IVBS_STATUS_EXPIRED && header->op == IVBS_OP_RESUME) {
                /* It went up while the packet was on its way, or may have. */
                if (s->resume_generation < a->generation)
                        return send_attach(s, a->generation);
                if (a->fencing && s->resume_generation == a->generation)
                        return send_attach(s, a->generation + 1);
        }
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
                                "the proxy gives image \"%s\" an impossible size", a->name);
                if (r < 0)
                        return r == -ERANGE ? 0 : r;
                if (strcmp(name, a->name) != 0)
                        return -EPROTO;

                r = attachment_check_classic(a, size, reason, sizeof(reason));
                if (r >= 0) {
                        attachment_set_classic(a, size);
                        (void) attachment_save(a);
                }
        } else {
                struct ivbs_lease_reply reply;

                r = ivbs_lease_reply_decode(payload, header->length, &reply);
                if (r == -ERANGE)
                        session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL,
                                "the proxy gives image \"%s\" an impossible size", a->name);
                if (r < 0)
                        return r == -ERANGE ? 0 : r;

                /* Who only reads is neither fenced nor fences: a writer's generations are none of its business. */
                if (a->attached && a->read_only)
                        reply.generation = a->generation;
                /* Made before the size that another session was told. */
                if (a->attached && (s->caps & IVBS_CAP_RESIZE) && reply.size_epoch < a->size_epoch &&
                        !s->size_asked_again) {
                        s->size_asked_again = true;
                        return send_attach(s, a->generation);
                }
                r = attachment_check_modern(a, s->caps, &reply, reason, sizeof(reason));
                if (r >= 0) {
                        fault_point("attach-answered");
                        bool known =
                                a->attached && a->generation == reply.generation && a->size_epoch == reply.size_epoch;

                        attachment_set_modern(a, s->caps, &reply);
                        /* A token that cannot be kept costs a restarted worker its resumption, not this one its work. */
                        if (!known)
                                (void) attachment_save(a);
                        s->generation = reply.generation;
                        s->size_epoch = reply.size_epoch;
                        s->noticed_epoch = 0;
                        s->size_asked_again = false;
                        s->identity = reply.identity;
                        s->durable_acks = (reply.flags & IVBS_IMAGE_DURABLE_ACKS) != 0;
                }
        }
        if (r < 0) {
                session_close(s, SESSION_REFUSED, FAILURE_PROTOCOL, "%s", reason);
                return 0;
        }

        become_ready(s);
        return 0;
}

int session_on_fence(struct session *s, const struct ivbs_header *header, const uint8_t *payload) {
        struct attachment *a = s->attachment;
        struct request *request;
        uint64_t generation;

        if (!s->awaiting || header->op != s->control_op || header->sequence != s->control_sequence)
                return -EPROTO;

        switch (header->status) {
        case IVBS_STATUS_OK:
                if (ivbs_fence_reply_decode(payload, header->length, &generation) < 0 || generation < a->generation)
                        return -EPROTO;
                fault_point("fence-answered");
                a->generation = s->generation = generation;
                a->fencing = false;
                s->fenced = true;
                /* What this session itself had in hand was neither refused nor waited for: it is the new generation's. */
                TAILQ_FOREACH(request, &s->in_flight, entry)
                        request->generation = generation;
                (void) attachment_save(a);
                become_ready(s);
                return 0;

        case IVBS_STATUS_EXPIRED:
                /* By one of our own, perhaps, which came late from a connection that was given up. */
                return send_attach(s, a->generation + 1);

        default:
                session_close(s, SESSION_LOST, FAILURE_NO_PROXY, "the proxy cannot fence image \"%s\" now: %s",
                        a->name, ivbs_status_to_string(header->status));
                return 0;
        }
}
