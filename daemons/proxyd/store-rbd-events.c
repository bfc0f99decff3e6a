/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From Ceph's threads to the ring's: an eventfd that the ring reads, behind it what librbd has finished and the messages of other proxies. Messages that nobody takes are bounded in number; when some are lost,
 * every open image is looked at anew, which is what most of them are about, and questions are asked again by whoever asks. */

#include <string.h>
#include <sys/eventfd.h>

#include "store-rbd.h"

#define NEWS_MAX   4096U
#define TICK_USEC  1000000U
#define LOOK_TICKS 10U

struct rbd_news {
        struct rbd_message message;
        STAILQ_ENTRY(rbd_news) entry;
};

static void arm(struct rbd_store *store) {
        struct io_uring_sqe *sqe = ring_get_sqe(store->how.ring);

        io_uring_prep_read(sqe, store->event_fd, &store->events, sizeof(store->events), 0);
        ring_sqe_set_op(sqe, &store->event_op);
}

void store_rbd_wake(struct rbd_store *store) {
        const uint64_t one = 1;

        if (store->event_fd >= 0)
                (void) !write(store->event_fd, &one, sizeof(one));
}

void store_rbd_bring_news(struct rbd_store *store, const struct rbd_message *message) {
        struct rbd_news *news = message ? malloc(sizeof(*news)) : NULL;

        if (news)
                *news = (struct rbd_news){ .message = *message };
        pthread_mutex_lock(&store->mutex);
        if (news && store->n_news < NEWS_MAX) {
                STAILQ_INSERT_TAIL(&store->news, news, entry);
                store->n_news++;
                news = NULL;
        } else
                store->missed = true;
        pthread_mutex_unlock(&store->mutex);
        free(news);
        store_rbd_wake(store);
}

static void look_at_all(struct rbd_store *store) {
        struct rbd_image *image;

        /* The callback does not open or close images. */
        pthread_mutex_lock(&store->mutex);
        TAILQ_FOREACH(image, &store->images, entry)
                if (store->how.record_changed)
                        store->how.record_changed(&image->image, store->how.userdata);
        pthread_mutex_unlock(&store->mutex);
}

static void take_news(struct rbd_store *store) {
        struct rbd_news_list list = STAILQ_HEAD_INITIALIZER(list);
        struct rbd_news *news;
        bool missed;

        pthread_mutex_lock(&store->mutex);
        STAILQ_CONCAT(&list, &store->news);
        store->n_news = 0;
        missed = store->missed;
        store->missed = false;
        pthread_mutex_unlock(&store->mutex);

        while ((news = STAILQ_FIRST(&list))) {
                STAILQ_REMOVE_HEAD(&list, entry);
                store_rbd_take_news(store, &news->message);
                free(news);
        }
        if (missed)
                look_at_all(store);
}

static void happened(struct ring_op *op, int32_t res, uint32_t flags) {
        struct rbd_store *store = CONTAINER_OF(op, struct rbd_store, event_op);

        if (res == -ECANCELED)
                return;
        arm(store);
        store_rbd_reap(store);
        take_news(store);
}

static void run_look(struct rbd_task *task) {
        struct rbd_store *store = CONTAINER_OF(task, struct rbd_store, look);
        struct rados_cluster_stat_t stat;

        if (rados_cluster_stat(store->control, &stat) >= 0) {
                atomic_store(&store->total, stat.kb * 1024U);
                atomic_store(&store->available, stat.kb_avail * 1024U);
        }
        store_rbd_channel_renew(store);
        pthread_mutex_lock(&store->mutex);
        store->look_queued = false;
        pthread_mutex_unlock(&store->mutex);
}

static void look(struct rbd_store *store) {
        bool queued;

        pthread_mutex_lock(&store->mutex);
        queued = store->look_queued;
        store->look_queued = true;
        pthread_mutex_unlock(&store->mutex);
        if (!queued)
                store_rbd_thread_do(store, &store->look);
}

static void due(struct ring_timer *timer) {
        struct rbd_store *store = CONTAINER_OF(timer, struct rbd_store, timer);

        store_rbd_probe(store);
        if (++store->n_ticks % LOOK_TICKS == 0)
                look(store);
        ring_timer_set(timer, TICK_USEC);
}

void store_rbd_is_shut_out(struct rbd_store *store, const char *image, int error) {
        char message[1024];
        bool told;

        pthread_mutex_lock(&store->mutex);
        told = store->shut_out;
        store->shut_out = true;
        pthread_mutex_unlock(&store->mutex);
        if (told)
                return;

        if (error == -ESHUTDOWN)
                (void) snprintf(message, sizeof(message),
                        "This proxy was shut out of the Ceph cluster (%s is blocklisted): another one has taken over "
                        "what it "
                        "held. It stops, and nothing that it still has in hand is written",
                        store->address);
        else
                (void) snprintf(message, sizeof(message),
                        "This proxy (%s) has lost the lock on %s: somebody has broken it. It stops, and nothing that "
                        "it still "
                        "has in hand is written",
                        store->address, image);
        store->how.shut_out(message, store->how.userdata);
}

int store_rbd_events_start(struct rbd_store *store) {
        store->look.run = run_look;
        store->tell.run = store_rbd_tell_over;
        if (!store->how.ring)
                return 0;

        store->event_fd = eventfd(0, EFD_CLOEXEC);
        if (store->event_fd < 0)
                return -errno;
        store->event_op.done = happened;
        arm(store);
        ring_timer_init(&store->timer, store->how.ring, due);
        ring_timer_set(&store->timer, TICK_USEC);
        look(store);
        return 0;
}

void store_rbd_drop_news(struct rbd_store *store) {
        struct rbd_news *news;

        while ((news = STAILQ_FIRST(&store->news))) {
                STAILQ_REMOVE_HEAD(&store->news, entry);
                free(news);
        }
}
