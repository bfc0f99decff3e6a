/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is done in each phase of a transfer, and what its answer means. The order, and what follows a failure, stand in transfer.c. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "image-log.h"
#include "peer-bus.h"
#include "transfer-internal.h"

#define SECTOR_SIZE   512U
#define ATTACHED_USEC (20U * 1000U * 1000U) /* with the 20 s after which AttachImage answers anyhow */
#define NO_TIMEOUT    UINT64_MAX

static uint64_t image_size(const struct transfer *transfer) {
        return (transfer->size + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
}

/* --- TRANSFER_CREATE */

static void write_record(struct transfer *transfer) {
        int r;

        r = transfer_record_write(transfer->local, &transfer->record);
        if (r < 0 && transfer->recorded)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", transfer->wish.name }),
                        "How far the import of %s is cannot be written down: %s", transfer->wish.name, strerror(-r));
        transfer->recorded = r >= 0;
}

static void on_created(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;
        const char *uuid;

        transfer->query = NULL;
        if (!answer) {
                transfer_settle(transfer, failure, "%s", message);
                return;
        }
        transfer->created = true;
        if (sd_bus_message_read(answer, "s", &uuid) < 0) {
                transfer_settle(transfer, FAILURE_PROTOCOL, "The store's answer was not understood");
                return;
        }
        transfer->record = (struct transfer_record){ .size = transfer->size,
                .file_size = transfer->wish.file_size,
                .changed_usec = transfer->wish.changed_usec };
        (void) snprintf(transfer->record.uuid, sizeof(transfer->record.uuid), "%s", uuid);
        (void) snprintf(transfer->record.format, sizeof(transfer->record.format), "%s", transfer->wish.format);
        if (!transfer->wish.stream) {
                transfer->recorded = true; /* so that it is said when it cannot be */
                write_record(transfer);
        }
        transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static int fill_create(sd_bus_message *call, void *userdata) {
        struct transfer *transfer = userdata;

        if (transfer->wish.checksums)
                return sd_bus_message_append(
                        call, "sta{sv}", transfer->stage, image_size(transfer), 1, "checksums", "b", (int) true);
        return sd_bus_message_append(call, "sta{sv}", transfer->stage, image_size(transfer), 0);
}

static int run_create(struct transfer *transfer) {
        if (transfer->wish.export || transfer->created)
                return 1;
        return query_ask(transfer->manager, "CreateImage", fill_create, on_created, transfer, &transfer->query, NULL);
}

/* --- TRANSFER_CLEAR and TRANSFER_ATTACH */

static void on_cleared(enum failure failure, const char *message, void *userdata) {
        transfer_settle(userdata, FAILURE_NONE, "%s", "");
}

static int run_clear(struct transfer *transfer) {
        struct managed *managed = manager_find(transfer->manager, transfer->local);

        if (!managed)
                return 1;
        return managed_detach_for(managed, on_cleared, transfer, NULL) < 0 ? 1 : 0;
}

/* systemd knows that the worker is ready a moment before we hear what it has attached. */
void transfer_image_changed(struct transfer *transfer, const struct image *image) {
        const struct transfer_wish *wish = &transfer->wish;

        if (!transfer->awaited || image->state != IMAGE_ATTACHED || image->size == 0)
                return;
        transfer->awaited = false;
        transfer->deadline = sd_event_source_disable_unref(transfer->deadline);
        if (wish->export)
                transfer->size = image->size;
        job_set_total(transfer->job, transfer->size * (1U + (wish->checksum && !wish->stream) + wish->verify));
        transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static int on_attach_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct transfer *transfer = userdata;
        const struct managed *managed = manager_find(transfer->manager, transfer->local);
        const char *reason = managed ? managed->image->state_reason : "";

        transfer->awaited = false;
        transfer->deadline = sd_event_source_disable_unref(transfer->deadline);
        transfer_settle(transfer, FAILURE_NO_PROXY, "Image %s could not be attached in time%s%s", transfer->stage,
                *reason ? ": " : "", reason);
        return 0;
}

static void on_attached(enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;
        const struct managed *managed = manager_find(transfer->manager, transfer->local);

        if (failure != FAILURE_NONE) {
                transfer_settle(transfer, failure, "%s", message);
                return;
        }
        transfer->awaited = true;
        if (sd_event_add_time_relative(transfer->manager->event, &transfer->deadline, CLOCK_MONOTONIC, ATTACHED_USEC,
                    0, on_attach_deadline, transfer) < 0)
                transfer_settle(transfer, FAILURE_INTERNAL, "Out of memory");
        else if (managed)
                transfer_image_changed(transfer, managed->image);
}

static int run_attach(struct transfer *transfer) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        struct attach_options options = { .read_only = transfer->wish.export && !transfer->exclusive };
        struct managed *managed;
        int r;

        options.device = strdup("none");
        options.image = strdup(transfer->stage);
        r = options.device && options.image ? manager_get(transfer->manager, transfer->local, &managed) : -ENOMEM;
        if (r >= 0) {
                transfer->attached = true;
                r = managed_attach_for(managed, &options, on_attached, transfer, &error);
        }
        attach_options_done(&options);
        if (r < 0 && error.message) {
                transfer_settle(transfer, peer_bus_error_failure(&error), "%s", error.message);
                return 0;
        }
        return r < 0 ? r : 0;
}

/* --- TRANSFER_SOCKET, TRANSFER_HELLO and TRANSFER_RUN */

static void on_socket(const char *result, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->call = NULL;
        if (result && strcmp(result, "done") == 0)
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        else
                transfer_settle(
                        transfer, FAILURE_SYSTEM, "%s could not be started: %s", transfer->unit, result ?: message);
}

static int run_socket(struct transfer *transfer) {
        transfer->started = true;
        return units_start(transfer->manager->units, transfer->unit, on_socket, transfer, &transfer->call);
}

static const char *step_from_string(const char *text) {
        static const char *const steps[] = { "copying", "checksum", "verifying" };

        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                if (strcmp(steps[i], text) == 0)
                        return steps[i];
        return NULL;
}

static int on_progress(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct transfer *transfer = userdata;
        uint64_t done, flushed;
        const char *text, *step;

        if (sd_bus_message_read(message, "stt", &text, &done, &flushed) < 0)
                return 0;
        step = step_from_string(text);
        if (transfer->phase != TRANSFER_RUN || !step)
                return 0;
        job_set_step(transfer->job, step);
        /* All of it is done when the answer says so. */
        job_set_progress(transfer->job, done < transfer->job->total ? done : transfer->job->total - 1, NULL);
        if (flushed > transfer->size)
                flushed = transfer->size;
        if (transfer->created && !transfer->wish.stream && flushed > transfer->record.done) {
                transfer->record.done = flushed;
                write_record(transfer);
        }
        return 0;
}

void transfer_hang_up(struct transfer *transfer) {
        transfer->slot = sd_bus_slot_unref(transfer->slot);
        transfer->bus = sd_bus_close_unref(transfer->bus);
}

static void connection_failed(struct transfer *transfer, const sd_bus_error *error) {
        if (strncmp(error->name, BUS_NAME ".Error.", strlen(BUS_NAME ".Error.")) == 0)
                transfer_settle(transfer, failure_from_bus_name(error->name), "%s", error->message);
        else
                transfer_settle(transfer, FAILURE_INTERNAL,
                        "The process that moves the data has ended (%s). See: journalctl -u 'blockstore-transfer@*'",
                        error->message ?: error->name);
}

static int on_hello(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *error = sd_bus_message_get_error(answer);
        struct transfer *transfer = userdata;

        transfer->slot = sd_bus_slot_unref(transfer->slot);
        if (error)
                connection_failed(transfer, error);
        else
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        return 0;
}

static int run_hello(struct transfer *transfer) {
        _cleanup_free_ char *path = NULL;
        char name[TRANSFER_LOCAL_NAME_SIZE + 16];
        int r;

        (void) snprintf(name, sizeof(name), TRANSFER_SOCKET_FORMAT, transfer->local);
        r = peer_bus_path(name, &path);
        if (r >= 0)
                r = peer_bus_connect(path, transfer->manager->event, true, &transfer->bus);
        if (r >= 0)
                r = sd_bus_match_signal(transfer->bus, NULL, NULL, TRANSFER_PATH, TRANSFER_INTERFACE, "Progress",
                        on_progress, transfer);
        if (r >= 0)
                r = sd_bus_call_method_async(transfer->bus, &transfer->slot, NULL, TRANSFER_PATH, TRANSFER_INTERFACE,
                        "Hello", on_hello, transfer, NULL);
        return r < 0 ? r : 0;
}

static int on_run(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error) {
        char checksum[JOB_CHECKSUM_SIZE];
        const sd_bus_error *error = sd_bus_message_get_error(answer);
        struct transfer *transfer = userdata;
        const char *sum;
        uint64_t bytes;

        transfer->slot = sd_bus_slot_unref(transfer->slot);
        if (error) {
                connection_failed(transfer, error);
                return 0;
        }
        if (sd_bus_message_read(answer, "st", &sum, &bytes) < 0) {
                transfer_settle(transfer, FAILURE_PROTOCOL,
                        "The answer of the process that moves the data was not understood");
                return 0;
        }
        if (*sum) {
                (void) snprintf(checksum, sizeof(checksum), "sha256:%.64s", sum);
                job_set_checksum(transfer->job, checksum);
        }
        job_set_progress(transfer->job, transfer->job->total, NULL);
        transfer_settle(transfer, FAILURE_NONE, "%s", "");
        return 0;
}

static int run_run(struct transfer *transfer) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        uint64_t start = transfer->record.done / TRANSFER_SLICE * TRANSFER_SLICE;
        const struct transfer_wish *wish = &transfer->wish;
        int r;

        if (start > 0)
                job_skip(transfer->job, start);
        r = sd_bus_message_new_method_call(transfer->bus, &call, NULL, TRANSFER_PATH, TRANSFER_INTERFACE, "Run");
        if (r >= 0)
                r = sd_bus_message_append(call, "hbbsttbbs", wish->file, (int) wish->export, (int) wish->stream,
                        wish->format, transfer->size, start, (int) wish->checksum, (int) wish->verify, wish->expected);
        if (r >= 0)
                r = sd_bus_call_async(transfer->bus, &transfer->slot, call, on_run, transfer, NO_TIMEOUT);
        return r < 0 ? r : 0;
}

/* --- TRANSFER_STOP and TRANSFER_DETACH */

static void on_socket_stopped(const char *result, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->call = NULL;
        transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static int run_stop(struct transfer *transfer) {
        transfer_hang_up(transfer);
        if (!transfer->started)
                return 1;
        return units_stop(transfer->manager->units, transfer->unit, on_socket_stopped, transfer, &transfer->call) < 0
                       ? 1
                       : 0;
}

/* What was not flushed is not imported. */
static void on_detached(enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        if (failure != FAILURE_NONE && !transfer->wish.export)
                transfer->complete = false;
        transfer_settle(transfer, failure, "%s", message);
}

static int run_detach(struct transfer *transfer) {
        struct managed *managed = manager_find(transfer->manager, transfer->local);

        if (!transfer->attached || !managed)
                return 1;
        return managed_detach_for(managed, on_detached, transfer, NULL) < 0 ? 1 : 0;
}

/* --- TRANSFER_REPLACE, TRANSFER_RENAME and TRANSFER_DISCARD */

static void fail_complete(struct transfer *transfer, enum failure failure, const char *message) {
        transfer->complete = false;
        transfer->wish.keep = true;
        transfer_settle(transfer, failure,
                "All data are in the store, as %s, but it cannot be called %s: %s. When that is mended, go on with "
                "the import: it is complete at once",
                transfer->stage, transfer->wish.name, message);
}

static void on_replaced(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->query = NULL;
        if (!answer && failure != FAILURE_NO_SUCH_IMAGE)
                fail_complete(transfer, failure, message);
        else
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static int fill_replace(sd_bus_message *call, void *userdata) {
        struct transfer *transfer = userdata;

        return sd_bus_message_append(call, "sa{sv}", transfer->wish.name, 0);
}

static int run_replace(struct transfer *transfer) {
        if (transfer->wish.export || !transfer->complete || !transfer->replaces)
                return 1;
        return query_ask(
                transfer->manager, "RemoveImage", fill_replace, on_replaced, transfer, &transfer->query, NULL);
}

static void on_renamed(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->query = NULL;
        if (answer)
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        else
                fail_complete(transfer, failure, message);
}

static int fill_rename(sd_bus_message *call, void *userdata) {
        struct transfer *transfer = userdata;

        return sd_bus_message_append(call, "ssa{sv}", transfer->stage, transfer->wish.name, 0);
}

static int run_rename(struct transfer *transfer) {
        if (transfer->wish.export || !transfer->complete)
                return 1;
        return query_ask(transfer->manager, "RenameImage", fill_rename, on_renamed, transfer, &transfer->query, NULL);
}

static void add_remark(struct transfer *transfer, const char *format, const char *detail) {
        size_t used = strlen(transfer->message);

        (void) snprintf(transfer->message + used, sizeof(transfer->message) - used, "%s", used > 0 ? ". " : "");
        used = strlen(transfer->message);
        (void) snprintf(transfer->message + used, sizeof(transfer->message) - used, "%s%s", format, detail);
}

static void on_discarded(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->query = NULL;
        if (answer)
                (void) transfer_record_remove(transfer->local);
        else
                add_remark(transfer, "What had been imported could not be removed: ", message);
        transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static int fill_discard(sd_bus_message *call, void *userdata) {
        struct transfer *transfer = userdata;

        return sd_bus_message_append(call, "sa{sv}", transfer->stage, 1, "uuid", "s", transfer->record.uuid);
}

static int run_discard(struct transfer *transfer) {
        if (transfer->wish.export || !transfer->created)
                return 1;
        if (transfer->complete) {
                (void) transfer_record_remove(transfer->local);
                return 1;
        }
        if (transfer->wish.keep && transfer->recorded)
                return 1;
        return query_ask(
                transfer->manager, "RemoveImage", fill_discard, on_discarded, transfer, &transfer->query, NULL);
}

const transfer_phase_run_t transfer_phase_runs[_TRANSFER_PHASE_MAX] = {
        [TRANSFER_LIST] = transfer_run_list,
        [TRANSFER_CREATE] = run_create,
        [TRANSFER_CLEAR] = run_clear,
        [TRANSFER_ATTACH] = run_attach,
        [TRANSFER_SOCKET] = run_socket,
        [TRANSFER_HELLO] = run_hello,
        [TRANSFER_RUN] = run_run,
        [TRANSFER_STOP] = run_stop,
        [TRANSFER_DETACH] = run_detach,
        [TRANSFER_REPLACE] = run_replace,
        [TRANSFER_RENAME] = run_rename,
        [TRANSFER_DISCARD] = run_discard,
};
