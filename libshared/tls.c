/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The relay's thread, and what the ring sees of it. A connection comes to it by a list under a lock, and what has become of the handshake goes back by an object that both have a reference to: either may let
 * go first, and nobody waits for the other. */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "container-of.h"
#include "tls-link.h"

#define EVENTS_MAX 64

struct arrival {
        STAILQ_ENTRY(arrival) entry;
        struct tls_context *context;
        struct tls_work *work;
        int fd;
        char *name;
        uint64_t limit_usec;
};
STAILQ_HEAD(arrival_list, arrival);

struct tls_relay {
        pthread_t thread;
        int epoll_fd, wake_fd;
        atomic_bool stop;
        pthread_mutex_t lock;
        struct arrival_list arrivals; /* under the lock */
        /* The thread's: those that have a time limit, all others, and of both those that are to be stepped. */
        struct tls_link_list timed, steady, ready;
};

static uint64_t now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

static void wake(struct tls_relay *relay) {
        uint64_t one = 1;

        (void) !write(relay->wake_fd, &one, sizeof(one));
}

/* --- the thread --- */

static struct arrival *take_arrival(struct tls_relay *relay) {
        struct arrival *arrival;

        pthread_mutex_lock(&relay->lock);
        arrival = STAILQ_FIRST(&relay->arrivals);
        if (arrival)
                STAILQ_REMOVE_HEAD(&relay->arrivals, entry);
        pthread_mutex_unlock(&relay->lock);
        return arrival;
}

static void arrival_free(struct arrival *arrival) {
        tls_context_unref(arrival->context);
        safe_close(arrival->fd);
        free(arrival->name);
        free(arrival);
}

static void make_ready(struct tls_relay *relay, struct tls_link *link) {
        if (!link->ready)
                TAILQ_INSERT_TAIL(&relay->ready, link, ready_entry);
        link->ready = true;
}

static void step(struct tls_relay *relay, struct tls_link *link) {
        bool was_timed = link->limit_usec != UINT64_MAX, is_timed;
        enum tls_step outcome = tls_link_step(link, now());

        if (outcome == TLS_STEP_OVER) {
                TAILQ_REMOVE(was_timed ? &relay->timed : &relay->steady, link, entry);
                tls_link_free(link, -ECANCELED);
                return;
        }
        is_timed = link->limit_usec != UINT64_MAX;
        if (is_timed != was_timed) {
                TAILQ_REMOVE(was_timed ? &relay->timed : &relay->steady, link, entry);
                TAILQ_INSERT_TAIL(is_timed ? &relay->timed : &relay->steady, link, entry);
        }
        if (outcome == TLS_STEP_AGAIN)
                make_ready(relay, link);
}

static void welcome(struct tls_relay *relay) {
        struct arrival *arrival;
        struct tls_link *link;
        int r;

        while ((arrival = take_arrival(relay))) {
                link = tls_link_new(arrival->context, relay->epoll_fd, TAKE_FD(arrival->fd), arrival->name,
                        arrival->limit_usec, arrival->work, &r);
                arrival_free(arrival);
                if (!link)
                        continue;
                TAILQ_INSERT_TAIL(&relay->timed, link, entry);
                make_ready(relay, link);
        }
}

/* Those whose time is over, or that nobody waits for any more, are made ready. Returns how long to wait at most, in ms. */
static int look_at_times(struct tls_relay *relay) {
        uint64_t time = now(), earliest = UINT64_MAX;
        struct tls_link *link;

        TAILQ_FOREACH(link, &relay->timed, entry) {
                if (link->limit_usec <= time || (link->work && atomic_load(&link->work->cancelled)))
                        make_ready(relay, link);
                if (link->limit_usec < earliest)
                        earliest = link->limit_usec;
        }
        if (!TAILQ_EMPTY(&relay->ready))
                return 0;
        if (earliest == UINT64_MAX)
                return -1;
        return earliest - time < 60000000U ? (int) ((earliest - time) / 1000U) + 1 : 60000;
}

/* Each once: who is ready again by then has its next turn after the others. */
static void step_ready(struct tls_relay *relay) {
        struct tls_link *last = TAILQ_LAST(&relay->ready, tls_link_list), *link;
        bool more = last;

        while (more) {
                link = TAILQ_FIRST(&relay->ready);
                more = link != last;
                TAILQ_REMOVE(&relay->ready, link, ready_entry);
                link->ready = false;
                step(relay, link);
        }
}

static void *relay_main(void *userdata) {
        struct tls_relay *relay = userdata;
        struct epoll_event events[EVENTS_MAX];
        uint64_t counter;

        (void) pthread_setname_np(pthread_self(), "tls");
        while (!atomic_load(&relay->stop)) {
                int n = epoll_wait(relay->epoll_fd, events, EVENTS_MAX, look_at_times(relay));

                /* Not stepped at once: that may free it, and another of these events may be its, too. */
                for (int i = 0; i < n; i++)
                        if (events[i].data.ptr)
                                make_ready(relay, events[i].data.ptr);
                        else
                                (void) !read(relay->wake_fd, &counter, sizeof(counter));
                welcome(relay);
                step_ready(relay);
        }
        return NULL;
}

/* --- for the ring's --- */

int tls_relay_new(struct tls_relay **ret) {
        _cleanup_free_ struct tls_relay *relay = calloc(1, sizeof(*relay));
        struct epoll_event event = { .events = EPOLLIN };
        int r;

        if (!relay)
                return -ENOMEM;
        TAILQ_INIT(&relay->timed);
        TAILQ_INIT(&relay->steady);
        TAILQ_INIT(&relay->ready);
        STAILQ_INIT(&relay->arrivals);
        atomic_init(&relay->stop, false);
        relay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        r = relay->wake_fd < 0 || relay->epoll_fd < 0 ||
                            epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, relay->wake_fd, &event) < 0
                    ? -errno
                    : -pthread_mutex_init(&relay->lock, NULL);
        if (r >= 0)
                r = -pthread_create(&relay->thread, NULL, relay_main, relay);
        if (r < 0) {
                safe_close(relay->wake_fd);
                safe_close(relay->epoll_fd);
                return r;
        }

        *ret = TAKE_PTR(relay);
        return 0;
}

struct tls_relay *tls_relay_free(struct tls_relay *relay) {
        struct arrival *arrival;
        struct tls_link *link;

        if (!relay)
                return NULL;

        atomic_store(&relay->stop, true);
        wake(relay);
        pthread_join(relay->thread, NULL);
        while ((arrival = take_arrival(relay))) {
                arrival->work->error = -ECANCELED;
                tls_work_report(arrival->work);
                arrival_free(arrival);
        }
        TAILQ_CONCAT(&relay->steady, &relay->timed, entry);
        while ((link = TAILQ_FIRST(&relay->steady))) {
                TAILQ_REMOVE(&relay->steady, link, entry);
                tls_link_free(link, -ECANCELED);
        }
        pthread_mutex_destroy(&relay->lock);
        safe_close(relay->wake_fd);
        safe_close(relay->epoll_fd);
        free(relay);
        return NULL;
}

static void work_done(struct ring_op *op, int32_t res, uint32_t flags) {
        struct tls_handshake *handshake = CONTAINER_OF(op, struct tls_handshake, op);
        struct tls_work *work = TAKE_PTR(handshake->work);
        int error = res < 0 ? res : work->error;

        handshake->fd = safe_close(handshake->fd);
        if (res < 0) {
                /* The relay may be at it: nothing of the work is looked at. */
                handshake->done(handshake, error, -EBADF, NULL, "");
        } else if (error < 0)
                handshake->done(handshake, error, -EBADF, NULL, work->reason[0] ? work->reason : strerror(-error));
        else
                handshake->done(handshake, 0, TAKE_FD(work->fd), &work->info, "");
        tls_work_unref(work);
}

int tls_start(struct tls_handshake *handshake, struct tls_relay *relay, struct ring *ring, struct tls_context *context,
        int fd, const char *name, uint64_t limit_usec,
        void (*done)(
                struct tls_handshake *handshake, int error, int fd, const struct tls_info *info, const char *reason)) {
        struct arrival *arrival = calloc(1, sizeof(*arrival));
        struct tls_work *work = calloc(1, sizeof(*work));
        char *copy = name ? strdup(name) : NULL;
        struct io_uring_sqe *sqe;

        *handshake = (struct tls_handshake){ .op.done = work_done, .done = done, .fd = eventfd(0, EFD_CLOEXEC) };
        if (work)
                work->event_fd = handshake->fd >= 0 ? dup(handshake->fd) : -EBADF;
        if (!arrival || !work || (name && !copy) || work->event_fd < 0) {
                handshake->fd = safe_close(handshake->fd);
                if (work)
                        safe_close(work->event_fd);
                free(arrival);
                free(work);
                free(copy);
                safe_close(fd);
                return -ENOMEM;
        }

        atomic_init(&work->references, 2);
        atomic_init(&work->cancelled, false);
        work->fd = -EBADF;
        work->relay = relay;
        *arrival = (struct arrival){
                .context = tls_context_ref(context),
                .work = work,
                .fd = fd,
                .name = copy,
                .limit_usec = now() + limit_usec,
        };
        pthread_mutex_lock(&relay->lock);
        STAILQ_INSERT_TAIL(&relay->arrivals, arrival, entry);
        pthread_mutex_unlock(&relay->lock);
        wake(relay);

        handshake->work = work;
        sqe = ring_get_sqe(ring);
        io_uring_prep_read(sqe, handshake->fd, &handshake->counter, sizeof(handshake->counter), 0);
        ring_sqe_set_op(sqe, &handshake->op);
        return 0;
}

void tls_cancel(struct tls_handshake *handshake, struct ring *ring) {
        if (!handshake->work)
                return;

        atomic_store(&handshake->work->cancelled, true);
        wake(handshake->work->relay);
        ring_cancel(ring, &handshake->op);
}

void tls_abandon(struct tls_handshake *handshake) {
        if (!handshake->work)
                return;

        handshake->fd = safe_close(handshake->fd);
        tls_work_unref(TAKE_PTR(handshake->work));
}
