/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two threads, and a mailbox each way. The main thread owns the first part of the struct and never looks at the rest; the I/O thread the reverse. The ring is made by the
 * thread that uses it, because the kernel is told that there is one submitter; how that went comes back through a pipe before engine_new() returns.
 *
 * Stopping goes from the top down: frontends, so that nothing new comes in; then the pool, which flushes; then the loop. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine-internal.h"
#include "mark.h"

#define RING_ENTRIES 256U
/* One request of the largest size that NBD has; more of them at a time would only wait for each other further down. */
#define BUFFER_LIMIT (32U * 1024U * 1024U)
#define STATUS_USEC  (1000U * 1000U)

/* The I/O thread */

static bool timers_are_idle(const struct engine *engine) {
        return ring_timer_is_idle(&engine->status_timer) && ring_timer_is_idle(&engine->alive_timer) &&
               ring_timer_is_idle(&engine->accept_timer) && ring_timer_is_idle(&engine->call_timer);
}

void engine_stop_step(struct engine *engine) {
        if (!engine->stopping || engine->finished || engine->accepting)
                return;
        if (engine->handing_over ? !engine_succession_step(engine) : !TAILQ_EMPTY(&engine->frontends))
                return;

        if (!engine->pool_stopping) {
                engine->pool_stopping = true;
                pool_stop(engine->pool, engine->stop_detach, engine->stop_timeout_usec);
        }

        if (engine->pool_stopped && engine->n_surveys == 0 && timers_are_idle(engine)) {
                engine->finished = true;
                ring_stop(engine->ring);
        }
}

void engine_stop_begin(struct engine *engine) {
        ring_timer_unset(&engine->status_timer);
        ring_timer_unset(&engine->alive_timer);
        engine_calls_stop(engine);
        engine_clients_stop(engine);
        engine_stop_step(engine);
}

static void stop(struct engine *engine, bool detach, uint64_t timeout_usec) {
        if (engine->stopping)
                return;

        engine->stopping = true;
        engine->stop_detach = detach;
        engine->stop_timeout_usec = timeout_usec;
        engine_stop_begin(engine);
}

static void pool_attached(void *userdata) {
        struct engine *engine = userdata;

        if (engine->heat)
                heat_set_size(engine->heat, engine->settings.attachment->size, ring_now_usec(engine->ring));
        engine_post_attached(engine);
}

static void pool_resized(void *userdata) {
        engine_clients_resize(userdata);
        engine_post_resized(userdata);
}

static void pool_changed(void *userdata) {
        struct engine *engine = userdata;

        engine_calls_step(engine);
        engine_status_changed(engine);
}

static void pool_failed(void *userdata, enum failure failure, const char *message) {
        struct engine *engine = userdata;

        engine_post_failed(engine, failure, message);
        engine_calls_step(engine);
}

static void pool_stopped(void *userdata, int error) {
        struct engine *engine = userdata;

        engine->pool_stopped = true;
        engine->stop_error = error;
        /* The lease was given up, so what would resume it is of no use any more. */
        if (error == 0 && engine->stop_detach && engine->settings.attachment) {
                (void) attachment_remove(engine->settings.attachment);
                (void) mark_remove(engine->settings.attachment->directory);
        }
        engine_stop_step(engine);
}

static const struct pool_ops pool_ops = {
        .attached = pool_attached,
        .resized = pool_resized,
        .changed = pool_changed,
        .failed = pool_failed,
        .stopped = pool_stopped,
};

static void status_expired(struct ring_timer *timer) {
        struct engine *engine = ENGINE_OF(timer, status_timer);

        if (engine->stats.completed != engine->shown_completed || engine->stats.in_flight > 0)
                engine_status_changed(engine);
        (void) buffers_trim(engine->buffers);
        requests_trim(engine->requests);
        ring_timer_set(&engine->status_timer, STATUS_USEC);
}

static void status_stopped(struct ring_timer *timer) {
        engine_stop_step(ENGINE_OF(timer, status_timer));
}

static void alive_expired(struct ring_timer *timer) {
        struct engine *engine = ENGINE_OF(timer, alive_timer);

        engine_post_alive(engine);
        ring_timer_set(&engine->alive_timer, engine->settings.alive_usec);
}

static void alive_stopped(struct ring_timer *timer) {
        engine_stop_step(ENGINE_OF(timer, alive_timer));
}

static int set_up(struct engine *engine) {
        int r;

        r = ring_new(&engine->ring, RING_ENTRIES);
        if (r < 0)
                return r;
        /* The log has a budget of its own, so that what it keeps takes no slot's memory. */
        r = buffers_new(&engine->buffers, BUFFER_LIMIT + engine->settings.config->retain_limit);
        if (r < 0)
                return r;
        r = requests_new(&engine->requests, engine->buffers, REQUESTS_MAX);
        if (r < 0)
                return r;

        engine_clients_init(engine);
        engine_calls_init(engine);
        ring_set_busy_poll(engine->ring, engine->settings.config->busy_poll_usec);
        ring_timer_init(&engine->status_timer, engine->ring, status_expired);
        ring_timer_init(&engine->alive_timer, engine->ring, alive_expired);
        engine->status_timer.stopped = status_stopped;
        engine->alive_timer.stopped = alive_stopped;

        r = pool_new(&engine->pool, engine->ring, engine->buffers, engine->requests, engine->settings.config,
                engine->settings.credentials, engine->settings.attachment, &pool_ops, engine);
        if (r < 0)
                return r;
        if (engine->settings.tickets)
                proxies_take_tickets(pool_get_proxies(engine->pool), TAKE_PTR(engine->settings.tickets));

        mailbox_receive_ring(engine->to_io, engine->ring, engine);
        ring_timer_set(&engine->status_timer, STATUS_USEC);
        if (engine->settings.alive_usec > 0)
                ring_timer_set(&engine->alive_timer, engine->settings.alive_usec);
        return 0;
}

static void tear_down(struct engine *engine) {
        /* The ring first: it takes back the one operation that is still in the kernel, the mailbox's read. */
        engine->ring = ring_free(engine->ring);
        engine->pool = pool_free(engine->pool);
        engine->requests = requests_free(engine->requests);
        engine->buffers = buffers_free(engine->buffers);
}

static void *thread_main(void *userdata) {
        struct engine *engine = userdata;
        int r;

        r = set_up(engine);
        (void) !write(engine->started_fds[1], &r, sizeof(r));
        if (r >= 0) {
                r = ring_run(engine->ring);
                if (r < 0) {
                        /* The kernel may still write to our memory, so it is left as it is: the process is about to end. */
                        engine_post_failed(engine, FAILURE_SYSTEM, "io_uring failed");
                        engine_post_stopped(engine, r);
                        return NULL;
                }
                if (engine->handing_over)
                        engine_succession_post(engine);
                engine_post_stopped(engine, engine->stop_error);
        }

        tear_down(engine);
        return NULL;
}

/* The main thread */

int engine_new(struct engine **ret, sd_event *event, const struct engine_settings *settings,
        const struct engine_events *events, void *userdata) {
        _cleanup_(engine_freep) struct engine *engine = NULL;
        int r, result;

        engine = calloc(1, sizeof(*engine));
        if (!engine)
                return -ENOMEM;

        engine->settings = *settings;
        engine->events = events;
        engine->userdata = userdata;
        engine->started_fds[0] = engine->started_fds[1] = -EBADF;

        r = mailbox_new(&engine->to_io);
        if (r < 0)
                return r;
        r = mailbox_new(&engine->to_main);
        if (r < 0)
                return r;
        r = mailbox_receive_event(engine->to_main, event, engine);
        if (r < 0)
                return r;
        if (pipe2(engine->started_fds, O_CLOEXEC) < 0)
                return -errno;

        /* It is only for looking at: without memory for it the image is served all the same. */
        if (settings->attachment)
                (void) heat_new(&engine->heat);

        r = -pthread_create(&engine->thread, NULL, thread_main, engine);
        if (r < 0)
                return r;
        engine->has_thread = true;

        if (read(engine->started_fds[0], &result, sizeof(result)) != sizeof(result))
                return -EIO;
        if (result < 0)
                return result;

        *ret = TAKE_PTR(engine);
        return 0;
}

struct engine *engine_free(struct engine *engine) {
        if (!engine)
                return NULL;

        if (engine->has_thread)
                pthread_join(engine->thread, NULL);
        mailbox_free(engine->to_io);
        mailbox_free(engine->to_main);
        legacies_free(engine->legacies);
        heat_free(engine->heat);
        safe_close(engine->started_fds[0]);
        safe_close(engine->started_fds[1]);
        free(engine);
        return NULL;
}

/* What the main thread asks of the I/O thread. */
struct order {
        struct mail mail;
        int fd;
        bool detach;
        uint64_t timeout_usec;
};

static int send_order(struct engine *engine, const struct order *order) {
        struct order *copy;
        int r;

        copy = malloc(sizeof(*copy));
        if (!copy)
                return -ENOMEM;

        *copy = *order;
        r = mailbox_send(engine->to_io, &copy->mail);
        if (r < 0)
                free(copy);
        return r;
}

int engine_heat_fd(const struct engine *engine) {
        return engine->heat ? engine->heat->fd : -EBADF;
}

static void on_accept(struct mail *mail, void *context) {
        free(mail);
        engine_clients_listen(context);
}

int engine_accept(struct engine *engine) {
        return send_order(engine, &(struct order){ .mail.deliver = on_accept });
}

static void on_serve_kernel(struct mail *mail, void *context) {
        _cleanup_free_ struct order *order = (struct order *) mail;

        engine_clients_serve_kernel(context, order->fd);
}

int engine_serve_kernel(struct engine *engine, int fd) {
        int r;

        r = send_order(engine, &(struct order){ .mail.deliver = on_serve_kernel, .fd = fd });
        if (r < 0)
                safe_close(fd);
        return r;
}

static void on_limit_wait(struct mail *mail, void *context) {
        struct engine *engine = context;

        free(mail);
        if (!engine->stopping)
                pool_limit_wait(engine->pool, POOL_STOP_WAIT_USEC);
}

int engine_limit_wait(struct engine *engine) {
        return send_order(engine, &(struct order){ .mail.deliver = on_limit_wait });
}

static void on_stop(struct mail *mail, void *context) {
        _cleanup_free_ struct order *order = (struct order *) mail;

        stop(context, order->detach, order->timeout_usec);
}

int engine_stop(struct engine *engine, bool detach, uint64_t timeout_usec) {
        return send_order(
                engine, &(struct order){ .mail.deliver = on_stop, .detach = detach, .timeout_usec = timeout_usec });
}
