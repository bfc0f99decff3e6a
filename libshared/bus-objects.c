/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>
#include <string.h>

#include "bus-json.h"
#include "bus-objects.h"
#include "cleanup.h"
#include "json-object.h"

#define OURS "org.blockstore."

struct reader {
        bus_objects_each each;
        void *userdata;
        const char *path; /* of the object that is being read */
};

/* A dictionary whose entries have these contents; read() takes those of one. */
static int read_entries(sd_bus_message *m, const char *contents,
        int (*read)(sd_bus_message *m, const struct reader *reader), const struct reader *reader) {
        char entry[32];
        int r;

        (void) snprintf(entry, sizeof(entry), "{%s}", contents);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, entry);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents)) > 0) {
                r = read(m, reader);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 0;
}

static int read_interface(sd_bus_message *m, const struct reader *reader) {
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
        return reader->each(reader->path, interface, properties, reader->userdata);
}

int bus_objects_read_one(sd_bus_message *m, const char *path, bus_objects_each each, void *userdata) {
        return read_entries(m, "sa{sv}", read_interface, &(const struct reader){ each, userdata, path });
}

static int read_object(sd_bus_message *m, const struct reader *reader) {
        const char *path;
        int r;

        r = sd_bus_message_read_basic(m, SD_BUS_TYPE_OBJECT_PATH, &path);
        return r < 0 ? r : bus_objects_read_one(m, path, reader->each, reader->userdata);
}

int bus_objects_read(sd_bus_message *m, bus_objects_each each, void *userdata) {
        return read_entries(m, "oa{sa{sv}}", read_object, &(const struct reader){ each, userdata, NULL });
}
