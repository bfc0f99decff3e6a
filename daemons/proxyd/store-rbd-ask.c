/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What becomes of the messages of other proxies, on the ring's thread: that the acknowledgement of a question comes from there is the point of it, since it is what would write.
 *
 * A question is broadcast, and only the holder answers. It is repeated by whoever asks; a question that is known already is merely acknowledged once more. */

#include "store-rbd.h"

#define REQUESTS_MAX 4096U

struct rbd_request {
        struct hand_over_request request;
        struct rbd_store *store;
        sd_id128_t uuid;
        uint64_t question;
        struct rbd_task task;
        TAILQ_ENTRY(rbd_request) entry;
};

static struct rbd_image *find_image(struct rbd_store *store, sd_id128_t uuid) {
        struct rbd_image *image;

        TAILQ_FOREACH(image, &store->images, entry)
                if (sd_id128_equal(image->image.uuid, uuid))
                        break;
        return image;
}

/* On the store's own thread, behind the end of the lock. */
static void run_released(struct rbd_task *task) {
        struct rbd_request *request = CONTAINER_OF(task, struct rbd_request, task);

        store_rbd_tell(request->store, RBD_MESSAGE_RELEASED, 0, request->uuid, request->question);
        free(request);
}

static void forget(struct rbd_request *request) {
        TAILQ_REMOVE(&request->store->requests, request, entry);
        request->store->n_requests--;
}

static void released(struct hand_over_request *r) {
        struct rbd_request *request = CONTAINER_OF(r, struct rbd_request, request);

        forget(request);
        request->task.run = run_released;
        store_rbd_thread_do(request->store, &request->task);
}

static void asked(struct rbd_store *store, const struct rbd_message *message) {
        struct rbd_request *request;
        struct rbd_image *image;
        bool concerned;

        pthread_mutex_lock(&store->mutex);
        image = find_image(store, message->uuid);
        concerned = image && (image->held || image->releasing);
        pthread_mutex_unlock(&store->mutex);
        if (!concerned)
                return;

        store_rbd_tell(store, RBD_MESSAGE_ACK, 0, message->uuid, message->question);
        TAILQ_FOREACH(request, &store->requests, entry)
                if (request->question == message->question)
                        return;
        if (store->n_requests >= REQUESTS_MAX)
                return;
        request = malloc(sizeof(*request));
        if (!request)
                return;

        *request = (struct rbd_request){
                .request = { .released = released },
                .store = store,
                .uuid = message->uuid,
                .question = message->question,
        };
        TAILQ_INSERT_TAIL(&store->requests, request, entry);
        store->n_requests++;
        if (store->how.wanted(message->uuid, message->why, &request->request, store->how.userdata) < 0) {
                store_rbd_tell(store, RBD_MESSAGE_REFUSED, 0, message->uuid, message->question);
                forget(request);
                free(request);
        }
}

/* To a question of ours. */
static void answered(struct rbd_store *store, const struct rbd_message *message) {
        struct rbd_image *image;

        pthread_mutex_lock(&store->mutex);
        image = find_image(store, message->uuid);
        if (image && image->asked != RBD_NOT_ASKED && image->question == message->question) {
                if (message->type == RBD_MESSAGE_ASK) {
                        if (image->asked == RBD_ASKED) {
                                image->asked = RBD_ECHOED;
                                image->echoed_usec = store_rbd_now_usec();
                        }
                } else if (image->asked < RBD_RELEASED)
                        image->asked = message->type == RBD_MESSAGE_RELEASED  ? RBD_RELEASED
                                       : message->type == RBD_MESSAGE_REFUSED ? RBD_REFUSED
                                                                              : RBD_ACKNOWLEDGED;
        }
        pthread_mutex_unlock(&store->mutex);
}

void store_rbd_take_news(struct rbd_store *store, const struct rbd_message *message) {
        bool own = sd_id128_equal(message->sender, store->instance);
        struct rbd_image *image;

        switch (message->type) {
        case RBD_MESSAGE_CHANGED:
                if (own || !store->how.record_changed)
                        return;
                pthread_mutex_lock(&store->mutex);
                TAILQ_FOREACH(image, &store->images, entry)
                        if (sd_id128_equal(image->image.uuid, message->uuid))
                                store->how.record_changed(&image->image, store->how.userdata);
                pthread_mutex_unlock(&store->mutex);
                break;

        case RBD_MESSAGE_ASK:
                if (own)
                        answered(store, message);
                else if (store->how.wanted)
                        asked(store, message);
                break;

        case RBD_MESSAGE_ACK:
        case RBD_MESSAGE_RELEASED:
        case RBD_MESSAGE_REFUSED:
                answered(store, message);
                break;

        case RBD_MESSAGE_IS_OPEN:
        case _RBD_MESSAGE_TYPE_MAX:
        default:
                break;
        }
}

void store_rbd_forget_requests(struct rbd_store *store) {
        struct rbd_request *request;

        while ((request = TAILQ_FIRST(&store->requests))) {
                forget(request);
                free(request);
        }
}
