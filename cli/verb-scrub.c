/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Scrubs: one image, or each one after the other; and how the last ones went. That something is damaged is what the caller wanted to know, so it is an exit status, as of fsck. */

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "bus-json.h"
#include "bus.h"
#include "care.h"
#include "output.h"
#include "report.h"
#include "store-job.h"
#include "verbs.h"

static bool arg_all, arg_status, arg_no_wait;

const struct option_entry scrub_options[] = {
        { "all", 0, NULL, "All images that have checksums", OPTION_FLAG, &arg_all },
        { "status", 0, NULL, "Show how the last scrub went, or how far it is", OPTION_FLAG, &arg_status },
        { "no-wait", 0, NULL, "Do not wait for it", OPTION_FLAG, &arg_no_wait },
        { NULL },
};

static void print_when(const char *what, uint64_t usec) {
        time_t seconds = (time_t) (usec / 1000000);
        char text[64] = "";
        struct tm tm;

        if (usec > 0 && localtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) > 0)
                printf("%s%s", what, text);
}

static void print_offsets(struct json_object *care) {
        struct json_object *offsets;

        if (!json_object_object_get_ex(care, "damaged_offsets", &offsets))
                return;
        for (size_t i = 0; i < json_object_array_length(offsets); i++)
                printf("  damaged block at byte %" PRIi64 "\n",
                        json_object_get_int64(json_object_array_get_idx(offsets, i)));
        if (json_number(care, "damaged_blocks") > json_object_array_length(offsets))
                puts("  ... and more, see the journal of the proxy");
}

static void print_report(const char *name, struct json_object *care) {
        const char *state = json_string(care, "scrub_state");
        char done[FORMAT_MAX], size[FORMAT_MAX];

        output_text(stdout, name);
        if (!json_is_true(care, "checksums")) {
                puts(json_is_true(care, "checked_by_store")
                                ? ": has no checksums, for the store checks its data itself"
                                : ": has no checksums");
                return;
        }
        if (strcmp(state, "never") == 0) {
                puts(": was never scrubbed");
                return;
        }
        printf(": %s", state);
        print_when(", begun ", json_number(care, "scrub_began"));
        if (strcmp(state, "done") != 0)
                printf(", %s of %s", format_size(done, json_number(care, "scrub_done")),
                        format_size(size, json_number(care, "scrub_size")));
        printf(", %" PRIu64 " damaged blocks", json_number(care, "damaged_blocks"));
        if (json_number(care, "unknown_blocks") > 0)
                printf(", %" PRIu64 " that cannot be verified yet", json_number(care, "unknown_blocks"));
        putchar('\n');
        print_offsets(care);
}

static int show_report(const struct cli *cli, const char *name, struct json_object *care) {
        if (json_object_object_add(care, "name", json_object_new_string(name)) < 0)
                return -ENOMEM;
        if (!output_json(cli, care))
                print_report(name, care);
        return 0;
}

static int report_one(const struct cli *cli, sd_bus *bus, const char *name, bool *ret_damaged) {
        _cleanup_(json_object_putp) struct json_object *care = NULL;
        int r;

        r = care_load(bus, name, &care);
        if (r != 0)
                return r;
        if (json_number(care, "damaged_blocks") > 0)
                *ret_damaged = true;
        return show_report(cli, name, care);
}

static int scrub_one(const struct cli *cli, sd_bus *bus, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[300];
        int r;

        snprintf(action, sizeof action, "scrub \"%s\"", name);
        r = bus_new_change(cli, bus, "ScrubImage", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "s", name);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r < 0)
                return report_bus(action, name, &error, r);
        return store_job_conclude(cli, bus, reply, action, !arg_no_wait, "The rest of it has not been looked at.");
}

static int do_one(const struct cli *cli, sd_bus *bus, const char *name, bool *ret_damaged) {
        int r;

        if (!arg_status) {
                r = scrub_one(cli, bus, name);
                if (r != 0 || arg_no_wait)
                        return r;
        }
        return report_one(cli, bus, name, ret_damaged);
}

/* What --all has left out is said, and why: whoever runs it from a timer is to know what it does for him. */
static void tell_left_out(size_t n, size_t n_left_out, bool by_store) {
        if (n == 0)
                puts("The store has no images.");
        else if (n_left_out > 0 && by_store)
                puts("Nothing was scrubbed: the store is a Ceph cluster, which has checksums of its own. It compares "
                     "them "
                     "with each read, and all of them with its deep scrubs (ceph pg deep-scrub, ceph health detail).");
        else if (n_left_out > 0)
                printf("%zu of %zu images have no checksums, and cannot be scrubbed: they were made without "
                       "--checksums.\n",
                        n_left_out, n);
}

static int do_all(const struct cli *cli, sd_bus *bus, bool *ret_damaged) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        size_t n_left_out = 0;
        bool by_store = false;
        int r;

        r = bus_call_read(bus, "ListStoreImages", &error, &reply, NULL);
        if (r < 0)
                return report_bus("list the images of the store", NULL, &error, r);
        r = bus_json_read_records(reply, store_image_fields, &images);
        for (size_t i = 0; r == 0 && i < json_object_array_length(images); i++) {
                _cleanup_(json_object_putp) struct json_object *care = NULL;
                const char *name = json_string(json_object_array_get_idx(images, i), "name");

                r = care_load(bus, name, &care);
                if (r != 0)
                        break;
                if (json_is_true(care, "checksums")) {
                        r = do_one(cli, bus, name, ret_damaged);
                        continue;
                }
                n_left_out++;
                by_store = json_is_true(care, "checked_by_store");
                if (cli->json != JSON_OFF)
                        r = show_report(cli, name, care);
        }
        if (r == 0 && cli->json == JSON_OFF)
                tell_left_out(json_object_array_length(images), n_left_out, by_store);
        return r;
}

int verb_scrub(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        bool damaged = false;
        int r;

        if ((n_arguments == 0) != arg_all)
                return report(FAILURE_USAGE, "scrub", "expected the name of an image, or --all");
        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = arg_all ? do_all(cli, bus, &damaged) : do_one(cli, bus, arguments[0], &damaged);
        if (r == 0 && damaged)
                return report_plain(FAILURE_IO, "the store has damaged data");
        return r;
}
