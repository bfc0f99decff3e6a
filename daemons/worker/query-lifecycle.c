/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Renames, snapshots and what is made of them, of org.blockstore.Store. What takes its time is a job of the proxy: its id comes back at once, and is asked after by whoever waits. A job belongs to one proxy process; when another
 * one is asked, because that one is gone, the job is gone as well, and so is what it had not finished. */

#include <errno.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "ivbs-lifecycle.h"
#include "query-internal.h"
#include "query-options.h"

/* What the proxy refuses with a meaning of its own here; answers the call when it does. */
static bool was_done(struct query_operation *operation, int error, uint32_t status, const char *message) {
        bool about_snapshots = strcmp(sd_bus_message_get_member(operation->call), "RenameImage") != 0;
        char text[1024];

        if (error < 0 || status == IVBS_STATUS_OK)
                return query_succeeded(operation, error, status, message);

        switch (status) {
        case IVBS_STATUS_NOT_FOUND:
                if (!about_snapshots)
                        break;
                snprintf(text, sizeof(text), "The store has no image \"%s\", or the image has no snapshot \"%s\".",
                        operation->name, operation->snapshot);
                query_reply_error(operation, FAILURE_NO_SUCH_IMAGE, text);
                return false;
        case IVBS_STATUS_ALREADY_EXISTS:
                if (operation->detail[0])
                        snprintf(text, sizeof(text), "The store has an image \"%s\" already.", operation->detail);
                else
                        snprintf(text, sizeof(text), "Image \"%s\" has a snapshot \"%s\" already.", operation->name,
                                operation->snapshot);
                query_reply_error(operation, FAILURE_ALREADY_EXISTS, text);
                return false;
        case IVBS_STATUS_IN_USE:
                snprintf(text, sizeof(text),
                        "\"%s\", or a snapshot of it, is attached by a host, or something is being made of it. Detach "
                        "it first.",
                        operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return false;
        case IVBS_STATUS_NOT_READY:
                snprintf(text, sizeof(text),
                        "A snapshot of \"%s\" is being made already: try again when that is over.", operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return false;
        case IVBS_STATUS_USE_ANOTHER_PROXY:
                snprintf(text, sizeof(text),
                        "Another proxy is taking \"%s\" over at this moment, or this one is being drained. Nothing "
                        "was made: try "
                        "again.",
                        operation->name);
                query_reply_error(operation, FAILURE_BUSY, text);
                return false;
        case IVBS_STATUS_TEMPORARY_ERROR:
                query_reply_error(
                        operation, FAILURE_BUSY, "The proxy has too much to do. Nothing was made: try again later.");
                return false;
        case IVBS_STATUS_INVALID_REQUEST:
                query_reply_error(operation, FAILURE_USAGE,
                        "The proxy does not accept the name: a new image or snapshot has no '@' in it, and "
                        "IMAGE@SNAPSHOT at most "
                        "255 bytes.");
                return false;
        default:
                break;
        }
        return query_succeeded(operation, error, status, message);
}

static void on_done(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;

        if (was_done(operation, error, status, message))
                (void) sd_bus_reply_method_return(operation->call, NULL);
}

static void on_begun(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        char text[SD_ID128_STRING_MAX];
        struct ivbs_change_reply reply;
        sd_id128_t job;

        if (!was_done(operation, error, status, message))
                return;
        if (ivbs_change_reply_decode(payload, n, &reply) < 0) {
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
                return;
        }
        memcpy(job.bytes, reply.job, sizeof(job.bytes));
        (void) sd_bus_reply_method_return(
                operation->call, "s", sd_id128_is_null(job) ? "" : sd_id128_to_string(job, text));
}

static int start(struct query *query, sd_bus_message *m, const char *name, const char *snapshot, const char *new_name,
        struct query_operation **ret, sd_bus_error *error) {
        int r;

        r = query_operation_new(query, m, ret, error);
        if (r < 0)
                return r;
        (void) snprintf((*ret)->name, sizeof((*ret)->name), "%s", name);
        (void) snprintf((*ret)->snapshot, sizeof((*ret)->snapshot), "%s", snapshot);
        (void) snprintf((*ret)->detail, sizeof((*ret)->detail), "%s", new_name);
        return 0;
}

/* Names in the order of the arguments, each into where it belongs; the options follow. */
static int change_image(
        sd_bus_message *m, struct query *query, uint32_t op, bool snapshot, bool new_name, sd_bus_error *error) {
        static const struct query_option options[] = { { "uuid", 0 }, {} };
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        bool job = op != IVBS_OP_RENAME_IMAGE && op != IVBS_OP_REMOVE_SNAPSHOT;
        char *fields[3];
        struct ivbs_image_change change = {};
        uint8_t payload[IVBS_IMAGE_CHANGE_SIZE];
        size_t n = 0;
        int r;

        fields[n++] = change.name;
        if (snapshot)
                fields[n++] = change.snapshot;
        if (new_name)
                fields[n++] = change.new_name;
        for (size_t i = 0; i < n; i++) {
                const char *text;

                r = sd_bus_message_read(m, "s", &text);
                if (r >= 0)
                        r = query_check_name(text, error);
                if (r < 0)
                        return r;
                strcpy(fields[i], text);
        }
        r = query_read_options(m, options, &change.flags, change.uuid, error);
        if (r < 0)
                return r;

        r = start(query, m, change.name, change.snapshot, change.new_name, &operation, error);
        if (r >= 0)
                r = ivbs_image_change_encode(&change, payload);
        if (r >= 0)
                r = engine_call(query->engine, op, payload, sizeof(payload), QUERY_CALL_USEC, job ? on_begun : on_done,
                        operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

int query_rename_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_image(m, userdata, IVBS_OP_RENAME_IMAGE, false, true, error);
}

int query_create_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_image(m, userdata, IVBS_OP_SNAPSHOT, true, false, error);
}

int query_remove_snapshot(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_image(m, userdata, IVBS_OP_REMOVE_SNAPSHOT, true, false, error);
}

int query_clone_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_image(m, userdata, IVBS_OP_CLONE_IMAGE, true, true, error);
}

int query_roll_back_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_image(m, userdata, IVBS_OP_ROLL_BACK, true, false, error);
}

/* --- lists --- */

static int append_snapshot(sd_bus_message *reply, const uint8_t *payload, size_t n, size_t *offset,
        char ret_name[static IVBS_IMAGE_NAME_SIZE]) {
        char uuid[SD_ID128_UUID_STRING_MAX];
        struct ivbs_listed_snapshot snapshot;
        int r;

        r = ivbs_listed_snapshot_decode(payload, n, offset, &snapshot);
        if (r < 0)
                return r;
        memcpy(ret_name, snapshot.name, sizeof(snapshot.name));
        return sd_bus_message_append(reply, "(stttsb)", snapshot.name, snapshot.size, snapshot.used,
                snapshot.created_usec, query_uuid_to_string(snapshot.uuid, uuid),
                (int) ((snapshot.flags & IVBS_LISTED_ATTACHED) != 0));
}

static int ask_list(struct query_operation *operation, const char *after);

static const struct query_list snapshot_list = {
        .row = "(stttsb)",
        .nonsense = "The proxy's list of snapshots makes no sense.",
        .ask = ask_list,
        .append = append_snapshot,
};

static void on_list(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        query_list_answer(userdata, &snapshot_list, error, status, payload, n, message);
}

static int ask_list(struct query_operation *operation, const char *after) {
        struct ivbs_list_snapshots list = { .limit = IVBS_SNAPSHOTS_PER_LIST };
        uint8_t payload[IVBS_LIST_SNAPSHOTS_SIZE];
        int r;

        strcpy(list.name, operation->name);
        (void) snprintf(list.after, sizeof(list.after), "%s", after);
        r = ivbs_list_snapshots_encode(&list, payload);
        return r < 0 ? r
                     : engine_call(operation->query->engine, IVBS_OP_LIST_SNAPSHOTS, payload, sizeof(payload),
                               QUERY_CALL_USEC, on_list, operation);
}

int query_list_snapshots(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = query_check_name(name, error);
        if (r >= 0)
                r = start(userdata, m, name, "", "", &operation, error);
        if (r >= 0)
                r = ask_list(operation, "");
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

/* --- jobs --- */

/* Why a job has failed, as the same refusal of a call would be told. */
static enum failure failure_of_job(uint32_t status, const char **ret_message) {
        switch (status) {
        case IVBS_STATUS_ALREADY_EXISTS:
                *ret_message = "something of that name has been made meanwhile";
                return FAILURE_ALREADY_EXISTS;
        case IVBS_STATUS_IN_USE:
                *ret_message = "the image is attached by a host; detach it first";
                return FAILURE_BUSY;
        case IVBS_STATUS_USE_ANOTHER_PROXY:
                *ret_message = "another proxy has taken the image over meanwhile; try again";
                return FAILURE_BUSY;
        case IVBS_STATUS_NOT_READY:
                *ret_message = "another snapshot of the image is being made; try again when that is over";
                return FAILURE_BUSY;
        case IVBS_STATUS_NO_SPACE:
                *ret_message = "the store has no space left";
                return FAILURE_IO;
        case IVBS_STATUS_NOT_FOUND:
                *ret_message = "the image or the snapshot is not there any more";
                return FAILURE_NO_SUCH_IMAGE;
        default:
                *ret_message = "the store failed; the proxy's journal says why";
                return FAILURE_IO;
        }
}

static void on_job(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        static const char *const states[] = {
                [IVBS_JOB_RUNNING] = "running",
                [IVBS_JOB_DONE] = "done",
                [IVBS_JOB_FAILED] = "failed",
                [IVBS_JOB_CANCELLED] = "cancelled",
        };
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        const char *why = "", *failure = "";
        struct ivbs_job_reply job;

        if (error == 0 && status == IVBS_STATUS_NOT_FOUND) {
                query_reply_error(operation, FAILURE_NO_SUCH_IMAGE,
                        "The proxy knows nothing of this job: it has ended since, or another proxy answers now. What "
                        "was not "
                        "finished has not been made: look at the store.");
                return;
        }
        if (!query_succeeded(operation, error, status, message))
                return;
        if (strcmp(sd_bus_message_get_member(operation->call), "CancelStoreJob") == 0) {
                (void) sd_bus_reply_method_return(operation->call, NULL);
                return;
        }
        if (ivbs_job_reply_decode(payload, n, &job) < 0) {
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
                return;
        }
        if (job.state == IVBS_JOB_FAILED)
                failure = failure_lookup(failure_of_job(job.status, &why))->bus_name;
        (void) sd_bus_reply_method_return(
                operation->call, "stttss", states[job.state], job.done, job.total, job.elapsed_usec, failure, why);
}

static int ask_job(sd_bus_message *m, struct query *query, uint32_t op, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        const char *text;
        sd_id128_t id;
        int r;

        r = sd_bus_message_read(m, "s", &text);
        if (r < 0)
                return r;
        if (sd_id128_from_string(text, &id) < 0)
                return peer_bus_error_set(error, FAILURE_USAGE, "That is not a job's id.");
        r = start(query, m, text, "", "", &operation, error);
        if (r >= 0)
                r = engine_call(query->engine, op, id.bytes, sizeof(id.bytes), QUERY_CALL_USEC, on_job, operation);
        if (r < 0)
                return r;
        TAKE_PTR(operation);
        return 1;
}

int query_get_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return ask_job(m, userdata, IVBS_OP_JOB_STATUS, error);
}

int query_cancel_job(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return ask_job(m, userdata, IVBS_OP_JOB_CANCEL, error);
}
