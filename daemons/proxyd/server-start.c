/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a configuration file to a proxy that is ready. Each step that can fail for a reason outside has its own exit status and a sentence that says what to do; what
 * was done until then is undone by server_free(). */

#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include <systemd/sd-daemon.h>

#include "block-signals.h"
#include "client.h"
#include "log.h"
#include "message-ids.h"
#include "reclaim.h"
#include "server-internal.h"

#define RING_ENTRIES   512U
#define STORE_JOBS_MAX 1024U

static _printf_(4, 5) int refuse(
        enum failure *ret_failure, enum failure failure, char **ret_message, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret_message, format, ap) < 0)
                *ret_message = NULL;
        va_end(ap);
        *ret_failure = failure;
        return 0;
}

static void complain(const char *image, const char *message) {
        log_event(LOG_ERR, LOG_FIELDS({ "IMAGE", image }), "%s", message);
}

static void record_changed(struct store_image *image, void *userdata) {
        struct server *server = userdata;

        images_record_changed(server->proxy.images, image);
}

static int wanted(sd_id128_t uuid, unsigned why, struct hand_over_request *request, void *userdata) {
        struct server *server = userdata;

        return images_wanted(server->proxy.images, uuid, (enum hand_over_why) why, request);
}

/* At once, whatever thread this is: an answer that went out now could be one that another proxy contradicts, and buffers may be in use by threads that do not end. */
static _Noreturn void shut_out(const char *message, void *userdata) {
        log_event(LOG_CRIT, LOG_FIELDS({ "MESSAGE_ID", MESSAGE_PROXY_SHUT_OUT }), "%s", message);
        (void) sd_notifyf(0, "STATUS=%s\nERRNO=%d", message, ESHUTDOWN);
        _exit(FAILURE_HELD);
}

static void resized(struct image *image, void *userdata) {
        struct proxy *proxy = userdata;
        struct client *client;

        TAILQ_FOREACH(client, &proxy->clients, entry)
                if (client->attachment.image == image)
                        client_tell_size(client);
}

static int receive_signals(int *ret_fd) {
        sigset_t set = block_signals(SIGTERM, SIGINT, SIGHUP, 0);
        int fd;

        /* A limit on file sizes is an answer to a write, not a reason to die. */
        (void) signal(SIGXFSZ, SIG_IGN);
        (void) signal(SIGPIPE, SIG_IGN);
        fd = signalfd(-1, &set, SFD_CLOEXEC);
        if (fd < 0)
                return -errno;

        *ret_fd = fd;
        return 0;
}

static int start_ring(struct server *server, enum failure *ret_failure, char **ret_message) {
        struct proxy *proxy = &server->proxy;
        int r;

        r = ring_new(&proxy->ring, RING_ENTRIES);
        if (r < 0) {
                (void) refuse(ret_failure, FAILURE_SYSTEM, ret_message,
                        r == -EPERM || r == -ENOSYS
                                ? "io_uring is not allowed here (%s). Set sysctl kernel.io_uring_disabled=0, and let "
                                  "the unit's system call filter pass @aio"
                                : "Cannot set up io_uring: %s",
                        strerror(-r));
                return r;
        }

        r = jobs_new(&proxy->store_jobs, proxy->ring, "store", STORE_JOBS_MAX);
        if (r >= 0)
                r = jobs_new(&proxy->users_jobs, proxy->ring, "users", server->settings->clients_max);
        if (r >= 0)
                r = login_limits_new(&proxy->login_limits, server->settings->failed_logins);
        if (r >= 0)
                r = logins_new(&proxy->logins, proxy->ring, users_check, LOGINS_PATIENCE_USEC, LOGINS_LIFE_USEC);
        if (r >= 0)
                r = jobs_new(&proxy->copy_jobs, proxy->ring, "copy", 0); /* what uses it bounds itself */
        if (r >= 0)
                r = buffers_new(&proxy->buffers, server->settings->memory);
        if (r < 0)
                (void) refuse(ret_failure, FAILURE_INTERNAL, ret_message, "Cannot start a thread: %s", strerror(-r));
        return r;
}

static int add_listener(struct server *server, int fd, bool systemd_owns, bool tls) {
        struct listener *listener = server->listeners + server->n_listeners;

        *listener = (struct listener){ .fd = fd, .systemd_owns = systemd_owns, .tls = tls };
        listener->address = listen_describe(fd);
        server_init_listener(server, listener);
        server->n_listeners++;
        return listener->address ? 0 : -ENOMEM;
}

static int listen_on(struct server *server, char **addresses, size_t n, bool tls, char **ret_message) {
        for (size_t i = 0; i < n && server->n_listeners < SERVER_LISTENERS_MAX; i++) {
                int fd, r;

                r = listen_open(addresses[i], &fd, ret_message);
                if (r == -EAFNOSUPPORT && n > 1) {
                        /* A kernel without IPv6 (or IPv4) serves the other. */
                        log_event(LOG_WARNING, NULL, "%s", *ret_message);
                        free(TAKE_PTR(*ret_message));
                        continue;
                }
                if (r >= 0)
                        r = add_listener(server, fd, false, tls);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Sockets of a unit stand for "listen", and those of TLS for "listen-tls", too. */
static int start_listening(struct server *server, enum failure *ret_failure, char **ret_message) {
        struct listen_socket sockets[LISTEN_SYSTEMD_MAX];
        const struct settings *settings = server->settings;
        bool tls = settings->n_listen_tls > 0, tls_socket = false;
        int n, r = 0;

        *ret_failure = FAILURE_SYSTEM;
        n = listen_take_from_systemd(sockets, ret_message);
        if (n < 0)
                return n;
        for (int i = 0; i < n && r >= 0; i++) {
                r = add_listener(server, sockets[i].fd, true, sockets[i].tls);
                tls_socket = tls_socket || sockets[i].tls;
        }
        if (r >= 0 && tls_socket && !settings->tls.certificate)
                return refuse(ret_failure, FAILURE_CONFIGURATION, ret_message,
                               "A socket unit has FileDescriptorName=" LISTEN_NAME_TLS
                               ", but the configuration has no \"tls\" with certificate and key"),
                       -EINVAL;
        if (r >= 0 && (tls || tls_socket))
                r = server_start_tls(server, ret_message);
        if (r >= 0 && !tls_socket)
                r = listen_on(server, settings->listen_tls, settings->n_listen_tls, true, ret_message);
        if (r < 0 || n > 0)
                return r;

        r = listen_on(server, settings->listen, settings->n_listen, false, ret_message);
        if (r < 0)
                return r;

        if (server->n_listeners == 0)
                return refuse(ret_failure, FAILURE_SYSTEM, ret_message, "There is no address to listen on"),
                       -EAFNOSUPPORT;
        return 0;
}

static int open_store(struct server *server, enum failure *ret_failure, char **ret_message) {
        struct proxy *proxy = &server->proxy;
        const struct store_how how = {
                .path = server->settings->store_path,
                .ceph = { .pool = server->settings->ceph_pool,
                        .conf = server->settings->ceph_conf,
                        .user = server->settings->ceph_user,
                        .name_space = server->settings->ceph_namespace,
                        .connect_usec = server->settings->ceph_connect_usec },
                .ring = proxy->ring,
                .jobs = proxy->store_jobs,
                .complain = complain,
                .record_changed = record_changed,
                .wanted = wanted,
                .shut_out = shut_out,
                .userdata = server,
        };
        int r;

        *ret_failure = FAILURE_IO;
        r = server->settings->store_ops->open(&how, &proxy->store, ret_message);
        if (r < 0)
                return r;

        proxy->caps = PROXY_CAPS;
        r = proxy->store->ops->get_key(proxy->store, proxy->ticket_key);
        if (r >= 0)
                proxy->caps |= IVBS_CAP_TICKET;
        else if (getrandom(proxy->ticket_key, sizeof(proxy->ticket_key), 0) != (ssize_t) sizeof(proxy->ticket_key))
                return -EIO;
        else
                log_event(LOG_WARNING, NULL, "The store %s has no key for tickets (%s): each login checks a password",
                        server->settings->store_path, strerror(-r));

        *ret_failure = FAILURE_INTERNAL;
        r = images_new(&proxy->images, proxy->store, proxy->store_jobs);
        if (r < 0)
                return r;
        images_tell_sizes(proxy->images, resized, proxy);
        r = images_share(proxy->images, proxy->ring, proxy->instance_id);
        if (r < 0)
                (void) refuse(ret_failure, FAILURE_IO, ret_message,
                        "Cannot listen in %s/proxies, where the proxies of a store find each other: %s",
                        server->settings->store_path, strerror(-r));
        if (r < 0)
                return r;

        if (proxy->store->ops->copy_begin) {
                r = image_jobs_new(&proxy->image_jobs, proxy->images, proxy->store, proxy->ring, proxy->store_jobs,
                        proxy->copy_jobs);
                if (r >= 0)
                        proxy->caps |= IVBS_CAP_SNAPSHOTS;
                if (r >= 0)
                        image_jobs_set_scrub_rate(proxy->image_jobs, server->settings->scrub_rate);
        }
        return r;
}

/* One descriptor a client and four an image, besides our own. */
static void raise_limits(const struct settings *settings) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) >= 0) {
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
                if (limit.rlim_cur < (rlim_t) settings->clients_max * 5 + 64)
                        log_event(LOG_WARNING, NULL,
                                "The limit of %ju open files is low for clients-max %u: raise LimitNOFILE= of the "
                                "unit",
                                (uintmax_t) limit.rlim_cur, settings->clients_max);
        }

        /* A worker on this machine may need us to write back memory: we must not wait for that ourselves. Elsewhere it does not matter, so nothing is said without. */
        (void) reclaim_prepare();
}

static int check_certificate(const struct settings *settings, char **ret_message) {
        _cleanup_(tls_context_unrefp) struct tls_context *context = NULL;

        return settings->tls.certificate ? tls_context_new(&context, true, &settings->tls, ret_message) : 0;
}

static int load(const char *config_path, struct settings **ret_settings, struct users **ret_users,
        enum failure *ret_failure, char **ret_message) {
        _cleanup_(settings_freep) struct settings *settings = NULL;
        int r;

        *ret_failure = FAILURE_CONFIGURATION;
        r = settings_load(config_path, &settings, ret_message);
        if (r < 0)
                return r;
        r = check_certificate(settings, ret_message);
        if (r < 0)
                return r;
        r = users_load(settings->users_path, ret_users, ret_message);
        if (r < 0)
                return r;

        *ret_settings = TAKE_PTR(settings);
        return 0;
}

int server_check_config(const char *config_path, enum failure *ret_failure, char **ret_message) {
        _cleanup_free_ char *users_path = NULL, *settings_message = NULL, *users_message = NULL;
        _cleanup_(users_unrefp) struct users *users = NULL;
        int r, k = 0;

        *ret_failure = FAILURE_CONFIGURATION;
        r = settings_check(config_path, &users_path, &settings_message);
        if (users_path)
                k = users_load(users_path, &users, &users_message);
        if (r >= 0 && k >= 0)
                return 0;
        if (asprintf(ret_message, "%s%s%s", settings_message ?: "", settings_message && users_message ? "\n" : "",
                    users_message ?: "") < 0)
                *ret_message = NULL;
        return r < 0 ? r : k;
}

int server_new(struct server **ret, const char *config_path, enum failure *ret_failure, char **ret_message) {
        _cleanup_(server_freep) struct server *server = NULL;
        struct proxy *proxy;
        int r;

        *ret_failure = FAILURE_INTERNAL;
        server = calloc(1, sizeof(*server));
        if (!server)
                return -ENOMEM;
        server_init(server);
        proxy = &server->proxy;

        umask(0077);
        r = receive_signals(&server->signal_fd);
        if (r < 0)
                return r;
        r = load(config_path, &server->settings, &proxy->users, ret_failure, ret_message);
        if (r < 0)
                return r;
        server->config_path = strdup(config_path);
        if (!server->config_path)
                return -ENOMEM;
        proxy->settings = server->settings;
        proxy->newest_users = proxy->users;
        raise_limits(server->settings);

        *ret_failure = FAILURE_SYSTEM;
        r = sd_id128_randomize(&proxy->instance_id);
        if (r < 0)
                return r;
        r = start_ring(server, ret_failure, ret_message);
        if (r < 0)
                return r;
        server_init_timers(server);
        r = open_store(server, ret_failure, ret_message);
        if (r < 0)
                return r;
        r = start_listening(server, ret_failure, ret_message);
        if (r < 0)
                return r;

        server_start_serving(server);
        *ret = TAKE_PTR(server);
        return 0;
}
