/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How the proxies of a store hear of each other, on whatever machines they are: each watches one object of the pool, and what is sent to that object reaches all of them, the sender too. Few messages are
 * sent: when a lease changes, and when an image is wanted that another proxy holds. Nothing rests on a message having arrived: who hears no answer asks again, and who may have missed something looks. */

#include <string.h>

#include "store-rbd.h"

#define WATCH_SECONDS 15U
#define SEND_MSEC     2000U
#define SENDING_MAX   1024U

struct sending {
        struct rbd_store *store;
        char *reply;
        size_t n_reply;
        rados_completion_t completion;
};

static bool is_open(struct rbd_store *store, sd_id128_t uuid) {
        struct rbd_image *image;

        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(image, &store->images, entry)
                if (sd_id128_equal(image->image.uuid, uuid))
                        break;
        pthread_mutex_unlock(&store->mutex);
        return image;
}

/* On a thread of librados'. */
static void heard(void *userdata, uint64_t notify, uint64_t watch, uint64_t notifier, void *data, size_t n) {
        struct rbd_store *store = userdata;
        struct rbd_message message;
        char reply = 0;
        bool ours;

        ours = rbd_message_decode(data, n, &message) >= 0;
        if (ours && message.type == RBD_MESSAGE_IS_OPEN)
                reply = is_open(store, message.uuid);
        (void) rados_notify_ack(store->control_io, CHANNEL_OBJECT, notify, watch, &reply, sizeof(reply));
        if (ours && message.type != RBD_MESSAGE_IS_OPEN)
                store_rbd_bring_news(store, &message);
}

static void broken(void *userdata, uint64_t watch, int error) {
        struct rbd_store *store = userdata;

        pthread_mutex_lock(&store->mutex);
        store->watches = false;
        pthread_mutex_unlock(&store->mutex);
        store_rbd_bring_news(store, NULL);
}

static int watch(struct rbd_store *store) {
        int r;

        r = rados_watch3(store->control_io, CHANNEL_OBJECT, &store->watch, heard, broken, WATCH_SECONDS, store);
        if (r < 0)
                return r;
        pthread_mutex_lock(&store->mutex);
        store->watches = true;
        pthread_mutex_unlock(&store->mutex);
        return 0;
}

int store_rbd_channel_start(struct rbd_store *store) {
        rados_write_op_t op;
        int r;

        op = rados_create_write_op();
        if (!op)
                return -ENOMEM;
        rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
        r = rados_write_op_operate(op, store->control_io, CHANNEL_OBJECT, NULL, 0);
        rados_release_write_op(op);
        return r < 0 ? r : watch(store);
}

void store_rbd_channel_renew(struct rbd_store *store) {
        bool watches;

        pthread_mutex_lock(&store->mutex);
        watches = store->watches;
        pthread_mutex_unlock(&store->mutex);
        if (watches || store->watch == 0)
                return;

        (void) rados_unwatch2(store->control_io, store->watch);
        if (watch(store) >= 0)
                store_rbd_bring_news(store, NULL);
}

void store_rbd_channel_stop(struct rbd_store *store) {
        if (store->watch == 0)
                return;
        (void) rados_unwatch2(store->control_io, store->watch);
        (void) rados_watch_flush(store->control);
        store->watch = 0;
        for (unsigned i = 0; (atomic_load(&store->n_sending) > 0 || atomic_load(&store->probing)) && i < SEND_MSEC;
                i++)
                (void) usleep(1000);
}

static void sent(rados_completion_t completion, void *userdata) {
        struct sending *sending = userdata;

        if (sending->reply)
                rados_buffer_free(sending->reply);
        rados_aio_release(sending->completion);
        sending->store->n_sending--;
        free(sending);
}

void store_rbd_tell(
        struct rbd_store *store, enum rbd_message_type type, unsigned why, sd_id128_t uuid, uint64_t question) {
        const struct rbd_message message = { type, why, uuid, store->instance, question };
        uint8_t data[RBD_MESSAGE_SIZE];
        struct sending *sending;
        int r;

        if (store->watch == 0 || atomic_load(&store->n_sending) >= SENDING_MAX)
                return;
        sending = calloc(1, sizeof(*sending));
        if (!sending)
                return;
        sending->store = store;
        if (rados_aio_create_completion2(sending, sent, &sending->completion) < 0) {
                free(sending);
                return;
        }

        rbd_message_encode(&message, data);
        store->n_sending++;
        r = rados_aio_notify(store->control_io, CHANNEL_OBJECT, sending->completion, (const char *) data, sizeof(data),
                SEND_MSEC, &sending->reply, &sending->n_reply);
        if (r < 0) {
                rados_aio_release(sending->completion);
                store->n_sending--;
                free(sending);
        }
}

int store_rbd_ask_if_open(struct rbd_store *store, sd_id128_t uuid) {
        const struct rbd_message message = { RBD_MESSAGE_IS_OPEN, 0, uuid, store->instance, 0 };
        struct notify_timeout_t *silent = NULL;
        struct notify_ack_t *acks = NULL;
        size_t n = 0, n_acks = 0, n_silent = 0;
        uint8_t data[RBD_MESSAGE_SIZE];
        char *reply = NULL;
        int r, result = 0;

        rbd_message_encode(&message, data);
        r = rados_notify2(store->control_io, CHANNEL_OBJECT, (const char *) data, sizeof(data), SEND_MSEC, &reply, &n);
        if (r < 0 && r != -ETIMEDOUT)
                return r;
        /* Who is silent may have it open: one that was frozen or has lost its connection, and not long ago. */
        if (r == -ETIMEDOUT)
                result = 1;
        if (reply && rados_decode_notify_response(reply, n, &acks, &n_acks, &silent, &n_silent) >= 0) {
                for (size_t i = 0; i < n_acks; i++)
                        if (acks[i].payload_len == 1 && acks[i].payload[0] == 1)
                                result = 1;
                rados_free_notify_response(acks, n_acks, silent);
        }
        if (reply)
                rados_buffer_free(reply);
        return result;
}
