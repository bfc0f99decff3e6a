/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Images whose storage is had ahead: zeroes are written to all of it, which librbd does not turn into holes if asked so. That takes as long as writing does, so it is a job (image-job.h), piece by piece, and by the
 * client for data: one that the cluster holds up goes on when the cluster does. The image is open all the while, which keeps a sweep from it (store-rbd-sweep.c), and has a hidden name until it is whole.
 *
 * What it is good for: the space is counted as used from now on, and is found by who looks for what is left. What not: an OSD that is full stops writes to what has been written before as well. */

#include <string.h>

#include "fault-point.h"
#include "store-rbd.h"

#define PIECE (UINT64_C(16) * 1024U * 1024U) /* some objects at a time; between two of them it can be cancelled */

int store_rbd_thick_begin(struct rbd_store *store, struct rbd_copy *copy, uint64_t size) {
        uint64_t total = atomic_load(&store->total);
        char id[RBD_ID_SIZE];
        int r;

        /* Nobody needs to try for that. Without a manager nothing is known of it. */
        if (total > 0 && size > atomic_load(&store->available))
                return -ENOSPC;
        copy->copy.size = size;
        r = store_rbd_find(store, copy->name, id);
        if (r != -ENOENT)
                return r < 0 ? r : -EEXIST;
        return store_rbd_hidden_name(RBD_THICK_PREFIX, copy->hidden);
}

int store_rbd_thick_make(struct rbd_store *store, struct rbd_copy *copy) {
        char header[RBD_HEADER_SIZE];
        int r;

        r = store_rbd_make(store, copy->hidden, copy->copy.size);
        if (r < 0)
                return r;
        copy->made = true;
        fault_point("rbd-thick-made");
        r = store_rbd_find(store, copy->hidden, copy->id);
        if (r >= 0)
                r = rbd_open(store->data_io, copy->hidden, &copy->handle, NULL);
        if (r < 0)
                return r;
        copy->opened = true;
        /* librbd takes its lock for us. Should we die, another proxy may have to take it away. */
        store_rbd_header_name(copy->id, header);
        r = store_rbd_sign(store, header);
        return r < 0 ? r : STORE_COPY_BY_PIECES;
}

int store_rbd_thick_piece(struct rbd_copy *copy, uint64_t offset, uint64_t *ret_next) {
        uint64_t left = copy->copy.size - offset, length = left < PIECE ? left : PIECE;
        struct rbd_store *store = RBD_STORE(copy->copy.store);
        rbd_completion_t completion;
        int r;

        r = rbd_aio_create_completion(NULL, NULL, &completion);
        if (r < 0)
                return r;
        r = rbd_aio_write_zeroes(
                copy->handle, offset, length, completion, (int) RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
        if (r >= 0)
                r = rbd_aio_wait_for_complete(completion);
        if (r >= 0)
                r = (int) rbd_aio_get_return_value(completion);
        rbd_aio_release(completion);
        if (r == -ESHUTDOWN)
                store_rbd_is_shut_out(store, NULL, r);
        if (r < 0)
                return r;
        fault_point("rbd-piece-written");
        *ret_next = offset + length;
        return 0;
}
