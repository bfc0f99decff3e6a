/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images in a pool of a Ceph cluster, as RBD images that "rbd" shows, too. Proxies on any number of machines serve one pool; see store-rbd-claim.c for how they share an image, store-rbd-object.c for what
 * is kept with it, and docs/store-rbd.md for the whole.
 *
 * This file is a module of its own (store-rbd.so), which store-module.c loads when the configuration asks for it: whoever serves files needs no Ceph. */

#include <stdarg.h>
#include <string.h>

#include "store-module.h"
#include "store-rbd.h"

#define UUID_OBJECT "blockstore.uuid"
#define KEY_OBJECT  "blockstore.tickets-key"

static struct store *rbd_store_close(struct store *s) {
        struct rbd_store *store = RBD_STORE(s);
        struct rbd_image *image;

        if (!store)
                return NULL;

        /* What hangs in the cluster is left to it: its buffers may still be written to. */
        if (!store_rbd_sweeper_end(store) || !store_rbd_thread_end(store))
                return NULL;
        store_rbd_channel_stop(store);
        store_rbd_close_openings(store);
        if (!TAILQ_EMPTY(&store->openings))
                return NULL;
        store_rbd_forget_requests(store);
        store_rbd_drop_news(store);
        image = TAILQ_FIRST(&store->images);
        if (image)
                store->how.complain(image->name, "An image is still open when its store is closed");
        store_rbd_disconnect(store);
        safe_close(store->event_fd);
        pthread_cond_destroy(&store->sweeper.woken);
        pthread_cond_destroy(&store->opened);
        pthread_cond_destroy(&store->thread_wanted);
        pthread_cond_destroy(&store->thread_idle);
        pthread_mutex_destroy(&store->mutex);
        free(store->shown);
        free(store);
        return NULL;
}
DEFINE_CLEANUP(struct store *, rbd_store_close);

static int explain(char **ret_message, const struct rbd_store *store, const char *what, int error) {
        if (asprintf(ret_message,
                    "Cannot %s the store %s: %s. Its user needs \"profile rbd pool=%s\" at the OSDs and \"profile "
                    "rbd\" "
                    "at the monitors",
                    what, store->shown, strerror(-error), store->how.ceph.pool) < 0)
                *ret_message = NULL;
        return error;
}

static int rbd_store_open(const struct store_how *how, struct store **ret, char **ret_message) {
        _cleanup_(rbd_store_closep) struct store *owned = NULL;
        struct rbd_store *store;
        int r;

        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        store->store.ops = &store_rbd_ops;
        store->how = *how;
        store->event_fd = -EBADF;
        pthread_mutex_init(&store->mutex, NULL);
        pthread_cond_init(&store->sweeper.woken, NULL);
        pthread_cond_init(&store->opened, NULL);
        pthread_cond_init(&store->thread_wanted, NULL);
        pthread_cond_init(&store->thread_idle, NULL);
        STAILQ_INIT(&store->tasks);
        TAILQ_INIT(&store->images);
        TAILQ_INIT(&store->openings);
        TAILQ_INIT(&store->active);
        STAILQ_INIT(&store->over);
        STAILQ_INIT(&store->news);
        TAILQ_INIT(&store->requests);
        owned = &store->store;
        if (asprintf(&store->shown, "%s%s%s of Ceph", how->ceph.pool, how->ceph.name_space ? "/" : "",
                    how->ceph.name_space ? how->ceph.name_space : "") < 0) {
                store->shown = NULL;
                return -ENOMEM;
        }

        r = sd_id128_get_boot(&store->boot_id);
        if (r >= 0)
                r = sd_id128_randomize(&store->instance);
        if (r < 0)
                return r;
        r = store_rbd_connect(store, ret_message);
        if (r < 0)
                return r;
        r = store_rbd_get_random(store, UUID_OBJECT, store->uuid.bytes, sizeof(store->uuid.bytes));
        if (r < 0)
                return explain(ret_message, store, "read", r);
        r = store_rbd_channel_start(store);
        if (r < 0)
                return explain(ret_message, store, "watch", r);
        r = store_rbd_thread_start(store);
        if (r >= 0)
                r = store_rbd_events_start(store);
        if (r >= 0)
                r = store_rbd_sweeper_start(store);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(owned);
        return 0;
}

static void get_identity(const struct store *s, struct store_identity *ret) {
        const struct rbd_store *store = (const struct rbd_store *) s;

        /* What is acknowledged is in the cluster: it hangs on no mount, and the machine is told for other reasons. */
        *ret = (struct store_identity){ .boot_id = store->boot_id, .uuid = store->uuid };
}

static int get_capacity(const struct store *s, uint64_t *ret_total, uint64_t *ret_free) {
        const struct rbd_store *store = (const struct rbd_store *) s;
        uint64_t total = atomic_load(&store->total);

        if (total == 0)
                return -ENODATA;
        *ret_total = total;
        *ret_free = atomic_load(&store->available);
        return 0;
}

static int get_key(struct store *s, uint8_t ret[static STORE_KEY_SIZE]) {
        return store_rbd_get_random(RBD_STORE(s), KEY_OBJECT, ret, STORE_KEY_SIZE);
}

_public_ const char store_module_version[] = STORE_MODULE_VERSION;

_public_ const struct store_ops store_rbd_ops = {
        .type = "rbd",
        .durable_acks = true,
        .preallocates_slowly = true,
        .open = rbd_store_open,
        .close = rbd_store_close,
        .list = store_rbd_list,
        .create = store_rbd_create,
        .remove = store_rbd_remove,
        .rename = store_rbd_rename,
        .list_snapshots = store_rbd_list_snapshots,
        .remove_snapshot = store_rbd_remove_snapshot,
        .copy_begin = store_rbd_copy_begin,
        .copy_prepare = store_rbd_copy_prepare,
        .copy_whole = store_rbd_copy_whole,
        .copy_piece = store_rbd_copy_piece,
        .copy_sync = store_rbd_copy_sync,
        .copy_commit = store_rbd_copy_commit,
        .copy_free = store_rbd_copy_free,
        .open_image = store_rbd_open_image,
        .change_lease = store_rbd_change_lease,
        .resize = store_rbd_resize,
        .look_at_care = store_rbd_look_at_care,
        .set_limits = store_rbd_set_limits,
        .get_limits = store_rbd_get_limits,
        .claim = store_rbd_claim,
        .get_key = get_key,
        .let_go = store_rbd_let_go,
        .get_size = store_rbd_get_size,
        .close_image = store_rbd_close_image,
        .submit = store_rbd_submit,
        .get_identity = get_identity,
        .get_capacity = get_capacity,
};
