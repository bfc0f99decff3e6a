/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether this client is still one. A write that fails says so, but not every write fails: librbd, which has lost its watch and its lock, may keep one waiting for a lock that it will never get. So while
 * something is in hand, an object is looked at every second by the same client, and now and then when nothing is. */

#include "store-rbd.h"

#define IDLE_TICKS 10U

static void probed(rados_completion_t completion, void *userdata) {
        struct rbd_store *store = userdata;
        int r = rados_aio_get_return_value(completion);

        rados_aio_release(completion);
        if (r == -ESHUTDOWN)
                store_rbd_is_shut_out(store, NULL, r);
        atomic_store(&store->probing, false);
}

void store_rbd_probe(struct rbd_store *store) {
        rados_completion_t completion;

        /* Letting go of a lock may wait in vain, too. */
        if (TAILQ_EMPTY(&store->active) && store_rbd_thread_is_idle(store) && ++store->n_idle_ticks < IDLE_TICKS)
                return;
        store->n_idle_ticks = 0;
        /* One that is not answered waits for its OSD, as everything else does. */
        if (atomic_exchange(&store->probing, true))
                return;
        if (rados_aio_create_completion2(store, probed, &completion) < 0) {
                atomic_store(&store->probing, false);
                return;
        }
        if (rados_aio_stat(store->data_io, CHANNEL_OBJECT, completion, NULL, NULL) < 0) {
                rados_aio_release(completion);
                atomic_store(&store->probing, false);
        }
}
