/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "bus-json.h"
#include "bus-objects.h"
#include "cleanup.h"
#include "json-object.h"

#define OURS "org.blockstore."

static int read_interface(sd_bus_message *m, const char *path, bus_objects_each each, void *userdata) {
        _cleanup_(json_object_putp) struct json_object *properties = NULL;
        const char *interface;
        int r;

        r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &interface);
        if (r < 0)
                return r;
        if (strncmp(interface, OURS, strlen(OURS)) != 0)
                return sd_bus_message_skip(m, "a{sv}");

        r = bus_json_read_properties(m, &properties);
        if (r < 0)
                return r;
        return each(path, interface, properties, userdata);
}

int bus_objects_read_one(sd_bus_message *m, const char *path, bus_objects_each each, void *userdata) {
        int r;

        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sa{sv}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sa{sv}")) > 0) {
                r = read_interface(m, path, each, userdata);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 0;
}

int bus_objects_read(sd_bus_message *m, bus_objects_each each, void *userdata) {
        int r;

        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{oa{sa{sv}}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "oa{sa{sv}}")) > 0) {
                const char *path;

                r = sd_bus_message_read_basic(m, SD_BUS_TYPE_OBJECT_PATH, &path);
                if (r < 0)
                        return r;
                r = bus_objects_read_one(m, path, each, userdata);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 0;
}
