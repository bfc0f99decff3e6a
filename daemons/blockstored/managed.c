/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An image comes to be managed when it is configured, when a caller or a worker names it, or when the kernel has its device; and it stays until none of that is so. Its unit is
 * watched all the time: a start by `systemctl` that fails before the worker has called in shows on the bus as well.
 *
 * A device outlives its worker: requests wait for the next one. Only when the unit is gone for good, inactive or failed without a job, is there nobody to wait for; then the
 * device is disconnected if nobody holds it. If somebody does, it stays, and every so often it is looked again. */

#include <errno.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"

#define GONE_RETRY_USEC (10U * 1000U * 1000U)

/* Each transition is one line in the journal. A worker logs its own, with more to say about them; ours are those that happen while none is linked, and the beginning. */
static bool is_ours_to_log(const struct managed *managed) {
        const struct image *image = managed->image;

        if (image->state == IMAGE_ATTACHING)
                return true;
        /* A worker that gives up has logged why before it ended. */
        if (image->state == IMAGE_FAILED && unit_state_is_worded(&managed->unit))
                return false;
        return !image->linked;
}

static const char *id_of_state(const struct managed *managed) {
        if (managed->image->state != IMAGE_FAILED)
                return NULL;
        return unit_state_is_limited(&managed->unit) ? MESSAGE_START_LIMIT : MESSAGE_IMAGE_FAILED;
}

static void on_image_changed(struct image *image, uint32_t mask) {
        struct managed *managed = image->owner;

        if ((mask & IMAGE_STATE) && is_ours_to_log(managed))
                log_event(image->state == IMAGE_FAILED ? LOG_ERR : LOG_INFO,
                        LOG_FIELDS({ "IMAGE", image->name }, { "STATE", image_state_to_string(image->state) },
                                { "MESSAGE_ID", id_of_state(managed) }),
                        "%s: %s%s%s", image->name, image_state_to_string(image->state),
                        *image->state_reason ? ": " : "", image->state_reason);

        if ((mask & IMAGE_STATE) && image->state == IMAGE_INACTIVE)
                managed_forget(managed);
        if (mask & IMAGE_SIZE)
                resize_size_changed(managed->manager, image);
        if (mask & (IMAGE_STATE | IMAGE_SIZE))
                transfers_image_changed(managed->manager, image);
        managed->announce |= mask;
        (void) sd_event_source_set_enabled(managed->manager->announce_source, SD_EVENT_ONESHOT);
}

static void on_device_gone(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;

        if (failure == FAILURE_NONE || failure == FAILURE_NOT_ATTACHED) {
                log_image_event(LOG_NOTICE, MESSAGE_DEVICE_COLLECTED, managed->image->name,
                        "%s, which had no worker any more, is disconnected",
                        *managed->image->device ? managed->image->device : "Its device");
                (void) image_set_device(managed->image, "");
                managed_device_served(managed);
                managed_device_free_again(managed);
                (void) managed_collect(managed);
                return;
        }

        if (strcmp(managed->image->state_reason, message) != 0 && managed->image->state != IMAGE_FAILED) {
                log_image_event(LOG_WARNING, MESSAGE_DEVICE_ORPHANED, managed->image->name,
                        "No worker serves it any more, but %s", message);
                (void) image_set_reason(managed->image, message);
        }
        managed_consider_abandoning(managed);
        (void) sd_event_source_set_time_relative(managed->gone_timer, GONE_RETRY_USEC);
        (void) sd_event_source_set_enabled(managed->gone_timer, SD_EVENT_ONESHOT);
        managed_device_free_again(managed);
}

void managed_consider_gone(struct managed *managed) {
        bool gone =
                managed->unit_known && (unit_state_is_gone(&managed->unit) || unit_state_is_failed(&managed->unit));

        if (!gone || managed->link || managed->work != MANAGED_IDLE || !device_exists(managed->device) ||
                device_is_busy(managed->device))
                return;

        /* Without a worker nothing can be flushed; what nobody holds has nothing to flush either. */
        if (device_disconnect(managed->device, false, on_device_gone, managed) == -ENODEV)
                (void) image_set_device(managed->image, "");
}

static int on_gone_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        managed_consider_gone(userdata);
        return 0;
}

enum failure managed_failure(const struct managed *managed, char *message, size_t size) {
        const struct image *image = managed->image;
        enum failure failure = unit_state_failure(&managed->unit, managed->service, message, size);

        /* What the worker told us it gives up for is the bare sentence; its status line in systemd has more than that. */
        if (image->state == IMAGE_FAILED && *image->state_reason && managed->failed_pid > 0 &&
                !unit_state_is_limited(&managed->unit) &&
                (uint32_t) managed->failed_pid == managed->unit.exec_main_pid)
                (void) snprintf(message, size, "%s", image->state_reason);
        return failure;
}

static bool is_deactivating(const struct managed *managed) {
        return managed->unit_known && strcmp(managed->unit.active_state, "deactivating") == 0;
}

/* For the worker, which has to know, and for what is shown: a restart is not a stop. */
static void on_job(const char *type, void *userdata) {
        struct managed *managed = userdata;

        managed->job_call = units_job_free(managed->job_call);
        if (managed->link)
                worker_link_answer_job(managed->link, type);
        /* A restart's second half is a start. */
        if (is_deactivating(managed) && strcmp(type, "restart") != 0 && strcmp(type, "start") != 0)
                (void) image_handle_event(managed->image, IMAGE_EVENT_STOP, NULL);
}

int managed_ask_job(struct managed *managed) {
        if (managed->job_call)
                return 0;
        return units_job_ask(managed->manager->units, managed->service, on_job, managed, &managed->job_call);
}

static void on_unit(const struct unit_state *state, void *userdata) {
        struct managed *managed = userdata;
        bool was_down =
                !managed->unit_known || unit_state_is_gone(&managed->unit) || unit_state_is_failed(&managed->unit);
        char message[1024];

        managed->unit_asked = true;
        if (!state) {
                (void) managed_collect(managed);
                return;
        }
        managed->unit = *state;
        managed->unit_known = true;

        if (unit_state_is_failed(state)) {
                enum failure failure = managed_failure(managed, message, sizeof(message));

                if (!managed->link)
                        (void) image_fail(managed->image, failure, message);
        } else if (unit_state_is_gone(state)) {
                if (!managed->link && managed->work == MANAGED_IDLE) {
                        if (image_handle_event(managed->image, IMAGE_EVENT_UNIT_GONE, NULL)) {
                                image_forget_worker(managed->image);
                                /* Stopped by somebody else: what AttachImage was given went with it. */
                                (void) options_remove(managed->image->name);
                                attach_options_done(&managed->options);
                        } else if (managed->image->state == IMAGE_INACTIVE)
                                managed_forget(managed); /* what a former supervisor has noted */
                }
        } else if (is_deactivating(managed)) {
                if (state->job == 0 || managed_ask_job(managed) < 0)
                        (void) image_handle_event(managed->image, IMAGE_EVENT_STOP, NULL);
        } else if (!managed->link && was_down && unit_state_is_up(state))
                /* Not for one that has been up: its worker has said how it ends before systemd notices. */
                (void) image_handle_event(managed->image,
                        strcmp(state->active_state, "active") == 0 ? IMAGE_EVENT_DEVICE_FOUND
                                                                   : IMAGE_EVENT_UNIT_STARTED,
                        NULL);

        managed_consider_gone(managed);
        (void) managed_collect(managed);
}

void managed_discover_device(struct managed *managed) {
        char node[32];

        if (device_is_busy(managed->device) || device_discover(managed->device) <= 0)
                return;

        (void) snprintf(node, sizeof(node), "/dev/nbd%u", device_index(managed->device));
        (void) image_set_device(managed->image, node);
        (void) image_handle_event(managed->image, IMAGE_EVENT_DEVICE_FOUND, NULL);
}

/* What a worker had asked for, and was told to have failed, may be there after all: the next one adopts it, or nobody wants it. */
static void on_device_freed(void *userdata) {
        struct managed *managed = userdata;

        managed_discover_device(managed);
        managed_device_free_again(managed);
        managed_consider_gone(managed);
        (void) managed_collect(managed);
}

static int compare_names(const struct managed *a, const struct managed *b) {
        return strcmp(a->image->name, b->image->name);
}

int managed_new(struct manager *manager, const char *name, struct managed **ret) {
        struct managed *managed;
        int r;

        if (HASH_COUNT(manager->images) >= IMAGES_MAX)
                return -E2BIG;

        managed = calloc(1, sizeof(*managed));
        if (!managed)
                return -ENOMEM;
        managed->manager = manager;
        managed->device_socket = -EBADF;
        managed->options.read_only = -1;
        LIST_INIT(&managed->operations);

        r = image_new(name, &managed->image);
        if (r >= 0)
                r = device_new(manager->event, name, on_device_freed, managed, &managed->device);
        if (r >= 0)
                r = sd_bus_path_encode(IMAGE_PATH, name, &managed->path);
        if (r >= 0 && (asprintf(&managed->service, "image@%s.service", name) < 0 ||
                              asprintf(&managed->socket, "image@%s.socket", name) < 0 ||
                              asprintf(&managed->target, "image@%s.target", name) < 0))
                r = -ENOMEM;
        if (r >= 0)
                r = sd_event_add_time(
                        manager->event, &managed->gone_timer, CLOCK_MONOTONIC, 0, 0, on_gone_timer, managed);
        if (r >= 0)
                r = sd_event_source_set_enabled(managed->gone_timer, SD_EVENT_OFF);
        if (r >= 0)
                r = units_watch(manager->units, managed->service, on_unit, managed, &managed->watch);
        if (r < 0) {
                managed_free(managed);
                return r;
        }

        managed->image->owner = managed;
        managed->image->changed = on_image_changed;
        HASH_ADD_KEYPTR(hh, manager->images, managed->image->name, strlen(managed->image->name), managed);
        HASH_SORT(manager->images, compare_names);
        managed_recall(managed);
        managed_discover_device(managed);
        image_bus_announce_added(managed);

        *ret = managed;
        return 0;
}

struct managed *managed_free(struct managed *managed) {
        if (!managed)
                return NULL;

        if (managed->image && managed->image->owner) {
                image_bus_announce_removed(managed);
                HASH_DEL(managed->manager->images, managed);
        }
        operations_fail(&managed->operations, FAILURE_INTERNAL, "The supervisor is stopping");
        units_call_free(managed->call);
        units_call_free(managed->stray_call);
        units_job_free(managed->job_call);
        units_watch_free(managed->watch);
        sd_event_source_disable_unref(managed->gone_timer);
        sd_event_source_disable_unref(managed->lazy_timer);
        sd_event_source_disable_unref(managed->io_deadline);
        safe_close(managed->device_socket);
        device_free(managed->device);
        attach_options_done(&managed->options);
        image_free(managed->image);
        free(managed->path);
        free(managed->service);
        free(managed->socket);
        free(managed->target);
        free(managed);
        return NULL;
}

bool managed_collect(struct managed *managed) {
        struct manager *manager = managed->manager;

        if (!image_is_forgettable(managed->image) || managed->work != MANAGED_IDLE ||
                !LIST_EMPTY(&managed->operations) || device_is_busy(managed->device) ||
                (!managed->unit_asked && units_are_reachable(manager->units)))
                return false;

        managed_free(managed);
        manager_check_idle(manager);
        return true;
}
