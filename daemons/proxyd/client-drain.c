/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending clients elsewhere, in two ways.
 *
 * A stop is for good: each client gets its own state for it (see client.c), and its connection ends when it has got its answers and has nothing attached. DRAIN, which an
 * administrator asks for, leaves the proxy up and can be undone: so it is no state of a client but one of the proxy, looked at when a packet comes in. Both tell
 * those who have an image attached at once, and both let go of each image when its last change is over; nothing waits for a timer. */

#include "client.h"
#include "log.h"

static void send_notice(struct client *client, uint64_t closes_in_ms) {
        uint8_t notice[IVBS_NOTICE_LENGTH];

        if (!(client->caps & IVBS_CAP_NOTICE))
                return;
        ivbs_notice_encode(&(const struct ivbs_notice){ IVBS_NOTICE_DRAIN, closes_in_ms }, notice);
        client_answer_copy(client, IVBS_OP_NOTICE, 0, IVBS_STATUS_OK, notice, sizeof(notice));
}

void client_drain(struct client *client) {
        if (client->state >= CLIENT_DRAINING)
                return;

        client->state = CLIENT_DRAINING;
        send_notice(client, client->proxy->settings->drain_limit_usec / 1000U);
        client_settle(client);
}

void client_tell_diverting(struct client *client) {
        send_notice(client, 0);
}

void client_divert(struct client *client) {
        if (client->state == CLIENT_ATTACHED && client->proxy->diverting)
                client_tell_diverting(client);
}

/* Who attached while the order was on its way is told when he has his answer. */
static void set_diverting(struct proxy *proxy, bool on) {
        struct client *client, *next;

        proxy->diverting = on;
        for (client = TAILQ_FIRST(&proxy->clients); client; client = next) {
                next = TAILQ_NEXT(client, entry);
                client_divert(client);
        }
        images_set_draining(proxy->images, on);
        proxy->diverting_changed(proxy);
}

void client_order_drain(struct client *client, const struct ivbs_header *header, const uint8_t *payload) {
        struct proxy *proxy = client->proxy;
        uint32_t flags;
        bool on;

        if (ivbs_drain_decode(payload, header->length, &flags) < 0) {
                client_answer(client, header->op, header->sequence, IVBS_STATUS_INVALID_REQUEST);
                return;
        }
        if (!users_is_admin(proxy->users, client->user)) {
                log_event(LOG_NOTICE, CLIENT_EVENT_FIELDS(client, MESSAGE_RIGHTS_REFUSED),
                        "%s (%s) has no right to drain this proxy", client->user, client->address);
                client_answer(client, header->op, header->sequence, IVBS_STATUS_PERMISSION_DENIED);
                return;
        }

        on = !(flags & IVBS_DRAIN_UNDO);
        if (on != proxy->diverting) {
                log_event(LOG_NOTICE, CLIENT_EVENT_FIELDS(client, MESSAGE_PROXY_DRAINS),
                        on ? "%s (%s) drains this proxy: clients are sent elsewhere"
                           : "%s (%s) ends the drain of this proxy",
                        client->user, client->address);
                set_diverting(proxy, on);
        }
        client_answer(client, header->op, header->sequence, IVBS_STATUS_OK);
}
