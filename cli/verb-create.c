/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is wrong with the arguments is told here, before anybody is asked; what the store makes of them is for the proxy to say. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bus-json.h"
#include "bus.h"
#include "config.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "store-job.h"
#include "verbs.h"

#define SECTOR_SIZE          512U
#define STORE_NAME_MAX_BYTES 255U
#define UUID_TEXT_SIZE       37U

static bool arg_preallocate, arg_checksums, arg_no_wait;

const struct option_entry create_options[] = {
        { "preallocate", 0, NULL, "Take all its storage at once, so that it cannot run out later", OPTION_FLAG,
                &arg_preallocate },
        { "no-wait", 0, NULL, "Do not wait for that", OPTION_FLAG, &arg_no_wait },
        { "checksums", 0, NULL, "Keep checksums of its blocks, so that damage on the store's disk is found",
                OPTION_FLAG, &arg_checksums },
        { NULL },
};

/* Those that were given, preallocation aside, which is a method; a proxy or a worker of an older version knows fewer. */
static int append_options(sd_bus_message *message) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "{sv}");
        if (r >= 0 && arg_checksums)
                r = sd_bus_message_append(message, "{sv}", "checksums", "b", true);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int size_argument(const char *text, uint64_t *ret) {
        uint64_t size;
        int r;

        r = size_parse(text, &size);
        if (r == -ERANGE || (r >= 0 && size > INT64_MAX))
                return report(FAILURE_USAGE, "create", "\"%s\" is more than any image can have", text);
        if (r < 0)
                return report(FAILURE_USAGE, "create",
                        "\"%s\" is no size: expected bytes, or a number with K, M, G, T, P or E (powers of 1024), "
                        "such as 10G",
                        text);
        if (size == 0 || size % SECTOR_SIZE != 0)
                return report(FAILURE_USAGE, "create",
                        "an image of %" PRIu64 " bytes cannot be: expected a multiple of %u, and more than 0", size,
                        SECTOR_SIZE);

        *ret = size;
        return 0;
}

static int show_created(const struct cli *cli, const char *name, uint64_t size, const char *uuid) {
        _cleanup_(json_object_putp) struct json_object *image = json_object_new_object();
        char buffer[FORMAT_MAX];

        if (!image || json_object_object_add(image, "name", json_object_new_string(name)) < 0 ||
                json_object_object_add(image, "size", json_object_new_uint64(size)) < 0 ||
                json_object_object_add(image, "uuid", json_object_new_string(uuid)) < 0)
                return -ENOMEM;

        if (!output_json(cli, image)) {
                output_text(stdout, name);
                printf(" is created: %s, UUID %s.\n", format_size(buffer, size), uuid);
        }
        return 0;
}

/* The UUID of what a job has made, from the store's list. Left empty when it is not there. */
static int look_up(sd_bus *bus, const char *name, char ret[static UUID_TEXT_SIZE]) {
        _cleanup_(json_object_putp) struct json_object *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        *ret = 0;
        r = image_load_store(bus, &error, &images);
        if (r < 0)
                return report_bus("list the images in the store", NULL, &error, r);
        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (strcmp(json_string(image, "name"), name) == 0)
                        (void) snprintf(ret, UUID_TEXT_SIZE, "%s", json_string(image, "uuid"));
        }
        return 0;
}

int verb_create(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *name = arguments[0], *created;
        char action[STORE_NAME_MAX_BYTES + 16], uuid[UUID_TEXT_SIZE];
        uint64_t size = 0;
        int r;

        if (*name == 0 || strlen(name) > STORE_NAME_MAX_BYTES)
                return report(FAILURE_USAGE, "create", "the name of an image has 1 to %u bytes", STORE_NAME_MAX_BYTES);
        r = size_argument(arguments[1], &size);
        if (r != 0)
                return r;
        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = bus_new_change(cli, bus, arg_preallocate ? "PreallocateImage" : "CreateImage", &message);
        if (r < 0)
                return r;
        r = sd_bus_message_append(message, "st", name, size);
        if (r >= 0)
                r = append_options(message);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "create", "the name of the image is not UTF-8");
        if (r < 0)
                return r;

        snprintf(action, sizeof action, "create \"%s\"", name);
        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r < 0)
                return report_bus(action, name, &error, r);
        if (!arg_preallocate) {
                r = sd_bus_message_read(reply, "s", &created);
                return r < 0 ? r : show_created(cli, name, size, created);
        }

        r = store_job_conclude(cli, bus, reply, action, !arg_no_wait, "Nothing was made.");
        if (r == 0)
                r = look_up(bus, name, uuid);
        /* What nobody has waited for is not there yet. */
        return r != 0 || !*uuid ? r : show_created(cli, name, size, uuid);
}
