/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One table of two lists: what this host has attached or configured, and what the store has. They meet in the store's
 * name of an image, which may differ from the local one; several local images may stand for one image of the store
 * (read-only ones), and an image of the store may be unknown here. When the store cannot be asked, the local half is
 * shown all the same, the reason told, and the exit code is that of the failure. */

#include <string.h>

#include "bus.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static bool arg_local;

const struct option_entry list_options[] = {
        { "local", 'l', NULL, "Do not ask the store: only what is attached or configured here", OPTION_FLAG,
                &arg_local },
        { NULL },
};

static const struct column columns[] = {
        { "NAME", "name", COLUMN_TEXT },
        { "STATE", "state", COLUMN_STATE },
        { "SIZE", "size", COLUMN_SIZE },
        { "USED", "used", COLUMN_SIZE },
        { "DEVICE", "device", COLUMN_TEXT },
        { "CONFIGURED", "configured", COLUMN_YES },
        { "IN STORE", "in_store", COLUMN_YES },
        { "IN USE", "in_use", COLUMN_YES },
};

static int set(struct json_object *row, const char *key, struct json_object *value) {
        return json_object_object_add(row, key, value) < 0 ? -ENOMEM : 0;
}

/* A row of an image that this host knows. What is not known yet (the size of one that was never attached) is null. */
static int row_of_local(struct json_object *image, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *row = json_object_new_object();
        const char *name = json_string(image, "name"), *image_name = json_string(image, "image_name");
        uint64_t size = json_number(image, "size");
        int r;

        if (!row)
                return -ENOMEM;

        if ((r = set(row, "name", json_object_new_string(name))) < 0 ||
                (r = set(row, "image_name", json_object_new_string(*image_name ? image_name : name))) < 0 ||
                (r = set(row, "state", json_object_new_string(json_string(image, "state")))) < 0 ||
                (r = set(row, "size", size > 0 ? json_object_new_uint64(size) : NULL)) < 0 ||
                (r = set(row, "used", NULL)) < 0 ||
                (r = set(row, "uuid", json_object_new_string(json_string(image, "uuid")))) < 0 ||
                (r = set(row, "read_only", json_object_new_boolean(json_is_true(image, "read_only")))) < 0 ||
                (r = set(row, "device", json_object_new_string(json_string(image, "device")))) < 0 ||
                (r = set(row, "configured", json_object_new_boolean(json_is_true(image, "configured")))) < 0 ||
                (r = set(row, "in_store", NULL)) < 0 || (r = set(row, "in_use", NULL)) < 0)
                return r;

        *ret = TAKE_PTR(row);
        return 0;
}

/* A row of an image that only the store knows. */
static int row_of_store(struct json_object *stored, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *row = json_object_new_object();
        const char *name = json_string(stored, "name");
        int r;

        if (!row)
                return -ENOMEM;

        if ((r = set(row, "name", json_object_new_string(name))) < 0 ||
                (r = set(row, "image_name", json_object_new_string(name))) < 0 || (r = set(row, "state", NULL)) < 0 ||
                (r = set(row, "size", NULL)) < 0 || (r = set(row, "used", NULL)) < 0 ||
                (r = set(row, "uuid", NULL)) < 0 || (r = set(row, "read_only", NULL)) < 0 ||
                (r = set(row, "device", NULL)) < 0 ||
                (r = set(row, "configured", json_object_new_boolean(false))) < 0 ||
                (r = set(row, "in_store", NULL)) < 0 || (r = set(row, "in_use", NULL)) < 0)
                return r;

        *ret = TAKE_PTR(row);
        return 0;
}

/* What the store says of an image is the truth about its size; in use is what any host has attached, this one
 * included. */
static int row_add_store(struct json_object *row, struct json_object *stored) {
        int r;

        if ((r = set(row, "size", json_object_new_uint64(json_number(stored, "size")))) < 0 ||
                (r = set(row, "used", json_object_new_uint64(json_number(stored, "used")))) < 0 ||
                (r = set(row, "uuid", json_object_new_string(json_string(stored, "uuid")))) < 0 ||
                (r = set(row, "in_store", json_object_new_boolean(true))) < 0 ||
                (r = set(row, "in_use", json_object_new_boolean(json_is_true(stored, "attached")))) < 0)
                return r;

        return 0;
}

static int add_row(struct json_object *rows, struct json_object *row) {
        if (json_object_array_add(rows, row) < 0) {
                json_object_put(row);
                return -ENOMEM;
        }

        return 0;
}

/* Adds what the store says to the rows, in place, and a row for each image that has none. */
static int join_store(struct json_object *rows, struct json_object *stored_images) {
        size_t n_local = json_object_array_length(rows);
        int r;

        for (size_t i = 0; i < json_object_array_length(stored_images); i++) {
                struct json_object *stored = json_object_array_get_idx(stored_images, i), *row;
                bool known = false;

                for (size_t k = 0; k < n_local; k++) {
                        row = json_object_array_get_idx(rows, k);
                        if (strcmp(json_string(row, "image_name"), json_string(stored, "name")) != 0)
                                continue;

                        known = true;
                        r = row_add_store(row, stored);
                        if (r < 0)
                                return r;
                }
                if (known)
                        continue;

                r = row_of_store(stored, &row);
                if (r < 0)
                        return r;
                r = add_row(rows, row);
                if (r < 0)
                        return r;
                r = row_add_store(row, stored);
                if (r < 0)
                        return r;
        }

        /* Here the store has been asked, so what it did not name is not there. */
        for (size_t k = 0; k < n_local; k++) {
                struct json_object *row = json_object_array_get_idx(rows, k);

                if (!json_is_true(row, "in_store")) {
                        r = set(row, "in_store", json_object_new_boolean(false));
                        if (r < 0)
                                return r;
                }
        }

        return 0;
}

int verb_list(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(json_object_putp) struct json_object *images = NULL, *stored = NULL, *rows = json_object_new_array();
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL, store_error = SD_BUS_ERROR_NULL;
        int r, r_store = 0;

        if (!rows)
                return -ENOMEM;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = image_load_all(bus, &error, &images);
        if (r < 0)
                return report_bus("list the images of this host", NULL, &error, r);

        for (size_t i = 0; i < json_object_array_length(images); i++) {
                struct json_object *row;

                r = row_of_local(json_object_array_get_idx(images, i), &row);
                if (r < 0)
                        return r;
                r = add_row(rows, row);
                if (r < 0)
                        return r;
        }

        if (!arg_local) {
                r_store = image_load_store(bus, &store_error, &stored);
                if (r_store >= 0) {
                        r = join_store(rows, stored);
                        if (r < 0)
                                return r;
                }
        }

        r = output_table(cli, columns, ELEMENTSOF(columns), rows);
        if (r < 0)
                return r;

        if (r_store < 0) {
                fflush(stdout);
                return report_bus("list the images in the store (--local leaves it out)", NULL, &store_error, r_store);
        }
        return 0;
}
