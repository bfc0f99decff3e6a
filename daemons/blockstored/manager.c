/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The supervisor holds no state of its own that it could not find again: devices are known by what the kernel shows, workers because they come back, configured images by their
 * files, failed ones by systemd. So it may be restarted at any time, and leaves by itself when there is nothing to do; its socket and the bus start it again.
 *
 * Everything runs in one loop, and nothing in that loop waits: what may block is in a child (device-child.c) or asynchronous. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <systemd/sd-daemon.h>

#include "device-sysfs.h"
#include "host-config.h"
#include "image-log.h"
#include "manager.h"
#include "upgrade.h"
#include "peer-bus.h"
#include "peer-unit.h"

#define IDLE_USEC (60U * 1000U * 1000U)
/* The right to open NBD devices (DeviceAllow=) is given when the supervisor starts, by what the kernel has then. Started without the module, it does not stay for long. */
#define IDLE_WITHOUT_NBD_USEC (5U * 1000U * 1000U)
#define NBD_MODULE            "/sys/module/nbd"

static int on_announce(sd_event_source *source, void *userdata) {
        struct manager *manager = userdata;
        struct managed *managed, *next;

        HASH_ITER(hh, manager->images, managed, next)
                if (managed->announce)
                        image_bus_announce(managed);
        return 0;
}

static bool is_idle(const struct manager *manager) {
        struct managed *managed, *next;

        if (worker_links_count(manager->links) > 0 || manager->n_operations > 0 ||
                bouncer_count(manager->bouncer) > 0 || jobs_are_running(manager->jobs, NULL))
                return false;

        /* A device without a worker waits for one, or for its end. */
        HASH_ITER(hh, manager->images, managed, next)
                if (*managed->image->device || managed->work != MANAGED_IDLE || device_is_busy(managed->device))
                        return false;
        return true;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;

        if (!is_idle(manager))
                return 0;
        if (!manager_bus_release(manager) || !is_idle(manager)) {
                manager_check_idle(manager);
                return 0;
        }

        log_message(LOG_INFO, "Nothing to do; leaving until called again");
        return sd_event_exit(manager->event, 0);
}

void manager_check_idle(struct manager *manager) {
        if (!manager->activated || !manager->idle_timer)
                return;

        if (!is_idle(manager)) {
                (void) sd_event_source_set_enabled(manager->idle_timer, SD_EVENT_OFF);
                return;
        }
        if (sd_event_source_set_time_relative(manager->idle_timer, manager->idle_usec) >= 0)
                (void) sd_event_source_set_enabled(manager->idle_timer, SD_EVENT_ONESHOT);
}

struct managed *manager_find(struct manager *manager, const char *name) {
        struct managed *managed;

        HASH_FIND_STR(manager->images, name, managed);
        return managed;
}

int manager_get(struct manager *manager, const char *name, struct managed **ret) {
        struct managed *managed = manager_find(manager, name);

        if (managed) {
                *ret = managed;
                return 0;
        }
        return managed_new(manager, name, ret);
}

/* One configured image: what its file says is shown while no worker does. */
static void take_configuration(struct manager *manager, const char *name) {
        _cleanup_(host_config_freep) struct host_config *config = NULL;
        _cleanup_free_ char *message = NULL;
        struct managed *managed;
        int r;

        r = manager_get(manager, name, &managed);
        if (r < 0) {
                log_image(LOG_WARNING, name, "The configured image is left out: %s", strerror(-r));
                return;
        }

        r = host_config_load(name, &config, &message);
        if (r < 0) {
                /* Not refused: the worker does that. But whoever looks at the image sees it. */
                (void) image_set_configuration(managed->image, true, NULL, managed->image->read_only);
                if (managed->image->state == IMAGE_INACTIVE)
                        (void) image_set_reason(managed->image, message ?: strerror(-r));
                return;
        }
        (void) image_set_configuration(managed->image, true, config->image ?: name, config->read_only);
        if (managed->image->state == IMAGE_INACTIVE && !*managed->image->device)
                (void) image_set_reason(managed->image, "");
}

static void on_configuration_changed(void *userdata) {
        struct manager *manager = userdata;
        struct managed *managed, *next;
        char **names;
        int r;

        r = host_config_list_images(&names);
        if (r < 0) {
                log_message(LOG_WARNING, "images.d cannot be read: %s", strerror(-r));
                return;
        }

        for (size_t i = 0; names[i]; i++) {
                take_configuration(manager, names[i]);
                free(names[i]);
        }
        free(names);

        HASH_ITER(hh, manager->images, managed, next)
                if (managed->image->configured && !host_config_image_exists(managed->image->name)) {
                        (void) image_set_configuration(
                                managed->image, false, managed->image->name, managed->image->read_only);
                        (void) managed_collect(managed);
                }
}

static int discover_devices(struct manager *manager) {
        struct device_found *found = NULL;
        struct managed *managed;
        size_t n = 0;
        int r;

        r = device_sysfs_list("/sys", &found, &n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n; i++) {
                r = manager_get(manager, found[i].name, &managed);
                if (r < 0)
                        log_image(LOG_WARNING, found[i].name, "Its device is left alone: %s", strerror(-r));
                else
                        log_image(LOG_INFO, found[i].name, "/dev/nbd%u is there", found[i].index);
        }
        device_found_free_many(found, n);
        return 0;
}

/* Images that nobody configured and no worker serves any more, but whose unit has failed: their objects say why. */
static void on_unit_listed(const char *unit, const char *active_state, int error, void *userdata) {
        struct manager *manager = userdata;
        _cleanup_free_ char *name = NULL;
        struct managed *managed;

        if (unit) {
                if (strcmp(active_state, "inactive") != 0 && peer_unit_parse(unit, &name) >= 0)
                        (void) manager_get(manager, name, &managed);
                return;
        }

        manager->list_call = NULL;
        if (error < 0)
                log_message(LOG_WARNING, "systemd does not list its units: %s", strerror(-error));
        manager->listed = true;
        transfers_sweep(manager);
        manager_bus_request_name(manager);
}

int manager_new(struct manager **ret) {
        _cleanup_(manager_freep) struct manager *manager = calloc(1, sizeof(*manager));
        int r;

        if (!manager)
                return -ENOMEM;
        manager->idle_usec = access(NBD_MODULE, F_OK) < 0 ? IDLE_WITHOUT_NBD_USEC : IDLE_USEC;
        LIST_INIT(&manager->queries);
        LIST_INIT(&manager->resizes);
        LIST_INIT(&manager->transfers);
        LIST_INIT(&manager->store_jobs);
        LIST_INIT(&manager->holders_calls);

        r = sd_event_new(&manager->event);
        if (r >= 0)
                r = sd_event_set_watchdog(manager->event, true);
        if (r >= 0)
                r = sd_event_add_signal(manager->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(manager->event, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_defer(manager->event, &manager->announce_source, on_announce, manager);
        if (r >= 0)
                r = sd_event_source_set_enabled(manager->announce_source, SD_EVENT_OFF);
        /* After everything else of a turn, so that what happens together is told together. */
        if (r >= 0)
                r = sd_event_source_set_priority(manager->announce_source, SD_EVENT_PRIORITY_IDLE);
        if (r >= 0)
                r = sd_event_add_time(
                        manager->event, &manager->idle_timer, CLOCK_MONOTONIC, 0, 1000U * 1000U, on_idle, manager);
        if (r >= 0)
                r = sd_event_source_set_enabled(manager->idle_timer, SD_EVENT_OFF);
        if (r >= 0)
                r = bouncer_new(&manager->bouncer);
        if (r >= 0)
                r = jobs_new(manager->event, &job_bus_ops, manager, &manager->jobs);
        if (r >= 0)
                r = units_new(manager->event, &manager->units);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(manager);
        return 0;
}

struct manager *manager_free(struct manager *manager) {
        struct managed *managed, *next;

        if (!manager)
                return NULL;

        /* Without announcing that every image is gone: the name goes, and that says it. */
        manager_bus_close(manager);
        manager_unwatch_shutdown(manager);
        resizes_free(manager);
        transfers_free(manager);
        store_jobs_free(manager);
        manager->links = worker_links_free(manager->links);
        HASH_ITER(hh, manager->images, managed, next)
                managed_free(managed);
        upgrade_forget(manager);
        units_call_free(manager->list_call);
        units_free(manager->units);
        config_watch_free(manager->config_watch);
        jobs_free(manager->jobs);
        bouncer_free(manager->bouncer);
        sd_event_source_disable_unref(manager->bus_retry);
        sd_event_source_disable_unref(manager->announce_source);
        sd_event_source_disable_unref(manager->idle_timer);
        sd_event_unref(manager->event);
        free(manager);
        return NULL;
}

/* The socket that systemd gave, or, run by hand, one made here. */
static int get_socket(struct manager *manager) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        int r;

        r = sd_listen_fds(true);
        if (r < 0)
                return r;
        if (r > 0) {
                if (r != 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
                        return -EINVAL;
                manager->activated = true;
                return SD_LISTEN_FDS_START;
        }

        r = peer_bus_path(SUPERVISOR_SOCKET, &path);
        if (r < 0)
                return r;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        (void) unlink(path);
        if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || chmod(path, 0660) < 0 || listen(fd, 64) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int manager_startup(struct manager *manager) {
        int r;

        r = discover_devices(manager);
        if (r < 0) {
                log_message(LOG_ERR, "The kernel's devices cannot be listed: %s", strerror(-r));
                return r;
        }

        r = config_watch_new(manager->event, on_configuration_changed, manager, &manager->config_watch);
        if (r < 0) {
                log_message(LOG_ERR, "The configuration cannot be watched: %s", strerror(-r));
                return r;
        }
        on_configuration_changed(manager);

        r = get_socket(manager);
        if (r >= 0)
                r = worker_links_new(manager->event, r, &managed_worker_ops, manager, &manager->links);
        if (r < 0) {
                log_message(LOG_ERR, "The workers' socket cannot be listened on: %s", strerror(-r));
                return r;
        }

        /* From here on all is optional: devices are attached without a bus. */
        manager_watch_shutdown(manager);
        if (units_list(manager->units, "image@*.service", on_unit_listed, manager, &manager->list_call) < 0)
                manager->listed = true;
        r = manager_bus_connect(manager);
        if (r < 0)
                log_message(LOG_WARNING, "No system bus can be waited for: %s", strerror(-r));

        manager_check_idle(manager);
        log_message(LOG_INFO, "Serving workers; %u images are known", HASH_COUNT(manager->images));
        (void) sd_notify(false, "READY=1\nSTATUS=Serving workers.");
        return 0;
}

int manager_run(struct manager *manager) {
        int r;

        r = sd_event_loop(manager->event);
        (void) sd_notify(false, "STOPPING=1");
        return r;
}
