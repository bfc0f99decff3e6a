/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The limits of an image, which are a part of its record, so that all proxies see them change. Checksums and scrubs are Ceph's own. */

#include "store-rbd.h"

#define TRIES_MAX 64U /* of a change: each that fails is one that somebody else has made */

static int load(struct rbd_store *store, const char *name, char ret_id[static RBD_ID_SIZE],
        char ret_header[static RBD_HEADER_SIZE], struct rbd_header *ret) {
        int r;

        r = store_rbd_find(store, name, ret_id);
        if (r < 0)
                return r;
        store_rbd_header_name(ret_id, ret_header);
        return store_rbd_load(store, ret_header, ret);
}

int store_rbd_look_at_care(struct store *s, const char *name, struct store_care *ret) {
        char id[RBD_ID_SIZE], object[RBD_HEADER_SIZE];
        struct rbd_header header;
        int r;

        r = load(RBD_STORE(s), name, id, object, &header);
        if (r >= 0)
                *ret = (struct store_care){ .limits = header.record.limits };
        return r;
}

int store_rbd_set_limits(struct store *s, const char *name, sd_id128_t uuid, const struct store_limits *limits) {
        char id[RBD_ID_SIZE], object[RBD_HEADER_SIZE];
        struct rbd_message news = { .type = RBD_MESSAGE_CHANGED };
        struct rbd_store *store = RBD_STORE(s);
        struct rbd_record record;
        struct rbd_header header;
        int r;

        for (unsigned n = 0;; n++) {
                r = load(store, name, id, object, &header);
                if (r < 0)
                        return r;
                if (!sd_id128_is_null(uuid) && !sd_id128_equal(uuid, store_rbd_uuid(store, id, 0)))
                        return -ENOENT;
                record = header.record;
                record.limits = *limits;
                r = store_rbd_save(store, object, &header, &record);
                if (r >= 0)
                        break;
                if (r != -EAGAIN || n >= TRIES_MAX)
                        return r == -EAGAIN ? -ETIMEDOUT : r;
        }

        /* We may have it open as well, and do not listen to ourselves. */
        news.uuid = store_rbd_uuid(store, id, 0);
        store_rbd_bring_news(store, &news);
        store_rbd_tell(store, RBD_MESSAGE_CHANGED, 0, news.uuid, 0);
        return 0;
}

void store_rbd_get_limits(struct store_image *i, struct store_limits *ret) {
        struct rbd_store *store = RBD_STORE(i->store);

        pthread_mutex_lock(&store->mutex);
        *ret = RBD_IMAGE(i)->limits;
        pthread_mutex_unlock(&store->mutex);
}
