/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* NAME is the image as this host calls it, if it is attached or configured here, and the store's else. The present size is looked up: a relative one needs it, and a smaller one is refused here already, with
 * what it would cost. The store decides on what is so by then, also where the present size could not be had. */

#include <inttypes.h>
#include <string.h>

#include "bus.h"
#include "config.h"
#include "image.h"
#include "host-config.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define SECTOR_SIZE          512U
#define STORE_NAME_MAX_BYTES 255U

static bool arg_force_shrink;

const struct option_entry resize_options[] = {
        { "force-shrink", 0, NULL, "Make it smaller: what is stored behind the new end is lost", OPTION_FLAG,
                &arg_force_shrink },
        { NULL },
};

/* Returns 0, an exit code, or a negative errno. */
static int look_up(
        sd_bus *bus, const char *name, const char *action, bool needed, char **ret_store_name, uint64_t *ret_size) {
        _cleanup_(json_object_putp) struct json_object *image = NULL, *images = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *store_name = NULL;
        uint64_t size = 0;
        int r;

        if (image_local_name_is_valid(name) && image_load(bus, name, &error, &image) >= 0) {
                store_name = strdup(json_string(image, "image_name"));
                size = json_number(image, "size");
        } else
                store_name = strdup(name);
        if (!store_name)
                return -ENOMEM;

        if (size == 0) {
                sd_bus_error_free(&error);
                r = image_load_store(bus, &error, &images);
                if (r < 0 && needed)
                        return report_bus(action, name, &error, r);
                for (size_t i = 0; images && i < json_object_array_length(images); i++) {
                        struct json_object *found = json_object_array_get_idx(images, i);

                        if (strcmp(json_string(found, "name"), store_name) == 0)
                                size = json_number(found, "size");
                }
        }
        if (size == 0 && needed)
                return report(FAILURE_NO_SUCH_IMAGE, name,
                        "cannot %s: there is no image of that name, neither on this host nor in the store", action);

        *ret_store_name = TAKE_PTR(store_name);
        *ret_size = size;
        return 0;
}

static int new_size(const char *text, const char *name, uint64_t old, uint64_t *ret) {
        bool relative = *text == '+';
        char buffer[2][FORMAT_MAX];
        uint64_t size;

        if (size_parse(text + relative, &size) < 0)
                return report(FAILURE_USAGE, "resize",
                        "\"%s\" is no size: expected bytes, or a number with K, M, G, T, P or E (powers of 1024), "
                        "such as "
                        "10G, or +10G for so much more",
                        text);
        if (relative && __builtin_add_overflow(size, old, &size))
                size = UINT64_MAX;
        if (size == 0 || size > INT64_MAX || size % SECTOR_SIZE != 0)
                return report(FAILURE_USAGE, "resize",
                        "an image of %" PRIu64 " bytes cannot be: expected a multiple of %u, and more than 0", size,
                        SECTOR_SIZE);
        if (size < old && !arg_force_shrink)
                return report(FAILURE_USAGE, "resize",
                        "\"%s\" has %s, and %s is less: what is stored behind that would be lost. Make what is on the "
                        "image "
                        "smaller first (resize2fs, pvresize), then say --force-shrink",
                        name, format_size(buffer[0], old), format_size(buffer[1], size));

        *ret = size;
        return 0;
}

static int show_resized(const struct cli *cli, const char *name, uint64_t old, uint64_t size) {
        _cleanup_(json_object_putp) struct json_object *image = json_object_new_object();
        char buffer[2][FORMAT_MAX];

        if (!image || json_object_object_add(image, "name", json_object_new_string(name)) < 0 ||
                json_object_object_add(image, "size", json_object_new_uint64(size)) < 0 ||
                json_object_object_add(image, "old_size", json_object_new_uint64(old)) < 0)
                return -ENOMEM;

        if (!output_json(cli, image)) {
                output_text(stdout, name);
                printf(" has %s now", format_size(buffer[0], size));
                if (old > 0)
                        printf(", and had %s", format_size(buffer[1], old));
                puts(".");
        }
        return 0;
}

int verb_resize(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *store_name = NULL;
        const char *name = arguments[0];
        char action[STORE_NAME_MAX_BYTES + 16];
        uint64_t old = 0, size = 0;
        int r;

        if (*name == 0 || strlen(name) > STORE_NAME_MAX_BYTES)
                return report(FAILURE_USAGE, "resize", "the name of an image has 1 to %u bytes", STORE_NAME_MAX_BYTES);
        snprintf(action, sizeof action, "resize \"%s\"", name);
        r = new_size(arguments[1], name, 0, &size); /* nonsense is told without asking anybody */
        if (r != 0)
                return r;
        r = bus_open(cli, &bus);
        if (r == 0)
                r = look_up(bus, name, action, arguments[1][0] == '+', &store_name, &old);
        if (r == 0)
                r = new_size(arguments[1], name, old, &size);
        if (r != 0)
                return r;

        r = bus_new_change(cli, bus, "ResizeImage", &message);
        if (r >= 0)
                r = arg_force_shrink ? sd_bus_message_append(message, "sta{sv}", store_name, size, 1, "force-shrink",
                                               "b", (int) true)
                                     : sd_bus_message_append(message, "sta{sv}", store_name, size, 0);
        if (r == -EINVAL)
                return report(FAILURE_USAGE, "resize", "the name of the image is not UTF-8");
        if (r < 0)
                return r;

        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r < 0)
                return report_bus(action, name, &error, r);
        return show_resized(cli, name, old, size);
}
