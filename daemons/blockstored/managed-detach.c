/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* DetachImage:
 *
 *      does somebody hold the device?  -> yes: Busy, and nothing has been touched
 *      stop the target, then the socket (which takes the service along: the worker gives its device back, flushed)
 *      how did the service end?        -> failed: that is the answer (it was refused after all, or the flush failed)
 *      is there still a device?        -> its worker is gone: disconnect it here
 *
 * The socket is stopped with the service in one transaction, else a client that knocks in between would start the image again. */

#include <errno.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"
#include "peer-bus.h"

#define ANSWER_USEC (22U * 1000U * 1000U) /* callers give up at 25 s */

static void on_caller_timeout(struct operation *operation, void *userdata) {
        struct managed *managed = userdata;
        char text[256];

        (void) snprintf(text, sizeof(text), "Image \"%s\" is still being detached: State tells when it is done",
                managed->image->name);
        operation_fail(operation, FAILURE_TIMEOUT, text);
}

static void end_failed(struct managed *managed, enum failure failure, const char *message) {
        managed->work = MANAGED_IDLE;
        log_image(LOG_WARNING, managed->image->name, "Detaching failed: %s", message);
        if (managed->link)
                (void) image_handle_event(managed->image, IMAGE_EVENT_STOP_REFUSED, NULL);
        operations_fail(&managed->operations, failure, message);
        /* What is not there is not to be detached; a holder goes some day. */
        if (failure == FAILURE_BUSY)
                managed_lazy_look_later(managed);
        else
                (void) managed_lazy_cancel(managed);
        managed_consider_gone(managed);
        manager_check_idle(managed->manager);
}

static void end_done(struct managed *managed) {
        managed->work = MANAGED_IDLE;
        (void) options_remove(managed->image->name);
        attach_options_done(&managed->options);
        (void) image_set_device(managed->image, "");
        (void) image_handle_event(managed->image, IMAGE_EVENT_UNIT_GONE, NULL);
        image_forget_worker(managed->image);
        operations_succeed(&managed->operations, NULL);
        manager_check_idle(managed->manager);
        (void) managed_collect(managed);
}

static void on_device_disconnected(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;

        if (failure == FAILURE_NONE || failure == FAILURE_NOT_ATTACHED)
                end_done(managed);
        else
                end_failed(managed, failure, message);
}

static void on_service_known(const struct unit_state *state, int error, void *userdata) {
        struct managed *managed = userdata;
        char message[1024];
        enum failure failure;
        int r;

        managed->call = NULL;
        if (error < 0) {
                end_failed(managed, FAILURE_SYSTEM, "systemd does not say how the unit ended");
                return;
        }

        managed->unit = *state;
        managed->unit_known = true;
        if (unit_state_is_failed(state)) {
                failure = managed_failure(managed, message, sizeof(message));
                /* A caller who wanted it gone and hears why it is not has no use for a failed unit, unless the device is left. */
                if (device_discover(managed->device) == 0)
                        units_reset_failed(managed->manager->units, managed->service);
                (void) image_fail(managed->image, failure, message);
                end_failed(managed, failure, message);
                return;
        }

        r = device_disconnect(managed->device, false, on_device_disconnected, managed);
        if (r == -ENODEV)
                end_done(managed);
        else if (r < 0)
                end_failed(managed, FAILURE_INTERNAL, strerror(-r));
}

static void on_stopped(const char *result, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed->call = NULL;
        if (!result) {
                end_failed(managed, FAILURE_SYSTEM, message);
                return;
        }
        if (units_query(managed->manager->units, managed->service, on_service_known, managed, &managed->call) < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd does not answer");
}

static void on_socket_stopped(const char *result, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed->call = NULL;
        if (!result) {
                end_failed(managed, FAILURE_SYSTEM, message);
                return;
        }
        /* The socket's job was part of the service's; this is for a service that runs without it. */
        if (units_stop(managed->manager->units, managed->service, on_stopped, managed, &managed->call) < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd does not answer");
}

static void on_target_stopped(const char *result, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed->call = NULL;
        if (units_stop(managed->manager->units, managed->socket, on_socket_stopped, managed, &managed->call) < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd does not answer");
}

static void stop_units(struct managed *managed) {
        (void) image_handle_event(managed->image, IMAGE_EVENT_STOP, NULL);
        if (managed->image->state == IMAGE_FAILED)
                units_reset_failed(managed->manager->units, managed->service);

        if (units_stop(managed->manager->units, managed->target, on_target_stopped, managed, &managed->call) < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd cannot be reached");
}

static void on_checked(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed_device_free_again(managed);
        if (failure == FAILURE_NONE || failure == FAILURE_NOT_ATTACHED)
                stop_units(managed);
        else if (managed->detach_is_lazy) {
                managed->work = MANAGED_IDLE;
                operations_succeed(&managed->operations, NULL);
                manager_check_idle(managed->manager);
        } else
                end_failed(managed, failure, message);
}

static int begin(struct managed *managed, bool lazy) {
        managed->detach_is_lazy = lazy;
        managed->work = MANAGED_STOPPING;
        managed->stray_call = units_call_free(managed->stray_call);
        return device_check_unheld(managed->device, on_checked, managed);
}

void managed_detach_if_free(struct managed *managed) {
        int r = begin(managed, true);

        if (r == -ENODEV)
                stop_units(managed);
        else if (r < 0)
                managed->work = MANAGED_IDLE;
}

/* Nothing to detach: neither unit, worker nor device. */
static bool is_away(const struct managed *managed) {
        return managed->image->state == IMAGE_INACTIVE && !managed->link && !*managed->image->device &&
               managed->work == MANAGED_IDLE;
}

static int detach(struct managed *managed, const struct detach_options *options, sd_bus_message *message,
        operation_done_t done, void *userdata, sd_bus_error *error) {
        int r;

        if (is_away(managed))
                return peer_bus_error_set(error, FAILURE_NOT_ATTACHED, "Image \"%s\" is not attached on this host",
                        managed->image->name);

        if (options->cancel) {
                if (managed->work == MANAGED_STOPPING || !managed_lazy_cancel(managed))
                        return peer_bus_error_set(error, FAILURE_USAGE, "%s: %s", managed->image->name,
                                managed->work == MANAGED_STOPPING
                                        ? "it is being detached, which cannot be cancelled any more"
                                        : "no detach of it is waiting");
                return sd_bus_reply_method_return(message, NULL);
        }

        if (managed->work == MANAGED_STARTING) {
                managed->call = units_call_free(managed->call);
                managed->work = MANAGED_IDLE;
                operations_fail(
                        &managed->operations, FAILURE_BUSY, "The image was detached while it was being attached");
        }

        if (message)
                r = operation_new(managed->manager, &managed->operations, message, ANSWER_USEC, on_caller_timeout,
                        managed, error);
        else
                r = operation_new_internal(managed->manager, &managed->operations, done, userdata, ANSWER_USEC,
                        on_caller_timeout, managed, error);
        if (r < 0)
                return r; /* and nothing is left of a request that was refused */
        if (options->lazy)
                managed_lazy_begin(managed);
        if (managed->work == MANAGED_STOPPING) {
                managed->detach_is_lazy &= options->lazy;
                return 0;
        }

        r = begin(managed, options->lazy);
        if (r == -EBUSY && options->lazy) {
                managed->work = MANAGED_IDLE;
                operations_succeed(&managed->operations, NULL);
        } else if (r == -ENODEV || r == -EBUSY)
                stop_units(managed); /* the worker's own call finds out */
        else if (r < 0)
                end_failed(managed, FAILURE_INTERNAL, strerror(-r));
        return 0;
}

int managed_detach(
        struct managed *managed, const struct detach_options *options, sd_bus_message *message, sd_bus_error *error) {
        return detach(managed, options, message, NULL, NULL, error);
}

int managed_detach_for(struct managed *managed, operation_done_t done, void *userdata, sd_bus_error *error) {
        return detach(managed, &(const struct detach_options){}, NULL, done, userdata, error);
}
