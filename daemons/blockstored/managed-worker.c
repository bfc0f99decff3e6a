/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a worker calls, for its image. A device does one thing at a time: a worker's call that meets another operation (a look at who holds it, or the end of a device
 * that had lost its worker) waits for its turn instead of failing. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fault-point.h"
#include "host-config.h"
#include "image-log.h"
#include "manager.h"
#include "peer-bus.h"
#include "peer-unit.h"

static void on_device_disconnected(enum failure failure, const char *message, void *userdata);

static void on_device_connected(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;
        struct worker_link *caller = managed->device_caller;
        char node[32] = "";

        managed->device_caller = NULL;
        fault_point("device-ready");

        if (failure == FAILURE_NONE) {
                (void) snprintf(node, sizeof(node), "/dev/nbd%u", device_index(managed->device));
                (void) image_set_device(managed->image, node);
                managed_device_served(managed);
                log_image(LOG_INFO, managed->image->name, "%s is connected", node);
        } else {
                log_image(LOG_ERR, managed->image->name, "%s", message);
                if (!device_exists(managed->device))
                        (void) image_set_device(managed->image, "");
        }

        if (caller)
                worker_link_answer_device(caller, failure, message, node);
        managed_device_free_again(managed);
        managed_consider_gone(managed);
}

/* At shutdown what uses a device has been unmounted and removed as far as it could be (blockstore-release), what is cached cannot be flushed without a proxy, and its worker ends for good. Without a server all that
 * looks at the device would wait, and the shutdown with it: it is to fail instead. */
static bool take_away_at_shutdown(struct managed *managed, enum failure failure, const char *message) {
        if (failure == FAILURE_NONE || failure == FAILURE_NOT_ATTACHED || managed->abandoned ||
                access(HOST_RUNTIME_DIRECTORY "/shutdown", F_OK) < 0 ||
                device_abandon(managed->device, on_device_disconnected, managed) < 0)
                return false;

        managed->abandoned = true;
        log_image_event(LOG_WARNING, failure == FAILURE_BUSY ? MESSAGE_DEVICE_BUSY : NULL, managed->image->name,
                "%s. The system is going down: the device is disconnected all the same, and what uses it gets I/O "
                "errors",
                message);
        return true;
}

static void on_device_disconnected(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;
        struct worker_link *caller = managed->device_caller;

        if (take_away_at_shutdown(managed, failure, message))
                return;
        managed->device_caller = NULL;
        fault_point("device-gone");

        if (failure == FAILURE_NONE || failure == FAILURE_NOT_ATTACHED) {
                log_image(LOG_INFO, managed->image->name, "%s is disconnected", managed->image->device);
                (void) image_set_device(managed->image, "");
        } else
                log_image_event(LOG_WARNING, failure == FAILURE_BUSY ? MESSAGE_DEVICE_BUSY : NULL,
                        managed->image->name, "%s", message);

        if (caller)
                worker_link_answer_device(caller, failure, message, NULL);
        managed_device_free_again(managed);
        managed_consider_gone(managed);
}

static int begin_connect(
        struct managed *managed, struct worker_link *link, const struct device_parameters *parameters, int socket) {
        int r;

        r = device_connect(managed->device, parameters, socket, on_device_connected, managed);
        if (r >= 0)
                managed->device_caller = link;
        return r;
}

static int begin_disconnect(struct managed *managed, struct worker_link *link) {
        int r;

        /* A worker that has failed cannot flush any more. */
        r = device_disconnect(managed->device, managed->image->state != IMAGE_FAILED, on_device_disconnected, managed);
        if (r >= 0)
                managed->device_caller = link;
        return r;
}

static void on_device_timed(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;
        struct worker_link *caller = managed->device_caller;

        managed->device_caller = NULL;
        if (failure != FAILURE_NONE)
                log_image(LOG_WARNING, managed->image->name, "%s", message);
        if (caller)
                worker_link_answer_device(caller, failure, message, NULL);
        managed_device_free_again(managed);
        managed_consider_gone(managed);
}

static int begin_waiting(struct managed *managed, struct worker_link *link, bool waiting) {
        int r;

        r = device_set_waiting(managed->device, waiting, on_device_timed, managed);
        if (r >= 0)
                managed->device_caller = link;
        return r;
}

static int begin_resize(struct managed *managed, struct worker_link *link, uint64_t size) {
        int r;

        r = device_resize(managed->device, size, on_device_timed, managed);
        if (r >= 0)
                managed->device_caller = link;
        return r;
}

void managed_device_free_again(struct managed *managed) {
        enum managed_device_call queued = managed->device_queued;
        struct worker_link *link = managed->link;
        int r = 0;

        if (queued == MANAGED_DEVICE_NONE || device_is_busy(managed->device))
                return;

        managed->device_queued = MANAGED_DEVICE_NONE;
        if (!link)
                return;

        switch (queued) {
        case MANAGED_DEVICE_NONE:
                break;
        case MANAGED_DEVICE_CONNECT:
                r = begin_connect(managed, link, &managed->device_wanted, TAKE_FD(managed->device_socket));
                break;
        case MANAGED_DEVICE_DISCONNECT:
                r = begin_disconnect(managed, link);
                break;
        case MANAGED_DEVICE_WAIT:
        case MANAGED_DEVICE_GO_ON:
                r = begin_waiting(managed, link, queued == MANAGED_DEVICE_WAIT);
                break;
        case MANAGED_DEVICE_RESIZE:
                r = begin_resize(managed, link, managed->device_wanted.size);
                break;
        }
        if (r < 0)
                worker_link_answer_device(
                        link, r == -ENODEV ? FAILURE_NOT_ATTACHED : FAILURE_INTERNAL, strerror(-r), NULL);
}

/* Keeps the call for managed_device_free_again(). Takes socket. */
static void queue(struct managed *managed, enum managed_device_call call, const struct device_parameters *parameters,
        int socket) {
        managed->device_queued = call;
        if (parameters)
                managed->device_wanted = *parameters;
        safe_close(managed->device_socket);
        managed->device_socket = socket;
}

/* What a worker that is gone had asked for is not done for the next one, which has another socket, and may want the device that the last one was giving back. */
static void drop_queued(struct managed *managed) {
        managed->device_queued = MANAGED_DEVICE_NONE;
        managed->device_socket = safe_close(managed->device_socket);
}

static int worker_hello(struct worker_link *link, void *userdata) {
        struct manager *manager = userdata;
        struct managed *managed;
        int r;

        r = manager_get(manager, link->name, &managed);
        if (r < 0)
                return r;
        fault_point("worker-greeted");

        if (managed->link != link)
                drop_queued(managed);
        managed->link = link;
        managed->image->linked = true;
        managed->image->failure = FAILURE_NONE;
        managed->image->counters = link->counters;
        link->owner = managed;
        managed_discover_device(managed);
        /* After a restart of ours nothing is known of the unit yet, and the worker is about to say how it is: it may have been attached for long. */
        if (managed->unit_known)
                (void) image_handle_event(managed->image, IMAGE_EVENT_LINKED, NULL);
        log_image(LOG_INFO, link->name, "Worker %d has called in", (int) link->pid);
        manager_check_idle(manager);
        return 0;
}

static void worker_lost(struct worker_link *link, void *userdata) {
        struct manager *manager = userdata;
        struct managed *managed = link->owner;

        if (managed->device_caller == link)
                managed->device_caller = NULL;
        if (managed->link != link)
                return; /* a newer one has taken its place */

        drop_queued(managed);
        managed->link = NULL;
        managed->image->linked = false;
        managed_attach_told(managed);
        managed_device_unserved(managed);
        (void) image_handle_event(managed->image, IMAGE_EVENT_LINK_LOST,
                managed->image->state == IMAGE_ATTACHED || managed->image->state == IMAGE_PARKED
                        ? "The worker has ended its connection; it is expected back"
                        : NULL);
        /* What the unit came to was perhaps seen before its worker's link ended. */
        if (managed->unit_known && managed->work == MANAGED_IDLE) {
                if (unit_state_is_failed(&managed->unit)) {
                        char message[1024];
                        enum failure failure;

                        failure = managed_failure(managed, message, sizeof(message));
                        (void) image_fail(managed->image, failure, message);
                } else if (unit_state_is_gone(&managed->unit)) {
                        (void) image_handle_event(managed->image, IMAGE_EVENT_UNIT_GONE, NULL);
                        image_forget_worker(managed->image);
                        (void) options_remove(managed->image->name);
                        attach_options_done(&managed->options);
                }
        }
        managed_consider_gone(managed);
        (void) managed_collect(managed);
        manager_check_idle(manager);
}

static int worker_connect_device(
        struct worker_link *link, const struct device_parameters *parameters, int socket, sd_bus_error *error) {
        struct managed *managed = link->owner;
        int r;

        if (device_is_busy(managed->device)) {
                queue(managed, MANAGED_DEVICE_CONNECT, parameters, socket);
                return 0;
        }

        r = begin_connect(managed, link, parameters, socket);
        if (r < 0)
                return peer_bus_error_set(error, r == -EAGAIN ? FAILURE_BUSY : FAILURE_INTERNAL,
                        "The device of %s cannot be connected: %s", link->name,
                        r == -EAGAIN ? "too many device operations are stuck in the kernel" : strerror(-r));
        return 0;
}

static int worker_disconnect_device(struct worker_link *link, sd_bus_error *error) {
        struct managed *managed = link->owner;
        int r;

        if (device_is_busy(managed->device)) {
                queue(managed, MANAGED_DEVICE_DISCONNECT, NULL, -EBADF);
                return 0;
        }

        r = begin_disconnect(managed, link);
        if (r == -ENODEV)
                return peer_bus_error_set(error, FAILURE_NOT_ATTACHED, "Image %s has no device", link->name);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_INTERNAL, "The device of %s cannot be disconnected: %s",
                        link->name, strerror(-r));
        return 0;
}

static int worker_set_waiting(struct worker_link *link, bool waiting, sd_bus_error *error) {
        struct managed *managed = link->owner;
        int r;

        if (device_is_busy(managed->device)) {
                queue(managed, waiting ? MANAGED_DEVICE_WAIT : MANAGED_DEVICE_GO_ON, NULL, -EBADF);
                return 0;
        }

        r = begin_waiting(managed, link, waiting);
        if (r == -ENODEV)
                return peer_bus_error_set(error, FAILURE_NOT_ATTACHED, "Image %s has no device", link->name);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_INTERNAL, "The device of %s cannot be told to wait: %s",
                        link->name, strerror(-r));
        return 0;
}

static int worker_ask_job(struct worker_link *link, sd_bus_error *error) {
        struct managed *managed = link->owner;
        int r;

        if (managed->link != link)
                return peer_bus_error_set(error, FAILURE_BUSY, "A newer worker serves %s", link->name);
        r = managed_ask_job(managed);
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_SYSTEM, "systemd does not answer: %s", strerror(-r));
        return 0;
}

static const char *worker_get_device(struct worker_link *link) {
        struct managed *managed = link->owner;

        managed_discover_device(managed);
        return device_exists(managed->device) ? managed->image->device : "";
}

static int worker_resize_device(struct worker_link *link, uint64_t size, sd_bus_error *error) {
        struct managed *managed = link->owner;
        int r;

        /* It does not know yet what is being done here. */
        if (resize_is_below(managed->resize, size))
                return peer_bus_error_set(error, FAILURE_BUSY, "The device of %s is being made smaller", link->name);
        if (device_is_busy(managed->device)) {
                queue(managed, MANAGED_DEVICE_RESIZE, &(const struct device_parameters){ .size = size }, -EBADF);
                return 0;
        }

        r = begin_resize(managed, link, size);
        if (r == -ENODEV)
                return peer_bus_error_set(error, FAILURE_NOT_ATTACHED, "Image %s has no device", link->name);
        if (r < 0)
                return peer_bus_error_set(
                        error, FAILURE_INTERNAL, "The device of %s cannot be resized: %s", link->name, strerror(-r));
        return 0;
}

static int worker_update(struct worker_link *link, const struct image_status *status) {
        struct managed *managed = link->owner;
        enum image_state before = managed->image->state;
        int r;

        r = image_apply_status(managed->image, status);
        if (r < 0)
                return r;
        if (status->failure != FAILURE_NONE)
                managed->failed_pid = link->pid;

        if (managed->image->state == IMAGE_ATTACHED)
                managed_device_served(managed);
        if (managed->image->state == IMAGE_ATTACHED && before != IMAGE_ATTACHED) {
                managed->options.steal = false;
                (void) options_spend_steal(managed->image->name);
        }
        managed_attach_told(managed);
        return 0;
}

const struct worker_link_ops managed_worker_ops = {
        .identify = peer_unit_identify,
        .hello = worker_hello,
        .lost = worker_lost,
        .connect_device = worker_connect_device,
        .disconnect_device = worker_disconnect_device,
        .set_waiting = worker_set_waiting,
        .ask_job = worker_ask_job,
        .get_device = worker_get_device,
        .resize_device = worker_resize_device,
        .update = worker_update,
};
