/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* AttachImage: the options are kept for the worker, image@NAME.service is started, and its job is waited for. Type=notify makes that the moment when the image is usable. Callers
 * join: whoever asks for an image that is being attached waits for the same job.
 *
 *      is the socket active?  ->  start the service  ->  done: answer, when the worker has said so, too: its word comes by another way than systemd's
 *                                                    ->  failed: ask the unit why, stop the socket if it was started for this, answer
 *
 * A name that the store does not have is a mistake of who asks, and who asks is told. A failed unit of that name would be there for somebody else to find, and to
 * forgive; so it is forgiven here, unless it had failed before, by somebody else's start. All other failures stay in State: they are about an image that is there.
 *
 * A caller is answered after 20 s in any case, with the object and without an error: the attach goes on, and State tells how. */

#include <errno.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"
#include "peer-bus.h"

#define ANSWER_USEC (20U * 1000U * 1000U)

static void on_caller_timeout(struct operation *operation, void *userdata) {
        struct managed *managed = userdata;

        operation_succeed(operation, managed->path);
}

static void on_socket_stopped(const char *result, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed->stray_call = NULL;
        (void) managed_collect(managed);
}

static void end_failed(struct managed *managed, enum failure failure, const char *message) {
        managed->work = MANAGED_IDLE;
        log_image(LOG_ERR, managed->image->name, "Attaching failed: %s", message);
        (void) image_fail(managed->image, failure, message);
        (void) options_remove(managed->image->name);
        attach_options_done(&managed->options);

        if (!managed->socket_was_active && !managed->stray_call)
                (void) units_stop(
                        managed->manager->units, managed->socket, on_socket_stopped, managed, &managed->stray_call);

        /* If its caller still waits, and so is told. */
        if (failure == FAILURE_NO_SUCH_IMAGE && !managed->unit_had_failed && !LIST_EMPTY(&managed->operations))
                units_reset_failed(managed->manager->units, managed->service);

        operations_fail(&managed->operations, failure, message);
        managed_consider_gone(managed);
        manager_check_idle(managed->manager);
}

static void on_failure_known(const struct unit_state *state, int error, void *userdata) {
        struct managed *managed = userdata;
        char message[1024];
        enum failure failure;

        managed->call = NULL;
        if (error < 0) {
                end_failed(managed, FAILURE_SYSTEM, "systemd does not say why the unit failed");
                return;
        }

        managed->unit = *state;
        managed->unit_known = true;
        failure = managed_failure(managed, message, sizeof(message));
        end_failed(managed, failure, message);
}

void managed_attach_told(struct managed *managed) {
        if (managed->work != MANAGED_STARTING || managed->call ||
                (managed->image->state == IMAGE_ATTACHING && managed->link))
                return;

        managed->work = MANAGED_IDLE;
        operations_succeed(&managed->operations, managed->path);
        manager_check_idle(managed->manager);
}

static void on_started(const char *result, const char *message, void *userdata) {
        struct managed *managed = userdata;

        managed->call = NULL;

        if (!result) {
                end_failed(managed, FAILURE_SYSTEM, message);
                return;
        }
        if (strcmp(result, "done") == 0) {
                managed_attach_told(managed);
                return;
        }
        if (strcmp(result, "canceled") == 0) {
                managed->work = MANAGED_IDLE;
                operations_fail(
                        &managed->operations, FAILURE_BUSY, "The start was cancelled: the image is being stopped");
                manager_check_idle(managed->manager);
                return;
        }

        if (units_query(managed->manager->units, managed->service, on_failure_known, managed, &managed->call) < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd does not answer");
}

static void on_socket_known(const struct unit_state *state, int error, void *userdata) {
        struct managed *managed = userdata;
        int r;

        managed->call = NULL;
        managed->socket_was_active = error < 0 || strcmp(state->active_state, "active") == 0;

        r = units_start(managed->manager->units, managed->service, on_started, managed, &managed->call);
        if (r < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd cannot be asked to start the image");
}

/* Asked for, since what the watch has said last may be older than a forgiving, by us or somebody else. */
static void on_service_known(const struct unit_state *state, int error, void *userdata) {
        struct managed *managed = userdata;
        int r;

        managed->call = NULL;
        managed->unit_had_failed = error < 0 || unit_state_is_failed(state);

        r = units_query(managed->manager->units, managed->socket, on_socket_known, managed, &managed->call);
        if (r < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd cannot be reached");
}

/* What is attached, or on its way, fits what is asked for now. */
static bool is_compatible(const struct managed *managed, const struct attach_options *options) {
        return attach_options_are_empty(options) || attach_options_equal(options, &managed->options);
}

static bool is_running(const struct managed *managed) {
        switch (managed->image->state) {
        case IMAGE_ATTACHED:
        case IMAGE_RECONNECTING:
        case IMAGE_PARKED:
                return managed->link != NULL;
        case IMAGE_INACTIVE:
        case IMAGE_ATTACHING:
        case IMAGE_DETACHING:
        case IMAGE_FAILED:
        case _IMAGE_STATE_MAX:
        case _IMAGE_STATE_INVALID:
        default:
                return false;
        }
}

/* Takes the options. */
static int keep_options(struct managed *managed, struct attach_options *options) {
        int r;

        r = options_write(managed->image->name, options);
        if (r < 0)
                return r;

        attach_options_done(&managed->options);
        managed->options = *options;
        *options = (struct attach_options){ .read_only = -1 };
        return 0;
}

/* Who waits: a message, or the supervisor itself. */
static int attach(struct managed *managed, struct attach_options *options, uid_t caller, sd_bus_message *message,
        operation_done_t done, void *userdata, sd_bus_error *error) {
        const char *name = managed->image->name;
        bool is_up = is_running(managed) || (managed->unit_known && unit_state_is_up(&managed->unit));
        int r;

        if (managed->work == MANAGED_STOPPING)
                return peer_bus_error_set(
                        error, FAILURE_BUSY, "Image \"%s\" is being detached; try again when it is", name);

        if ((managed->work == MANAGED_STARTING || is_up) && !is_compatible(managed, options))
                return peer_bus_error_set(error, FAILURE_BUSY,
                        "Image \"%s\" is attached, or being attached, with other options; detach it first", name);

        if (message)
                r = operation_new(managed->manager, &managed->operations, message, ANSWER_USEC, on_caller_timeout,
                        managed, error);
        else
                r = operation_new_internal(managed->manager, &managed->operations, done, userdata, ANSWER_USEC,
                        on_caller_timeout, managed, error);
        if (r < 0)
                return r;

        /* Somebody wants it, so it is not to go any more. */
        (void) managed_lazy_cancel(managed);
        if (managed->work == MANAGED_STARTING)
                return 0;
        if (is_running(managed)) {
                operations_succeed(&managed->operations, managed->path);
                return 0;
        }

        /* What runs already, started by somebody else or on its way back, goes on with what it was given. */
        if (!is_up) {
                r = keep_options(managed, options);
                if (r < 0) {
                        char text[256];

                        (void) snprintf(
                                text, sizeof(text), "The options for %s cannot be kept: %s", name, strerror(-r));
                        operations_fail(&managed->operations, FAILURE_SYSTEM, text);
                        return 0;
                }
                managed_set_owner(managed, caller);
        }

        managed->work = MANAGED_STARTING;
        managed->stray_call = units_call_free(managed->stray_call);
        (void) image_handle_event(managed->image, IMAGE_EVENT_START, NULL);

        r = units_query(managed->manager->units, managed->service, on_service_known, managed, &managed->call);
        if (r < 0)
                end_failed(managed, FAILURE_SYSTEM, "systemd cannot be reached");
        return 0;
}

int managed_attach(struct managed *managed, struct attach_options *options, uid_t caller, sd_bus_message *message,
        sd_bus_error *error) {
        return attach(managed, options, caller, message, NULL, NULL, error);
}

int managed_attach_for(struct managed *managed, struct attach_options *options, operation_done_t done, void *userdata,
        sd_bus_error *error) {
        return attach(managed, options, 0, NULL, done, userdata, error);
}
