/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store's own thread, for what the ring's thread begins and must not wait for: letting go of a lock, closing an image. It lives until the store is closed, which is longer than the ring and the
 * thread of the jobs. */

#include <string.h>
#include <time.h>

#include "store-rbd.h"

#define END_SECONDS 5 /* then we leave the cluster to find out by itself */

uint64_t store_rbd_now_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

static void *work(void *userdata) {
        struct rbd_store *store = userdata;
        struct rbd_task *task;

        pthread_mutex_lock(&store->mutex);
        for (;;) {
                task = STAILQ_FIRST(&store->tasks);
                if (!task) {
                        store->thread_works = false;
                        pthread_cond_broadcast(&store->thread_idle);
                        if (store->thread_ends)
                                break;
                        pthread_cond_wait(&store->thread_wanted, &store->mutex);
                        continue;
                }
                store->thread_works = true;
                STAILQ_REMOVE_HEAD(&store->tasks, entry);
                pthread_mutex_unlock(&store->mutex);
                task->run(task);
                pthread_mutex_lock(&store->mutex);
        }
        pthread_mutex_unlock(&store->mutex);
        return NULL;
}

int store_rbd_thread_start(struct rbd_store *store) {
        int r;

        r = pthread_create(&store->thread, NULL, work, store);
        if (r > 0)
                return -r;
        (void) pthread_setname_np(store->thread, "rbd");
        store->thread_runs = true;
        return 0;
}

void store_rbd_thread_do(struct rbd_store *store, struct rbd_task *task) {
        pthread_mutex_lock(&store->mutex);
        STAILQ_INSERT_TAIL(&store->tasks, task, entry);
        pthread_cond_signal(&store->thread_wanted);
        pthread_mutex_unlock(&store->mutex);
}

static bool wait_until_idle(struct rbd_store *store, const struct timespec *deadline) {
        int r = 0;

        while (r == 0 && (!STAILQ_EMPTY(&store->tasks) || store->thread_works))
                r = pthread_cond_timedwait(&store->thread_idle, &store->mutex, deadline);
        return r == 0;
}

static void deadline_in(unsigned seconds, struct timespec *ret) {
        clock_gettime(CLOCK_REALTIME, ret);
        ret->tv_sec += seconds;
}

void store_rbd_thread_wait(struct rbd_store *store) {
        struct timespec deadline;

        deadline_in(1, &deadline);
        pthread_mutex_lock(&store->mutex);
        (void) wait_until_idle(store, &deadline);
        pthread_mutex_unlock(&store->mutex);
}

bool store_rbd_thread_is_idle(struct rbd_store *store) {
        bool idle;

        pthread_mutex_lock(&store->mutex);
        idle = STAILQ_EMPTY(&store->tasks) && !store->thread_works;
        pthread_mutex_unlock(&store->mutex);
        return idle;
}

bool store_rbd_thread_end(struct rbd_store *store) {
        struct timespec deadline;
        bool ended;

        if (!store->thread_runs)
                return true;
        deadline_in(END_SECONDS, &deadline);
        pthread_mutex_lock(&store->mutex);
        store->thread_ends = true;
        pthread_cond_signal(&store->thread_wanted);
        ended = wait_until_idle(store, &deadline);
        pthread_mutex_unlock(&store->mutex);
        if (ended) {
                pthread_join(store->thread, NULL);
                store->thread_runs = false;
        }
        return ended;
}
