/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What all sessions of a proxy share. The server owns it; a session takes from it and reports through its callbacks.
 */

#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>

#include "attachment.h"
#include "buffers.h"
#include "image-job.h"
#include "ivbs-hello.h"
#include "jobs.h"
#include "login-limits.h"
#include "logins.h"
#include "ring.h"
#include "settings.h"
#include "store.h"
#include "tickets.h"
#include "users.h"

/* What HELLO can be granted, besides TICKET, which needs the store's key, and SNAPSHOTS, which not every store can make. */
#define PROXY_CAPS                                                                                                  \
        (IVBS_CAP_FLUSH | IVBS_CAP_FUA | IVBS_CAP_TRIM | IVBS_CAP_WRITE_ZEROES | IVBS_CAP_IMAGES | IVBS_CAP_LEASE | \
                IVBS_CAP_FENCE | IVBS_CAP_DURABILITY | IVBS_CAP_NOTICE | IVBS_CAP_DRAIN | IVBS_CAP_RESIZE |         \
                IVBS_CAP_CARE | IVBS_CAP_SCRAM | IVBS_CAP_ADMIN)

struct client;
struct request;
TAILQ_HEAD(client_list, client);
SLIST_HEAD(request_list, request);

struct proxy {
        const struct settings *settings;
        struct ring *ring;
        struct store *store;
        struct images *images;
        struct users *users;
        struct jobs *store_jobs; /* the store's thread */
        /* The thread's of users_jobs: what it has read last, which is users or about to be. */
        const struct users *newest_users;
        struct jobs *users_jobs; /* the users file: neither a slow disk of the store nor a slow hash is in its way */
        struct login_limits *login_limits;
        struct logins *logins;         /* slow hashes keep only each other waiting */
        struct jobs *copy_jobs;        /* copies of images keep only each other waiting */
        struct image_jobs *image_jobs; /* NULL: the store can make none */
        struct buffers *buffers;
        sd_id128_t instance_id;
        uint64_t caps; /* what HELLO can be granted */
        uint8_t ticket_key[TICKET_KEY_SIZE];
        bool draining;  /* it stops */
        bool diverting; /* clients are sent elsewhere, see client-drain.c */
        struct client_list clients;

        /* Requests that nobody uses, see client-request.c. */
        struct request_list free_requests;
        unsigned n_free_requests, n_idle_requests; /* how many; the least that were since the last trim */
        /* Who waits for a buffer, first come first served. */
        struct client_list memory_waiters;

        /* A client is gone and its memory freed. */
        void (*client_gone)(struct proxy *proxy);
        /* Somebody waits for a buffer. */
        void (*memory_short)(struct proxy *proxy);
        /* diverting is another one now. */
        void (*diverting_changed)(struct proxy *proxy);
        /* The users file has changed. Takes users. */
        void (*users_changed)(struct proxy *proxy, struct users *users);
};

/* What a flush that succeeds now holds under. */
static inline void proxy_get_identity(const struct proxy *proxy, struct ivbs_identity *ret) {
        struct store_identity identity;

        proxy->store->ops->get_identity(proxy->store, &identity);
        *ret = (struct ivbs_identity){ .mount_instance = identity.mount_instance,
                .error_epoch = identity.error_epoch };
        memcpy(ret->boot_id, identity.boot_id.bytes, IVBS_UUID_SIZE);
        memcpy(ret->store_uuid, identity.uuid.bytes, IVBS_UUID_SIZE);
}
