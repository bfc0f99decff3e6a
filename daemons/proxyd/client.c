/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of a connection, and what it may say when.
 *
 *     GREETED ──HELLO──▶ INTRODUCED ──LOGIN──▶ LOGGED_IN ──ATTACH──▶ ATTACHED
 *        └──────────────LOGIN─────────────────▶   ▲                     │
 *                                                 └───────DETACH────────┘
 *     any ──the proxy stops──▶ DRAINING        any ──end, error──▶ CLOSING
 *
 * Every packet is answered in its turn or costs the connection, never more. What can be answered is answered: an op
 * that is unknown, comes too early or has an impossible length gets a status, and its payload is skipped, as long as
 * it is short enough to be skipped. A packet with another session's id, or a length that nobody could mean, ends the
 * connection, since the bytes behind it are no packets any more.
 *
 * One slow operation at a time: while it is under way the input is not looked at, so a client's share of the queues is
 * one job. */

#include <arpa/inet.h>
#include <string.h>
#include <sys/random.h>

#include "client.h"
#include "container-of.h"
#include "log.h"
#include "tcp-tune.h"

#define BIT(state)   (1U << (state))
#define BEFORE_LOGIN (BIT(CLIENT_GREETED) | BIT(CLIENT_INTRODUCED))
#define AFTER_LOGIN  (BIT(CLIENT_LOGGED_IN) | BIT(CLIENT_ATTACHED))
#define ALIVE        (BEFORE_LOGIN | AFTER_LOGIN | BIT(CLIENT_DRAINING))

static void client_keepalive(struct client *client, const struct ivbs_header *header, const uint8_t *payload);

/* What may be said when. cap: the capability that must have been granted, 0 for the classic ops. handler NULL: I/O,
 * see client_request(). diverted: not by a proxy that is being drained. secret: the payload is wiped. */
static const struct op_rule {
        uint32_t op;
        uint64_t cap;
        unsigned states;
        client_handler_t handler;
        bool diverted, secret;
} op_rules[] = {
        { IVBS_OP_KEEPALIVE, 0, ALIVE, client_keepalive },
        { IVBS_OP_HELLO, 0, BIT(CLIENT_GREETED), client_hello },
        { IVBS_OP_LOGIN, 0, BEFORE_LOGIN, client_login, .secret = true },
        { IVBS_OP_LOGIN_TICKET, IVBS_CAP_TICKET, BIT(CLIENT_INTRODUCED), client_login_ticket, .secret = true },
        { IVBS_OP_SCRAM_FIRST, IVBS_CAP_SCRAM, BIT(CLIENT_INTRODUCED), client_scram_first },
        { IVBS_OP_SCRAM_FINAL, IVBS_CAP_SCRAM, BIT(CLIENT_INTRODUCED), client_scram_final, .secret = true },
        { IVBS_OP_SCRAM_TICKET, IVBS_CAP_SCRAM | IVBS_CAP_TICKET, BIT(CLIENT_INTRODUCED), client_scram_ticket },
        { IVBS_OP_ATTACH_TO_IMAGE, 0, BIT(CLIENT_LOGGED_IN), client_attach, .diverted = true },
        { IVBS_OP_READ, 0, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
        { IVBS_OP_WRITE, 0, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
        { IVBS_OP_ATTACH_LEASE, IVBS_CAP_LEASE, BIT(CLIENT_LOGGED_IN), client_attach_lease, .diverted = true },
        { IVBS_OP_RESUME, IVBS_CAP_LEASE, BIT(CLIENT_LOGGED_IN) | BIT(CLIENT_ATTACHED), client_resume_lease,
                .diverted = true },
        { IVBS_OP_FENCE, IVBS_CAP_FENCE | IVBS_CAP_LEASE, BIT(CLIENT_ATTACHED), client_fence, .diverted = true },
        /* A worker that stops together with its proxy can still let go. */
        { IVBS_OP_DETACH, IVBS_CAP_LEASE, BIT(CLIENT_ATTACHED) | BIT(CLIENT_DRAINING), client_detach },
        { IVBS_OP_DRAIN, IVBS_CAP_DRAIN, AFTER_LOGIN, client_order_drain },
        { IVBS_OP_LIST_PROXIES, IVBS_CAP_IMAGES, AFTER_LOGIN, client_list_proxies },
        { IVBS_OP_LIST_IMAGES, IVBS_CAP_IMAGES, AFTER_LOGIN, client_list_images },
        { IVBS_OP_CREATE_IMAGE, IVBS_CAP_IMAGES, AFTER_LOGIN, client_create_image },
        { IVBS_OP_REMOVE_IMAGE, IVBS_CAP_IMAGES, AFTER_LOGIN, client_remove_image },
        { IVBS_OP_RENAME_IMAGE, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_rename_image },
        { IVBS_OP_LIST_SNAPSHOTS, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_list_snapshots },
        { IVBS_OP_REMOVE_SNAPSHOT, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_remove_snapshot },
        { IVBS_OP_SNAPSHOT, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_copy_image, .diverted = true },
        { IVBS_OP_CLONE_IMAGE, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_copy_image, .diverted = true },
        { IVBS_OP_ROLL_BACK, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_copy_image, .diverted = true },
        { IVBS_OP_JOB_STATUS, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_job_status },
        { IVBS_OP_JOB_CANCEL, IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_job_cancel },
        { IVBS_OP_SCRUB, IVBS_CAP_CARE | IVBS_CAP_SNAPSHOTS, AFTER_LOGIN, client_scrub, .diverted = true },
        { IVBS_OP_GET_CARE, IVBS_CAP_CARE, AFTER_LOGIN, client_get_care },
        { IVBS_OP_SET_LIMITS, IVBS_CAP_CARE, AFTER_LOGIN, client_set_limits },
        { IVBS_OP_RESIZE_IMAGE, IVBS_CAP_IMAGES | IVBS_CAP_RESIZE, AFTER_LOGIN, client_resize_image },
        { IVBS_OP_STORE_STATUS, IVBS_CAP_ADMIN, AFTER_LOGIN, client_store_status },
        { IVBS_OP_FLUSH, IVBS_CAP_FLUSH, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
        { IVBS_OP_TRIM, IVBS_CAP_TRIM, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
        { IVBS_OP_WRITE_ZEROES, IVBS_CAP_WRITE_ZEROES, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
        { IVBS_OP_WRITE_FUA, IVBS_CAP_FUA, BIT(CLIENT_ATTACHED), NULL, .diverted = true },
};

const char *client_state_to_string(enum client_state state) {
        static const char *const names[_CLIENT_STATE_MAX] = {
                [CLIENT_GREETED] = "greeted",
                [CLIENT_INTRODUCED] = "introduced",
                [CLIENT_LOGGED_IN] = "logged-in",
                [CLIENT_ATTACHED] = "attached",
                [CLIENT_DRAINING] = "draining",
                [CLIENT_CLOSING] = "closing",
        };

        return names[state];
}

static const struct op_rule *find_rule(const struct client *client, uint32_t op) {
        for (size_t i = 0; i < ELEMENTSOF(op_rules); i++)
                if (op_rules[i].op == op)
                        return (op_rules[i].cap & ~client->caps) == 0 ? op_rules + i : NULL;
        return NULL;
}

/* Why an op is refused in this state. */
static enum ivbs_status disorder(const struct client *client, const struct op_rule *rule) {
        if (client->state == CLIENT_DRAINING)
                return IVBS_STATUS_USE_ANOTHER_PROXY;
        if ((BEFORE_LOGIN & BIT(client->state)) && !(rule->states & BEFORE_LOGIN))
                return IVBS_STATUS_NOT_LOGGEDIN;
        return IVBS_STATUS_INVALID_REQUEST;
}

static ssize_t refuse(struct client *client, const struct ivbs_header *header, enum ivbs_status status) {
        client->skip = header->length;
        client_answer(client, header->op, header->sequence, status);
        return IVBS_HEADER_SIZE;
}

static ssize_t input(struct stream *stream, const uint8_t *data, size_t n) {
        struct client *client = stream->owner;
        const struct op_rule *rule;
        struct ivbs_header header;
        int r;

        if (client->state == CLIENT_CLOSING)
                return (ssize_t) n;

        if (client->checking) {
                /* Who has more to say than fits is not heard, and not seen to leave, either. */
                if (n == STREAM_INPUT_SIZE)
                        client_pause(client, PAUSE_CONTROL);
                return 0;
        }

        if (client->skip > 0) {
                size_t skipped = client->skip < n ? (size_t) client->skip : n;

                client->skip -= skipped;
                return (ssize_t) skipped;
        }

        if (n < IVBS_HEADER_SIZE)
                return 0;
        if (client->n_requests >= CLIENT_REQUESTS_MAX) {
                client_pause(client, PAUSE_FULL);
                return 0;
        }

        ivbs_header_decode(data, &header);
        if (memcmp(header.session_id, client->session_id, IVBS_SESSION_ID_SIZE) != 0) {
                log_event(LOG_NOTICE, CLIENT_FIELDS(client),
                        "%s sent a packet with the id of another session: connection closed", client->address);
                return -EPROTO;
        }

        r = ivbs_header_check(&header, IVBS_TO_SERVER);
        if (r == -EMSGSIZE && header.length > IVBS_LENGTH_MAX) {
                log_event(LOG_NOTICE, CLIENT_FIELDS(client),
                        "%s sent a packet (%s) with the impossible length %u: connection closed", client->address,
                        ivbs_op_to_string(header.op), header.length);
                client_answer_last(client, header.op, header.sequence, IVBS_STATUS_INVALID_REQUEST);
                return (ssize_t) n;
        }
        if (r < 0)
                return refuse(client, &header, IVBS_STATUS_INVALID_REQUEST);

        rule = find_rule(client, header.op);
        if (!rule)
                return refuse(client, &header, IVBS_STATUS_INVALID_REQUEST);
        if (!(rule->states & BIT(client->state)))
                return refuse(client, &header, disorder(client, rule));
        if (rule->diverted && client->proxy->diverting) {
                /* Who comes with an image was not there when the others were told. */
                if (client->state == CLIENT_LOGGED_IN && (rule->cap & IVBS_CAP_LEASE))
                        client_tell_diverting(client);
                return refuse(client, &header, IVBS_STATUS_USE_ANOTHER_PROXY);
        }

        if (!rule->handler)
                return client_request(client, &header, data, n);

        if (n < IVBS_HEADER_SIZE + header.length)
                return 0;
        rule->handler(client, &header, data + IVBS_HEADER_SIZE);
        /* The stream's buffer, which is not read-only: nobody has use for what is consumed. */
        if (rule->secret)
                explicit_bzero((uint8_t *) data + IVBS_HEADER_SIZE, header.length);
        return (ssize_t) (IVBS_HEADER_SIZE + header.length);
}

static int payload(struct stream *stream) {
        return client_payload(stream->owner);
}

static void client_keepalive(struct client *client, const struct ivbs_header *header, const uint8_t *data) {
        client_answer(client, IVBS_OP_KEEPALIVE, header->sequence, IVBS_STATUS_OK);
}

void client_set_state(struct client *client, enum client_state state) {
        /* From the last two there is no way back. */
        if (client->state < CLIENT_DRAINING || state > client->state)
                client->state = state;
}

void client_pause(struct client *client, unsigned why) {
        client->pauses |= why;
        stream_pause(&client->stream);
}

void client_resume(struct client *client, unsigned why) {
        if (!(client->pauses & why))
                return;

        client->pauses &= ~why;
        if (client->pauses == 0)
                stream_resume(&client->stream);
}

/* --- time --- */

static void watch(struct client *client) {
        uint64_t limit = client->proxy->settings->idle_limit_usec;

        if (client->state < CLIENT_LOGGED_IN && client->proxy->settings->login_limit_usec < limit)
                limit = client->proxy->settings->login_limit_usec;
        if (limit != UINT64_MAX)
                ring_timer_set(&client->timer, limit);
}

/* Silence is what the client does: our pushes do not count, and while we owe an answer it has no reason to speak. What
 * is sent and not taken counts from the last byte that was. */
static void silence(struct ring_timer *timer) {
        struct client *client = CONTAINER_OF(timer, struct client, timer);
        uint64_t limit = client->proxy->settings->idle_limit_usec, since = client->stream.last_input_usec, now;

        if (client->state == CLIENT_CLOSING) {
                client_close(client, -ETIMEDOUT);
                return;
        }
        if (client->state < CLIENT_LOGGED_IN && !client->control.busy) {
                now = ring_now_usec(client->proxy->ring);
                if (now - client->accepted_usec >= client->proxy->settings->login_limit_usec) {
                        client_close(client, -ETIMEDOUT);
                        return;
                }
        }
        if (client->control.busy || client->attachment.n_ios > 0) {
                watch(client);
                return;
        }

        if (client->n_requests > 0 && client->stream.last_output_usec > since)
                since = client->stream.last_output_usec;
        now = ring_now_usec(client->proxy->ring);
        if (limit != UINT64_MAX && now - since >= limit) {
                client_close(client, -ETIMEDOUT);
                return;
        }

        if (limit == UINT64_MAX)
                watch(client);
        else
                ring_timer_set(timer, since + limit - now);
}

static void timer_stopped(struct ring_timer *timer) {
        client_settle(CONTAINER_OF(timer, struct client, timer));
}

/* --- the end --- */

static void closing(struct stream *stream, int error) {
        struct client *client = stream->owner;

        client->state = CLIENT_CLOSING;
        ring_timer_unset(&client->timer);
        client_request_closing(client);
        client_login_abandon(client);
        attachment_end(&client->attachment);
}

static void closed(struct stream *stream, int error) {
        struct client *client = stream->owner;

        if (error == -ETIMEDOUT)
                log_event(LOG_NOTICE, CLIENT_FIELDS(client), "%s has been silent for too long: connection closed",
                        client->address);
        else if (error < 0 && error != -EPROTO)
                log_event(LOG_INFO, CLIENT_FIELDS(client), "%s is gone: %s", client->address, strerror(-error));
        else
                log_event(LOG_DEBUG, CLIENT_FIELDS(client), "%s has closed its connection", client->address);

        client->over = true;
        client_request_abandon(client);
        client_settle(client);
}

static void farewell(struct ring_deferred *deferred) {
        struct client *client = CONTAINER_OF(deferred, struct client, farewell);
        struct proxy *proxy = client->proxy;

        TAILQ_REMOVE(&proxy->clients, client, entry);
        explicit_bzero(&client->attachment, sizeof(client->attachment));
        client_scram_free(client->scram);
        free(client);
        proxy->client_gone(proxy);
}

void client_settle(struct client *client) {
        /* Who has nothing attached, or cannot be told to go, goes when it has got its answers. */
        if (client->state == CLIENT_DRAINING && client->n_requests == 0 && !client->control.busy &&
                (!(client->caps & IVBS_CAP_NOTICE) || attachment_is_over(&client->attachment)))
                client_close(client, 0);

        if (client->over && client->n_requests == 0 && !client->control.busy &&
                attachment_is_over(&client->attachment) && ring_timer_is_idle(&client->timer))
                ring_defer(client->proxy->ring, &client->farewell);
}

void client_close(struct client *client, int error) {
        stream_close(&client->stream, error);
}

void client_rights_changed(struct client *client) {
        struct attachment *a = &client->attachment;
        struct users *users = client->proxy->users;

        if (!client->user[0] || client->state == CLIENT_CLOSING)
                return;

        if (!users_exists(users, client->user) || (a->image && !users_may_read(users, client->user, a->image->name))) {
                log_event(LOG_NOTICE, CLIENT_EVENT_FIELDS(client, MESSAGE_RIGHTS_REFUSED),
                        "%s (%s) has lost its rights: connection closed", client->user, client->address);
                client_close(client, -EPROTO);
                return;
        }
        if (a->image && client->lost_writing && users_may_write(users, client->user, a->image->name)) {
                /* It was attached without it meanwhile; what holds then is decided by an attach, and by nothing else. */
                log_event(LOG_NOTICE, CLIENT_FIELDS(client),
                        "%s (%s) may write %s again: connection closed, to be attached anew", client->user,
                        client->address, a->image->name);
                client_close(client, -EPROTO);
                return;
        }
        if (a->image && a->writes && !users_may_write(users, client->user, a->image->name)) {
                client->lost_writing = true;
                log_event(LOG_NOTICE, CLIENT_EVENT_FIELDS(client, MESSAGE_RIGHTS_REFUSED),
                        "%s (%s) has lost the right to write %s", client->user, client->address, a->image->name);
                attachment_make_read_only(a);
        }
}

/* --- the beginning --- */

void client_address_to_text(const struct sockaddr *sa, char *ret, size_t size) {
        char host[INET6_ADDRSTRLEN] = "?";

        if (sa->sa_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) sa;

                if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
                        inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
                        (void) snprintf(ret, size, "%s:%u", host, (unsigned) ntohs(in6->sin6_port));
                        return;
                }
                inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
                (void) snprintf(ret, size, "[%s]:%u", host, (unsigned) ntohs(in6->sin6_port));
        } else if (sa->sa_family == AF_INET) {
                const struct sockaddr_in *in = (const struct sockaddr_in *) sa;

                inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
                (void) snprintf(ret, size, "%s:%u", host, (unsigned) ntohs(in->sin_port));
        } else
                (void) snprintf(ret, size, "local");
}

static void greet(struct client *client) {
        const struct proxy *proxy = client->proxy;
        struct ivbs_identity identity;
        struct ivbs_greeting greeting = { .caps = proxy->caps, .max_length = IVBS_LENGTH_MAX };
        uint64_t idle_msec = proxy->settings->idle_limit_usec / 1000U;
        uint8_t data[IVBS_GREETING_SIZE];

        /* 0 says never. */
        if (proxy->settings->idle_limit_usec != UINT64_MAX)
                greeting.idle_limit_ms = idle_msec < UINT32_MAX ? (uint32_t) idle_msec : UINT32_MAX;
        proxy_get_identity(proxy, &identity);
        memcpy(greeting.boot_id, identity.boot_id, IVBS_UUID_SIZE);
        memcpy(greeting.instance_id, proxy->instance_id.bytes, IVBS_UUID_SIZE);
        ivbs_greeting_encode(&greeting, data);
        (void) ivbs_transcript_start(&client->transcript, client->session_id);
        (void) ivbs_transcript_add(&client->transcript, data, sizeof(data));
        client_answer_copy(client, IVBS_OP_GREETING, 0, IVBS_STATUS_OK, data, sizeof(data));
}

/* From this machine to itself, by whichever of its addresses. */
static bool is_local(const struct sockaddr *peer, const struct sockaddr *local) {
        const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *) peer, *b6 = (const struct sockaddr_in6 *) local;
        const struct sockaddr_in *a = (const struct sockaddr_in *) peer, *b = (const struct sockaddr_in *) local;

        if (peer->sa_family == AF_UNIX)
                return true;
        if (peer->sa_family != local->sa_family)
                return false;
        if (peer->sa_family == AF_INET)
                return a->sin_addr.s_addr == b->sin_addr.s_addr || ntohl(a->sin_addr.s_addr) >> 24 == 127;
        return peer->sa_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

int client_new(struct client **ret, struct proxy *proxy, int fd, const struct sockaddr *peer,
        const struct sockaddr *local, const struct tls_info *tls) {
        static const struct stream_ops ops = {
                .input = input,
                .payload = payload,
                .closed = closed,
                .closing = closing,
        };
        struct client *client;
        int r;

        client = calloc(1, sizeof(*client));
        if (!client) {
                safe_close(fd);
                return -ENOMEM;
        }
        client->proxy = proxy;
        client->max_length = IVBS_LENGTH_MAX;
        client->farewell.run = farewell;
        client->accepted_usec = ring_now_usec(proxy->ring);
        client_address_to_text(peer, client->address, sizeof(client->address));
        login_address_of(peer, &client->login_address);
        if (local->sa_family != AF_UNSPEC) {
                client_address_to_text(local, client->local_address, sizeof(client->local_address));
                client->secure = is_local(peer, local);
        }
        if (tls) {
                client->secure = client->encrypted = true;
                memcpy(client->tls_binding, tls->binding, sizeof(client->tls_binding));
                (void) snprintf(client->tls, sizeof(client->tls), ", by %s%s", tls->version,
                        tls->in_kernel ? " in the kernel" : "");
        }
        if (getrandom(client->session_id, sizeof(client->session_id), 0) != (ssize_t) sizeof(client->session_id)) {
                safe_close(fd);
                free(client);
                return -EIO;
        }

        if (!tls)
                tcp_tune(fd);
        ring_timer_init(&client->timer, proxy->ring, silence);
        client->timer.stopped = timer_stopped;
        r = stream_init(&client->stream, proxy->ring, fd, &ops, client);
        if (r < 0) {
                free(client);
                return r;
        }

        TAILQ_INSERT_TAIL(&proxy->clients, client, entry);
        greet(client);
        watch(client);
        *ret = client;
        return 0;
}
