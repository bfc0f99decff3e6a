/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of an engine that has a successor, and the beginning of one that has a predecessor. The order is the reverse of a plain stop: frontends are made quiet, the pool does what it has in hand and
 * flushes, and only then, when no answer can come any more, the frontends let go of their connections. */

#include <errno.h>
#include <stdlib.h>

#include "engine-internal.h"

struct legacies_mail {
        struct mail mail;
        struct legacies *legacies;
        uint64_t timeout_usec;
};

void engine_succession_left(struct engine *engine, struct legacy *legacy) {
        struct legacies *legacies = engine->legacies;

        /* There are no more frontends than that. */
        if (legacies->n >= LEGACIES_MAX)
                return;
        legacies->items[legacies->n++] = *legacy;
        *legacy = (struct legacy){ .fd = -EBADF };
}

bool engine_succession_step(struct engine *engine) {
        struct frontend *frontend, *next;

        if (!engine->pool_stopping) {
                engine->pool_stopping = true;
                pool_stop(engine->pool, false, engine->stop_timeout_usec);
        }
        if (!engine->pool_stopped)
                return false;

        if (!engine->released) {
                engine->released = true;
                proxies_leave_tickets(pool_get_proxies(engine->pool), &engine->legacies->tickets);
                for (frontend = TAILQ_FIRST(&engine->frontends); frontend; frontend = next) {
                        next = TAILQ_NEXT(frontend, entry);
                        frontend_release(frontend);
                }
        }
        return TAILQ_EMPTY(&engine->frontends);
}

static void on_left(struct mail *mail, void *context) {
        struct legacies_mail *left = (struct legacies_mail *) mail;
        struct engine *engine = context;

        engine->events->left(engine->userdata, left->legacies);
        free(left);
}

void engine_succession_post(struct engine *engine) {
        struct legacies_mail *left;

        left = malloc(sizeof(*left));
        if (!left)
                return; /* they break, as after a crash */

        *left = (struct legacies_mail){ .mail.deliver = on_left };
        left->legacies = TAKE_PTR(engine->legacies);
        if (mailbox_send(engine->to_main, &left->mail) < 0) {
                legacies_free(left->legacies);
                free(left);
        }
}

static void on_hand_over(struct mail *mail, void *context) {
        struct legacies_mail *order = (struct legacies_mail *) mail;
        struct engine *engine = context;
        struct frontend *frontend;

        if (!engine->stopping) {
                engine->stopping = engine->handing_over = true;
                engine->legacies = TAKE_PTR(order->legacies);
                engine->stop_timeout_usec = order->timeout_usec;
                TAILQ_FOREACH(frontend, &engine->frontends, entry)
                        frontend_quiesce(frontend);
                engine_stop_begin(engine);
        }
        legacies_free(order->legacies);
        free(order);
}

int engine_hand_over(struct engine *engine, uint64_t timeout_usec) {
        struct legacies_mail *order;
        int r = -ENOMEM;

        order = malloc(sizeof(*order));
        if (!order)
                return -ENOMEM;
        *order = (struct legacies_mail){ .mail.deliver = on_hand_over, .timeout_usec = timeout_usec };
        order->legacies = calloc(1, sizeof(*order->legacies));
        if (order->legacies)
                r = mailbox_send(engine->to_io, &order->mail);
        if (r < 0) {
                legacies_free(order->legacies);
                free(order);
        }
        return r;
}

static void on_adopt(struct mail *mail, void *context) {
        struct legacies_mail *order = (struct legacies_mail *) mail;
        struct engine *engine = context;

        for (size_t i = 0; i < order->legacies->n && !engine->stopping; i++)
                engine_clients_adopt(engine, order->legacies->items + i);
        legacies_free(order->legacies);
        free(order);
}

int engine_adopt(struct engine *engine, struct legacies *legacies) {
        struct legacies_mail *order;
        int r;

        order = malloc(sizeof(*order));
        if (!order) {
                legacies_free(legacies);
                return -ENOMEM;
        }

        *order = (struct legacies_mail){ .mail.deliver = on_adopt, .legacies = legacies };
        r = mailbox_send(engine->to_io, &order->mail);
        if (r < 0) {
                legacies_free(legacies);
                free(order);
        }
        return r;
}
