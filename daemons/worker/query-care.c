/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Scrubs, limits, and what is known of both, of org.blockstore.Store. */

#include <errno.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "ivbs-care.h"
#include "ivbs-lifecycle.h"
#include "query-internal.h"

/* Takes operation unless it fails. */
static int ask(struct query_operation **operation, uint32_t op, const void *payload, size_t n, engine_reply_t reply) {
        int r;

        r = engine_call((*operation)->query->engine, op, payload, n, QUERY_CALL_USEC, reply, *operation);
        if (r < 0)
                return r;
        *operation = NULL;
        return 1;
}

static int start(sd_bus_message *m, struct query *query, struct query_operation **ret, sd_bus_error *error) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = query_check_name(name, error);
        if (r >= 0)
                r = query_operation_new(query, m, ret, error);
        if (r >= 0)
                strcpy((*ret)->name, name);
        return r;
}

/* --- scrub --- */

static void on_scrub(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        struct ivbs_change_reply reply;
        char text[SD_ID128_STRING_MAX];
        char sentence[512];
        sd_id128_t job;

        if (error == 0 && status == IVBS_STATUS_NO_CHECKSUMS) {
                snprintf(sentence, sizeof(sentence),
                        "Image \"%s\" has no checksums to compare its data with. They are chosen when an image is "
                        "made, with --checksums.",
                        operation->name);
                query_reply_error(operation, FAILURE_USAGE, sentence);
                return;
        }
        if (error == 0 && status == IVBS_STATUS_NOT_SUPPORTED) {
                snprintf(sentence, sizeof(sentence),
                        "The data of \"%s\" lie in a Ceph cluster, which has checksums of its own: it compares with "
                        "each read, and all of them with its deep scrubs (ceph pg deep-scrub, ceph health detail).",
                        operation->name);
                query_reply_error(operation, FAILURE_USAGE, sentence);
                return;
        }
        if (error == 0 && status == IVBS_STATUS_TEMPORARY_ERROR) {
                query_reply_error(operation, FAILURE_BUSY, "The proxy has too much to do: try again later.");
                return;
        }
        if (!query_succeeded(operation, error, status, message))
                return;
        if (ivbs_change_reply_decode(payload, n, &reply) < 0) {
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
                return;
        }
        memcpy(job.bytes, reply.job, sizeof(job.bytes));
        (void) sd_bus_reply_method_return(
                operation->call, "s", sd_id128_is_null(job) ? "" : sd_id128_to_string(job, text));
}

int query_scrub_image(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        struct ivbs_remove_image scrub = {};
        uint8_t payload[IVBS_SCRUB_SIZE];
        int r;

        r = start(m, userdata, &operation, error);
        if (r < 0)
                return r;
        strcpy(scrub.name, operation->name);
        r = ivbs_remove_image_encode(&scrub, payload);
        return r < 0 ? r : ask(&operation, IVBS_OP_SCRUB, payload, sizeof(payload), on_scrub);
}

/* --- looking --- */

static int append_offsets(sd_bus_message *reply, const struct ivbs_care *care) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", "DamagedOffsets");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "at");
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 't', care->offsets, care->n_offsets * sizeof(uint64_t));
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int reply_care(struct query_operation *operation, const struct ivbs_care *care) {
        static const char *const states[] = {
                [IVBS_SCRUB_NEVER] = "never",
                [IVBS_SCRUB_RUNNING] = "running",
                [IVBS_SCRUB_DONE] = "done",
                [IVBS_SCRUB_FAILED] = "failed",
                [IVBS_SCRUB_CANCELLED] = "cancelled",
        };
        const struct {
                const char *name;
                uint64_t number;
        } numbers[] = {
                { "Iops", care->iops },
                { "Bandwidth", care->bandwidth },
                { "BurstUSec", care->burst_usec },
                { "ScrubBegan", care->began_usec },
                { "ScrubUpdated", care->updated_usec },
                { "ScrubDone", care->done },
                { "ScrubSize", care->size },
                { "DamagedBlocks", care->damaged },
                { "UnknownBlocks", care->unknown },
        };
        sd_bus_message *reply;
        int r;

        r = sd_bus_message_new_method_return(operation->call, &operation->reply);
        if (r < 0)
                return r;
        reply = operation->reply;
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_append(
                        reply, "{sv}", "Checksums", "b", (int) ((care->flags & IVBS_CARE_CHECKSUMS) != 0));
        if (r >= 0)
                r = sd_bus_message_append(
                        reply, "{sv}", "CheckedByStore", "b", (int) ((care->flags & IVBS_CARE_CHECKED_BY_STORE) != 0));
        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}", "ScrubState", "s", states[care->scrub_state]);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
                r = sd_bus_message_append(reply, "{sv}", numbers[i].name, "t", numbers[i].number);
        if (r >= 0)
                r = append_offsets(reply, care);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_care(
        void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;
        struct ivbs_care care;

        if (!query_succeeded(operation, error, status, message))
                return;
        if (ivbs_care_decode(payload, n, &care) < 0 || reply_care(operation, &care) < 0)
                query_reply_error(operation, FAILURE_PROTOCOL, "The proxy's answer makes no sense.");
}

int query_get_image_care(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        uint8_t payload[IVBS_GET_CARE_SIZE];
        int r;

        r = start(m, userdata, &operation, error);
        if (r >= 0)
                r = ivbs_get_care_encode(operation->name, payload);
        return r < 0 ? r : ask(&operation, IVBS_OP_GET_CARE, payload, sizeof(payload), on_care);
}

/* --- limits --- */

static void on_set(void *userdata, int error, uint32_t status, const uint8_t *payload, size_t n, const char *message) {
        _cleanup_(query_operationp) struct query_operation *operation = userdata;

        if (error == 0 && status == IVBS_STATUS_INVALID_REQUEST)
                query_reply_error(operation, FAILURE_USAGE,
                        "The proxy does not accept these limits: rates are below 2^50 a second, bursts at most an "
                        "hour, and not every kind of store has limits.");
        else if (query_succeeded(operation, error, status, message))
                (void) sd_bus_reply_method_return(operation->call, NULL);
}

int query_set_image_limits(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(query_operationp) struct query_operation *operation = NULL;
        uint8_t payload[IVBS_SET_LIMITS_SIZE];
        struct ivbs_limits limits = {};
        int r;

        r = start(m, userdata, &operation, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "ttt", &limits.iops, &limits.bandwidth, &limits.burst_usec);
        if (r < 0)
                return r;
        strcpy(limits.name, operation->name);
        r = ivbs_limits_encode(&limits, payload);
        return r < 0 ? r : ask(&operation, IVBS_OP_SET_LIMITS, payload, sizeof(payload), on_set);
}
