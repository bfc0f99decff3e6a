/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* "store status" joins two answers: what every user may know (the images), and what an administrator may (capacity, sessions). The second is of the proxy that happened to be asked: sessions at others are theirs to tell. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "bus-json.h"
#include "bus.h"
#include "care.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static int run_status(const struct cli *cli, char *arguments[], unsigned n_arguments);

const struct verb store_verbs[] = {
        { "status", "", "Show how full the store is, its images, and who has what", 0, 0, NULL, run_status, NULL },
        { NULL },
};

static const char *const session_fields[] = { "image", "user", "host", "address", "writes", "leased", "generation",
        NULL };

static const struct column image_columns[] = {
        { "IMAGE", "name", COLUMN_TEXT },
        { "SIZE", "size", COLUMN_SIZE },
        { "USED", "used", COLUMN_SIZE },
        { "IN USE", "attached", COLUMN_YES },
        { "WRITTEN BY", "writer", COLUMN_TEXT },
        { "SCRUB", "scrub", COLUMN_TEXT },
};

/* Each image is a question to the store: one by one, so that nobody else waits. */
#define STORE_PATIENCE_USEC 5000000U  /* for one */
#define CARE_PATIENCE_USEC  60000000U /* for all */

static const struct column session_columns[] = {
        { "SESSION OF", "host", COLUMN_TEXT },
        { "USER", "user", COLUMN_TEXT },
        { "ADDRESS", "address", COLUMN_TEXT },
        { "IMAGE", "image", COLUMN_TEXT },
        { "WRITES", "writes", COLUMN_YES },
        { "LEASE", "leased", COLUMN_YES },
        { "GENERATION", "generation", COLUMN_NUMBER },
};

static int set(struct json_object *object, const char *key, struct json_object *value) {
        return json_object_object_add(object, key, value) < 0 ? -ENOMEM : 0;
}

static int read_status(sd_bus_message *reply, struct json_object *status) {
        struct json_object *sessions;
        uint64_t total, available;
        uint32_t clients;
        int r;

        r = sd_bus_message_read(reply, "ttu", &total, &available, &clients);
        if (r >= 0)
                r = bus_json_read_records(reply, session_fields, &sessions);
        if (r >= 0)
                r = set(status, "sessions", sessions);
        if (r >= 0)
                r = set(status, "total", json_object_new_uint64(total));
        if (r >= 0)
                r = set(status, "available", json_object_new_uint64(available));
        if (r >= 0)
                r = set(status, "clients", json_object_new_uint64(clients));
        return r;
}

/* Who writes an image, as far as the sessions tell. */
static int name_writers(struct json_object *images, struct json_object *sessions) {
        int r = 0;

        for (size_t i = 0; i < json_object_array_length(images) && r >= 0; i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                r = set(image, "writer", NULL);
                for (size_t k = 0; k < json_object_array_length(sessions) && r >= 0; k++) {
                        struct json_object *session = json_object_array_get_idx(sessions, k);
                        const char *host = json_string(session, "host");

                        if (json_is_true(session, "writes") &&
                                strcmp(json_string(session, "image"), json_string(image, "name")) == 0)
                                r = set(image, "writer",
                                        json_object_new_string(*host ? host : json_string(session, "address")));
                }
        }
        return r;
}

static uint64_t now_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000U + (uint64_t) ts.tv_nsec / 1000U;
}

/* With limits and scrubs, as far as they can be learned: of *ret_n images. */
static int add_care(sd_bus *bus, struct json_object *images, size_t *ret_n) {
        uint64_t began = now_usec();
        bool known = true;
        size_t n = 0;
        int r = 0;

        for (size_t i = 0; i < json_object_array_length(images) && r >= 0; i++) {
                struct json_object *image = json_object_array_get_idx(images, i), *care = NULL;
                char text[CARE_SCRUB_MAX];

                /* One that was removed meanwhile is no reason to leave the others out. */
                if (known) {
                        int looked = care_look(bus, json_string(image, "name"), STORE_PATIENCE_USEC, &care);

                        known = now_usec() - began < CARE_PATIENCE_USEC && (looked >= 0 || looked == -ENOENT);
                        n += known;
                }
                r = set(image, "scrub", json_object_new_string(known ? care_scrub(text, care) : ""));
                if (r >= 0)
                        r = set(image, "care", care);
        }
        *ret_n = n;
        return r;
}

static int show(
        const struct cli *cli, struct json_object *status, struct json_object *images, struct json_object *sessions) {
        uint64_t total = json_number(status, "total"), available = json_number(status, "available"),
                 clients = json_number(status, "clients"), used = 0;
        char texts[4][FORMAT_MAX];
        int r;

        for (size_t i = 0; i < json_object_array_length(images); i++)
                used += json_number(json_object_array_get_idx(images, i), "used");
        if (total > 0)
                printf("Capacity: %s, of which %s are free (%u%% used)\n", format_size(texts[0], total),
                        format_size(texts[1], available),
                        (unsigned) ((double) (total - (available < total ? available : total)) / (double) total *
                                    100));
        else
                puts("Capacity: not known");
        printf("  Images: %zu, which use %s\n", json_object_array_length(images), format_size(texts[2], used));
        printf(" Clients: %" PRIu64 " connection%s to the proxy that was asked, %zu of them with an image\n", clients,
                clients == 1 ? "" : "s", json_object_array_length(sessions));
        if (json_object_array_length(images) > 0) {
                printf("\n");
                r = output_table(cli, image_columns, ELEMENTSOF(image_columns), images);
                if (r < 0)
                        return r;
                if (json_number(status, "looked_at") < json_object_array_length(images))
                        printf("\nOnly the first %" PRIu64
                               " images were asked how their scrubs went: the store did not "
                               "answer any faster.\n",
                                json_number(status, "looked_at"));
        }
        if (json_object_array_length(sessions) == 0)
                return 0;
        printf("\n");
        return output_table(cli, session_columns, ELEMENTSOF(session_columns), sessions);
}

static int run_status(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(json_object_putp) struct json_object *status = json_object_new_object();
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        struct json_object *images, *sessions;
        size_t n_looked_at = 0;
        int r;

        if (!status)
                return -ENOMEM;
        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = bus_new_change(cli, bus, "GetStoreStatus", &message);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r < 0)
                return report_bus("show how the store is doing", NULL, &error, r);
        r = read_status(reply, status);
        if (r < 0)
                return r;
        r = image_load_store(bus, &error, &images);
        if (r < 0)
                return report_bus("list the images in the store", NULL, &error, r);
        r = set(status, "images", images);
        if (r >= 0 && !json_object_object_get_ex(status, "sessions", &sessions))
                r = -EBADMSG;
        if (r >= 0)
                r = name_writers(images, sessions);
        if (r >= 0)
                r = add_care(bus, images, &n_looked_at);
        if (r >= 0)
                r = set(status, "looked_at", json_object_new_uint64(n_looked_at));
        if (r < 0 || output_json(cli, status))
                return r < 0 ? r : 0;
        return show(cli, status, images, sessions);
}
