/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The same engine as a worker's, without an attachment: a session that is logged in and nothing more. The supervisor connects, asks, and hangs up; the process stays for a moment in case
 * there is more to ask, since a login costs the proxy a slow password hash.
 *
 * Told to stop, it answers those who are connected, and takes nobody else: they wait in the socket for its successor, which has the settings and the password of that time.
 *
 * A refusal (wrong password) ends the process after it was told, so that the next question starts with the configuration of that time. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>

#include "block-signals.h"
#include "log.h"
#include "query-internal.h"
#include "query.h"

#define IDLE_USEC         (15U * 1000U * 1000U)
#define RETIRE_USEC       (5U * 1000U * 1000U) /* within the unit's TimeoutStopSec=, with the next */
#define STOP_TIMEOUT_USEC (2U * 1000U * 1000U)
#define CLIENTS_MAX       16U

struct client {
        struct query *query;
        sd_bus *bus;
};

static void stop(struct query *q) {
        if (q->stopping)
                return;

        q->stopping = true;
        (void) sd_event_source_set_enabled(q->listen_source, SD_EVENT_OFF);
        (void) sd_notify(false, "STOPPING=1");
        if (!q->engine || engine_stop(q->engine, false, STOP_TIMEOUT_USEC) < 0)
                (void) sd_event_exit(q->event, (int) q->failure);
}

static int on_retire_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        stop(userdata);
        return 0;
}

static void retire(struct query *q) {
        if (q->retiring)
                return;

        q->retiring = true;
        (void) sd_event_source_set_enabled(q->listen_source, SD_EVENT_OFF);
        if (q->n_clients == 0 || sd_event_add_time_relative(q->event, &q->retire_timer, CLOCK_MONOTONIC, RETIRE_USEC,
                                         0, on_retire_timeout, q) < 0)
                stop(q);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        struct query *q = userdata;

        if (q->n_clients == 0)
                stop(q);
        return 0;
}

static void arm_idle(struct query *q) {
        q->idle_timer = sd_event_source_disable_unref(q->idle_timer);
        (void) sd_event_add_time_relative(
                q->event, &q->idle_timer, CLOCK_MONOTONIC, q->refused ? 0 : IDLE_USEC, 0, on_idle, q);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct client *client = userdata;
        struct query *q = client->query;

        sd_bus_close(client->bus);
        sd_bus_unref(client->bus);
        free(client);
        q->n_clients--;
        if (q->retiring && q->n_clients == 0)
                stop(q);
        else
                arm_idle(q);
        return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct query *q = userdata;
        struct client *client;
        int connection, r;

        connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection < 0)
                return 0;
        if (q->n_clients >= CLIENTS_MAX) {
                safe_close(connection);
                return 0;
        }

        client = calloc(1, sizeof(*client));
        if (!client) {
                safe_close(connection);
                return 0;
        }
        client->query = q;

        r = peer_bus_serve(connection, q->event, false, &client->bus);
        if (r < 0) {
                free(client);
                return 0;
        }
        r = sd_bus_add_object_vtable(client->bus, NULL, STORE_PATH, STORE_INTERFACE, query_vtable, q);
        if (r >= 0)
                r = sd_bus_match_signal_async(client->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, client);
        if (r < 0) {
                sd_bus_close_unref(client->bus);
                free(client);
                return 0;
        }

        q->n_clients++;
        return 0;
}

/* Not the end: whoever asks is told. The process goes when nobody asks any more. */
static int refuse(struct query *q, enum failure failure, const char *message) {
        q->refused = failure;
        snprintf(q->sentence, sizeof(q->sentence), "%s", message);
        log_event(LOG_ERR, NULL, "Store operations cannot be done: %s", message);
        return 0;
}

static void on_failed(void *userdata, enum failure failure, const char *message) {
        struct query *q = userdata;

        (void) refuse(q, failure, message);
        arm_idle(q);
}

static void on_status(void *userdata, const struct engine_status *status) {
        struct query *q = userdata;

        q->status = *status;
        (void) sd_notifyf(false, "STATUS=%s%s%s", status->active_proxy[0] ? "Logged in to " : "No proxy",
                status->active_proxy[0] ? status->active_proxy : ": ", status->active_proxy[0] ? "" : status->reason);
}

static void on_stopped(void *userdata, int error) {
        struct query *q = userdata;

        (void) sd_event_exit(q->event, 0);
}

static void on_alive(void *userdata) {
        (void) sd_notify(false, "WATCHDOG=1");
}

static const struct engine_events engine_events = {
        .status = on_status,
        .failed = on_failed,
        .stopped = on_stopped,
        .alive = on_alive,
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        retire(userdata);
        return 0;
}

static int start_engine(struct query *q, const struct passed_password *passed) {
        _cleanup_free_ char *message = NULL;
        struct engine_settings settings = { .listen_fd = -EBADF };
        uint64_t watchdog_usec;
        int r;

        r = host_config_load(NULL, &q->config, &message);
        if (r >= 0 && q->config->n_proxies == 0)
                return refuse(q, FAILURE_CONFIGURATION,
                        "No proxies are configured: set \"proxies\" in " HOST_CONFIG_DIRECTORY "/blockstore.json.");
        if (r >= 0)
                r = credentials_load(q->config, NULL, passed, &q->credentials, &message);
        if (r < 0)
                return refuse(q, FAILURE_CONFIGURATION, message ?: strerror(-r));

        settings.config = q->config;
        settings.credentials = q->credentials;
        if (sd_watchdog_enabled(false, &watchdog_usec) > 0)
                settings.alive_usec = watchdog_usec / 3;

        r = engine_new(&q->engine, q->event, &settings, &engine_events, q);
        if (r < 0)
                return refuse(q, FAILURE_SYSTEM,
                        "io_uring cannot be used on this system. Try: sysctl kernel.io_uring_disabled=0");
        return 0;
}

int query_run(const char *instance) {
        struct passed_password passed;
        struct query q = {};
        int r;

        (void) block_signals(SIGTERM, SIGINT, SIGPIPE, 0);

        (void) passed_password_take(&passed);
        /* The socket comes first, what was stored behind it. */
        if (sd_listen_fds(true) < 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0) {
                log_event(LOG_ERR, NULL,
                        "blockstore-worker --query takes its socket from systemd: start blockstore-query@%s.socket.",
                        instance);
                return FAILURE_USAGE;
        }

        r = sd_event_new(&q.event);
        if (r >= 0)
                r = sd_event_add_signal(q.event, NULL, SIGTERM, on_signal, &q);
        if (r >= 0)
                r = sd_event_add_signal(q.event, NULL, SIGINT, on_signal, &q);
        if (r >= 0)
                r = sd_event_add_io(q.event, &q.listen_source, SD_LISTEN_FDS_START, EPOLLIN, on_connection, &q);
        if (r >= 0)
                r = start_engine(&q, &passed);
        passed_password_wipe(&passed);
        if (r >= 0) {
                arm_idle(&q);
                (void) sd_notify(false, "READY=1");
                r = sd_event_loop(q.event);
        }
        if (r < 0)
                log_event(LOG_ERR, NULL, "Store operations cannot be done: %s.", strerror(-r));

        engine_free(q.engine);
        credentials_free(q.credentials);
        host_config_free(q.config);
        sd_event_source_disable_unref(q.idle_timer);
        sd_event_source_disable_unref(q.retire_timer);
        sd_event_source_disable_unref(q.listen_source);
        sd_event_unref(q.event);
        return r < 0 ? FAILURE_INTERNAL : 0;
}
