/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "bus-json.h"
#include "bus-objects.h"
#include "bus.h"
#include "host-config.h"
#include "image.h"
#include "output.h"
#include "report.h"

int image_path(const char *name, char **ret) {
        return sd_bus_path_encode(BUS_IMAGE_PREFIX, name, ret);
}

int image_name(const char *path, char **ret) {
        int r;

        r = sd_bus_path_decode(path, BUS_IMAGE_PREFIX, ret);
        if (r < 0)
                return r;

        return r > 0 ? 0 : -EINVAL;
}

int image_load(sd_bus *bus, const char *name, sd_bus_error *error, struct json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL, *properties = NULL;
        const char *path;
        int r;

        /* Asking the manager first turns an unknown image into a named error, where the object itself would just not
         * be there. */
        r = bus_call_read(bus, "GetImage", error, &reply, "s", name);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;

        r = sd_bus_call_method(bus, BUS_NAME, path, BUS_PROPERTIES, "GetAll", error, &properties, "s", BUS_IMAGE);
        if (r < 0)
                return r;

        return bus_json_read_properties(properties, ret);
}

static int by_name(const void *a, const void *b) {
        return strcmp(json_string(*(struct json_object *const *) a, "name"),
                json_string(*(struct json_object *const *) b, "name"));
}

static int add_image(const char *path, const char *interface, struct json_object *properties, void *userdata) {
        if (strcmp(interface, BUS_IMAGE) != 0)
                return 0;
        return json_append(userdata, json_object_get(properties));
}

int image_load_all(sd_bus *bus, sd_bus_error *error, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *images = json_object_new_array();
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        if (!images)
                return -ENOMEM;

        r = sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_OBJECTMANAGER, "GetManagedObjects", error, &reply, NULL);
        if (r < 0)
                return r;

        r = bus_objects_read(reply, add_image, images);
        if (r < 0)
                return r;

        json_object_array_sort(images, by_name);
        *ret = TAKE_PTR(images);
        return 0;
}

int image_load_store(sd_bus *bus, sd_bus_error *error, struct json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct json_object *images;
        int r;

        r = bus_call_read(bus, "ListStoreImages", error, &reply, NULL);
        if (r < 0)
                return r;
        r = bus_json_read_records(reply, store_image_fields, &images);
        if (r < 0)
                return r;

        json_object_array_sort(images, by_name);
        *ret = images;
        return 0;
}

int image_check_name(const char *name) {
        const char *at = strchr(name, '@');

        if (image_local_name_is_valid(name))
                return 0;

        /* As the store calls it, and as attach took it. */
        if (at && at > name && at[1])
                return report(FAILURE_USAGE, NULL,
                        "\"%s\" cannot be an image's name on this host: a snapshot is called \"%.*s:%s\" here, unless "
                        "attach --as said otherwise",
                        name, (int) (at - name), name, at + 1);

        return report(FAILURE_USAGE, NULL,
                "\"%s\" cannot be an image's name on this host: expected up to %u of A-Z a-z 0-9 _ . : -, the first a "
                "letter or digit",
                name, IMAGE_LOCAL_NAME_MAX);
}

void image_location(struct json_object *image, char *buffer, size_t size) {
        const char *name = json_string(image, "name");

        if (*json_string(image, "device"))
                snprintf(buffer, size, "/dev/blockstore/%s", name);
        else
                snprintf(buffer, size, HOST_RUNTIME_DIRECTORY "/image/%s/nbd", name);
}

bool image_state_is_usable(const char *state) {
        return strcmp(state, "attached") == 0 || strcmp(state, "reconnecting") == 0 || strcmp(state, "parked") == 0;
}
