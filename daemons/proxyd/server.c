/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One thread runs the ring and with it every client; three others do what blocks (see jobs.h). The end is in two steps: nobody is let in and the clients are sent
 * elsewhere; when the last is gone, or the time is up, the ring stops. What the kernel may still write to is freed after the ring. */

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>

#include "log.h"
#include "notify.h"
#include "server-internal.h"
#include "stop-limit.h"

#define READY                        "READY=1\n"
#define STATUS_USEC                  500000U
#define RETRY_USEC                   200000U
#define PRESSURE_USEC                1000000U  /* how often clients are looked at while memory is short */
#define STORE_LIMIT_USEC             10000000U /* that a stop waits for the store when clients have had their time */
#define TRIM_USEC                    2000000U  /* how often unused buffers are looked for */
#define PATIENCE                     5U        /* ... and how often one may have stood still */
#define CONTAINER(ptr, type, member) ((type *) ((char *) (ptr) -offsetof(type, member)))

/* --- what systemd sees --- */

/* first: further lines. READY=1 has to arrive, and is waited for; there are no clients yet. */
static void notify_status(struct server *server, const char *first) {
        char *message;

        if (asprintf(&message, "%sSTATUS=%s%u client%s, %u image%s, listening on %s%s", first,
                    server->proxy.draining    ? "stopping: "
                    : server->proxy.diverting ? "drained: "
                                              : "",
                    server->n_clients, server->n_clients == 1 ? "" : "s", images_count(server->proxy.images),
                    images_count(server->proxy.images) == 1 ? "" : "s", server->listeners[0].address,
                    server->n_listeners > 1 ? " and others" : "") < 0)
                return;

        if (strcmp(first, READY) == 0)
                (void) sd_notify(0, message);
        else
                (void) notify_in_passing(message);
        free(message);
}

static void status_due(struct ring_timer *timer) {
        notify_status(CONTAINER(timer, struct server, status_timer), "");
}

static void status_changed(struct server *server) {
        if (!server->status_timer.armed)
                ring_timer_set(&server->status_timer, STATUS_USEC);
}

static void watchdog_due(struct ring_timer *timer) {
        struct server *server = CONTAINER(timer, struct server, watchdog_timer);

        (void) notify_in_passing("WATCHDOG=1");
        ring_timer_set(timer, server->watchdog_usec / 2);
}

static void trim_due(struct ring_timer *timer) {
        struct server *server = CONTAINER(timer, struct server, trim_timer);

        struct client *client;

        (void) buffers_trim(server->proxy.buffers);
        proxy_requests_trim(&server->proxy);
        TAILQ_FOREACH(client, &server->proxy.clients, entry)
                stream_trim(&client->stream);
        ring_timer_set(timer, TRIM_USEC);
}

/* --- clients --- */

static void accept_next(struct listener *listener) {
        struct io_uring_sqe *sqe = ring_get_sqe(listener->server->proxy.ring);

        listener->peer = (struct sockaddr_storage){};
        listener->peer_size = sizeof(listener->peer);
        io_uring_prep_accept(
                sqe, listener->fd, (struct sockaddr *) &listener->peer, &listener->peer_size, SOCK_CLOEXEC);
        ring_sqe_set_op(sqe, &listener->op);
}

static void retry_due(struct ring_timer *timer) {
        struct listener *listener = CONTAINER(timer, struct listener, retry);

        if (!listener->server->proxy.draining)
                accept_next(listener);
}

void server_lost_client(struct server *server) {
        server->n_clients--;
        if (server->proxy.draining && server->n_clients == 0)
                ring_stop(server->proxy.ring);
        else
                status_changed(server);
}

void server_greet(struct server *server, int fd, const struct sockaddr *peer, const struct sockaddr *local,
        const struct tls_info *tls) {
        struct client *client;
        int r;

        r = client_new(&client, &server->proxy, fd, peer, local, tls);
        if (r < 0) {
                log_event(LOG_ERR, NULL, "Cannot serve a new client: %s", strerror(-r));
                server_lost_client(server);
        }
}

static void welcome(struct listener *listener, int fd, const struct sockaddr *peer) {
        struct server *server = listener->server;
        struct sockaddr_storage local = {};
        socklen_t size = sizeof(local);

        if (server->n_clients >= server->settings->clients_max) {
                safe_close(fd);
                if (!server->full_was_logged)
                        log_event(LOG_WARNING, NULL,
                                "There are %u clients, as many as clients-max allows: further ones are turned away",
                                server->n_clients);
                server->full_was_logged = true;
                return;
        }

        (void) getsockname(fd, (struct sockaddr *) &local, &size);
        (void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
        server->n_clients++;
        status_changed(server);
        if (listener->tls)
                server_accept_tls(server, fd, peer, (struct sockaddr *) &local);
        else
                server_greet(server, fd, peer, (struct sockaddr *) &local, NULL);
}

static void accepted(struct ring_op *op, int32_t res, uint32_t flags) {
        struct listener *listener = CONTAINER(op, struct listener, op);
        struct server *server = listener->server;

        if (server->proxy.draining) {
                if (res >= 0)
                        safe_close(res);
                return;
        }

        if (res >= 0)
                welcome(listener, res, (const struct sockaddr *) &listener->peer);
        else if (res != -ECONNABORTED && res != -EINTR) {
                /* Out of descriptors or memory: others have to end first. */
                log_event(LOG_WARNING, NULL, "Cannot take a connection on %s: %s", listener->address, strerror(-res));
                ring_timer_set(&listener->retry, RETRY_USEC);
                return;
        }
        accept_next(listener);
}

static void client_gone(struct proxy *proxy) {
        struct server *server = CONTAINER(proxy, struct server, proxy);

        server->n_clients--;
        server->full_was_logged = false;
        if (proxy->draining && server->n_clients == 0)
                ring_stop(proxy->ring);
        else
                status_changed(server);
}

static void pressure_due(struct ring_timer *timer) {
        struct server *server = CONTAINER(timer, struct server, pressure_timer);
        struct client *client;

        TAILQ_FOREACH(client, &server->proxy.clients, entry)
                client_check_progress(client, PATIENCE);
        if (!TAILQ_EMPTY(&server->proxy.memory_waiters))
                ring_timer_set(timer, PRESSURE_USEC);
}

static void memory_short(struct proxy *proxy) {
        struct server *server = CONTAINER(proxy, struct server, proxy);

        if (!server->pressure_timer.armed)
                ring_timer_set(&server->pressure_timer, PRESSURE_USEC);
}

static void push_due(struct ring_timer *timer) {
        struct server *server = CONTAINER(timer, struct server, push_timer);
        struct client *client;

        TAILQ_FOREACH(client, &server->proxy.clients, entry)
                client_push_proxies(client);
        ring_timer_set(timer, server->settings->proxies_interval_usec);
}

static void diverting_changed(struct proxy *proxy) {
        status_changed(CONTAINER(proxy, struct server, proxy));
}

static void users_changed(struct proxy *proxy, struct users *users) {
        struct client *client, *next;

        users_unref(proxy->users);
        proxy->users = users;
        logins_forget(proxy->logins);
        log_event(LOG_INFO, NULL, "The users were read anew from %s", proxy->settings->users_path);

        for (client = TAILQ_FIRST(&proxy->clients); client; client = next) {
                next = TAILQ_NEXT(client, entry);
                client_rights_changed(client);
        }
}

/* --- signals --- */

static void drain_over(struct ring_timer *timer) {
        struct server *server = CONTAINER(timer, struct server, drain_timer);
        struct client *client;

        log_event(LOG_NOTICE, NULL, "%u client%s had not gone when the time was over", server->n_clients,
                server->n_clients == 1 ? "" : "s");
        TAILQ_FOREACH(client, &server->proxy.clients, entry)
                client_close(client, -ESHUTDOWN);
}

static void drain(struct server *server) {
        struct client *client, *next;

        if (server->proxy.draining)
                return;
        server->proxy.draining = true;
        (void) stop_limit_begin(server->settings->drain_limit_usec + STORE_LIMIT_USEC);
        notify_status(server, "STOPPING=1\n");

        for (unsigned i = 0; i < server->n_listeners; i++) {
                /* Refused from now on; but what systemd listens on is kept for our successor. */
                if (!server->listeners[i].systemd_owns)
                        (void) shutdown(server->listeners[i].fd, SHUT_RDWR);
                ring_cancel(server->proxy.ring, &server->listeners[i].op);
                ring_timer_unset(&server->listeners[i].retry);
        }
        for (client = TAILQ_FIRST(&server->proxy.clients); client; client = next) {
                next = TAILQ_NEXT(client, entry);
                client_drain(client);
        }
        images_set_draining(server->proxy.images, true);
        server_give_up_arrivals(server);

        if (server->n_clients == 0)
                ring_stop(server->proxy.ring);
        else
                ring_timer_set(&server->drain_timer, server->settings->drain_limit_usec);
}

static void await_signal(struct server *server) {
        struct io_uring_sqe *sqe = ring_get_sqe(server->proxy.ring);

        io_uring_prep_read(sqe, server->signal_fd, &server->signal, sizeof(server->signal), 0);
        ring_sqe_set_op(sqe, &server->signal_op);
}

static void signalled(struct ring_op *op, int32_t res, uint32_t flags) {
        struct server *server = CONTAINER(op, struct server, signal_op);

        if (res == (int32_t) sizeof(server->signal)) {
                if (server->signal.ssi_signo == SIGHUP)
                        server_reload(server);
                else
                        drain(server);
        }
        await_signal(server);
}

/* --- start --- */

void server_init(struct server *server) {
        struct proxy *proxy = &server->proxy;

        server->signal_fd = -EBADF;
        server->signal_op.done = signalled;
        TAILQ_INIT(&proxy->clients);
        TAILQ_INIT(&proxy->memory_waiters);
        TAILQ_INIT(&server->arrivals);
        SLIST_INIT(&proxy->free_requests);
        proxy->client_gone = client_gone;
        proxy->diverting_changed = diverting_changed;
        proxy->users_changed = users_changed;
        proxy->memory_short = memory_short;
}

void server_init_timers(struct server *server) {
        struct ring *ring = server->proxy.ring;

        ring_timer_init(&server->push_timer, ring, push_due);
        ring_timer_init(&server->status_timer, ring, status_due);
        ring_timer_init(&server->drain_timer, ring, drain_over);
        ring_timer_init(&server->watchdog_timer, ring, watchdog_due);
        ring_timer_init(&server->pressure_timer, ring, pressure_due);
        ring_timer_init(&server->trim_timer, ring, trim_due);
}

void server_init_listener(struct server *server, struct listener *listener) {
        listener->server = server;
        listener->op.done = accepted;
        ring_timer_init(&listener->retry, server->proxy.ring, retry_due);
}

void server_start_serving(struct server *server) {
        uint64_t total, available;

        ring_set_busy_poll(server->proxy.ring, server->settings->busy_poll_usec);
        for (unsigned i = 0; i < server->n_listeners; i++) {
                log_event(LOG_INFO, NULL, "Listening on %s", server->listeners[i].address);
                accept_next(server->listeners + i);
        }
        await_signal(server);
        ring_timer_set(&server->push_timer, server->settings->proxies_interval_usec);
        ring_timer_set(&server->trim_timer, TRIM_USEC);
        if (sd_watchdog_enabled(0, &server->watchdog_usec) > 0)
                ring_timer_set(&server->watchdog_timer, server->watchdog_usec / 2);

        if (server->proxy.store->ops->get_capacity(server->proxy.store, &total, &available) >= 0)
                log_event(LOG_INFO, NULL, "Serving the store %s, %ju of %ju MiB free", server->settings->store_path,
                        (uintmax_t) (available >> 20), (uintmax_t) (total >> 20));
        notify_status(server, READY);
}

int server_run(struct server *server) {
        return ring_run(server->proxy.ring);
}

struct server *server_free(struct server *server) {
        struct proxy *proxy;

        if (!server)
                return NULL;
        proxy = &server->proxy;

        ring_free(proxy->ring);
        server_free_tls(server);
        jobs_free(proxy->store_jobs);
        jobs_free(proxy->users_jobs);
        logins_free(proxy->logins);
        login_limits_free(proxy->login_limits);
        jobs_free(proxy->copy_jobs);
        proxy_requests_free(proxy);
        buffers_free(proxy->buffers);
        image_jobs_free(proxy->image_jobs);
        images_free(proxy->images);
        if (proxy->store)
                proxy->store->ops->close(proxy->store);
        users_unref(server->reload_users);
        settings_free(server->reload_settings);
        free(server->reload_message);
        free(server->reload_users_message);
        free(server->config_path);
        users_unref(proxy->users);
        for (unsigned i = 0; i < server->n_listeners; i++) {
                safe_close(server->listeners[i].fd);
                free(server->listeners[i].address);
        }
        safe_close(server->signal_fd);
        explicit_bzero(proxy->ticket_key, sizeof(proxy->ticket_key));
        settings_free(server->settings);
        free(server);
        return NULL;
}
