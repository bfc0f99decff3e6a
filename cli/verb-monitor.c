/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Prints what changes, as it happens, without asking anything: what is shown here is what any client of the bus hears.
 * The daemon is not started by it either; that it comes or goes is shown like other changes. Every event is made as a
 * JSON object first: --json prints that (always in one line, so that a reader can take line by line), the plain form
 * is made from it. */

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "bus-json.h"
#include "bus-objects.h"
#include "bus.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

struct monitor {
        const struct cli *cli;
        int error; /* of a handler, ends the loop */
};

static uint64_t now_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static void print_text(uint64_t time, struct json_object *event) {
        time_t seconds = (time_t) (time / 1000000);
        struct json_object *properties;
        char clock[16];
        struct tm tm;

        localtime_r(&seconds, &tm);
        strftime(clock, sizeof clock, "%H:%M:%S", &tm);
        printf("%s.%03u ", clock, (unsigned) (time / 1000 % 1000));

        output_text(stdout, *json_string(event, "image") ? json_string(event, "image") : "blockstored");
        printf(": %s", json_string(event, "event"));
        if (*json_string(event, "owner"))
                printf(" (%s)", json_string(event, "owner"));

        if (json_object_object_get_ex(event, "properties", &properties)) {
                json_object_object_foreach(properties, key, value) {
                        printf(" %s=", key);
                        output_text(stdout,
                                json_object_is_type(value, json_type_string)
                                        ? json_object_get_string(value)
                                        : json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE));
                }
        }
        fputc('\n', stdout);
}

/* Consumes event. */
static int emit(struct monitor *monitor, struct json_object *event) {
        _cleanup_(json_object_putp) struct json_object *owned = event;
        uint64_t time = now_usec();

        if (json_object_object_add(owned, "time_usec", json_object_new_uint64(time)) < 0)
                return -ENOMEM;

        if (monitor->cli->json != JSON_OFF)
                printf("%s\n", json_object_to_json_string_ext(owned, JSON_C_TO_STRING_NOSLASHESCAPE));
        else
                print_text(time, owned);

        return output_flush();
}

/* An event about the object at path; the manager's own has no image. */
static int event_new(const char *what, const char *path, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *event = json_object_new_object();
        _cleanup_free_ char *name = NULL;
        int r;

        if (!event || json_object_object_add(event, "event", json_object_new_string(what)) < 0)
                return -ENOMEM;

        if (path) {
                r = image_name(path, &name);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0 && json_object_object_add(event, "image", json_object_new_string(name)) < 0)
                        return -ENOMEM;
        }

        *ret = TAKE_PTR(event);
        return 0;
}

static int handle_properties(struct monitor *monitor, sd_bus_message *m) {
        _cleanup_(json_object_putp) struct json_object *event = NULL, *properties = NULL, *invalidated = NULL;
        const char *interface;
        int r;

        r = sd_bus_message_read(m, "s", &interface);
        if (r < 0)
                return r;
        if (strcmp(interface, BUS_IMAGE) != 0 && strcmp(interface, BUS_MANAGER) != 0)
                return 0;

        r = event_new("changed", sd_bus_message_get_path(m), &event);
        if (r < 0)
                return r;
        r = bus_json_read_properties(m, &properties);
        if (r >= 0)
                r = json_add(event, "properties", TAKE_PTR(properties));
        if (r < 0)
                return r;
        r = bus_json_read(m, &invalidated);
        if (r < 0)
                return r;
        if (json_object_array_length(invalidated) > 0 &&
                json_object_object_add(event, "invalidated", json_object_get(invalidated)) < 0)
                return -ENOMEM;

        return emit(monitor, TAKE_PTR(event));
}

static int emit_added(const char *path, const char *interface, struct json_object *properties, void *userdata) {
        _cleanup_(json_object_putp) struct json_object *event = NULL;
        int r;

        if (strcmp(interface, BUS_IMAGE) != 0)
                return 0;
        r = event_new("added", path, &event);
        if (r >= 0)
                r = json_add(event, "properties", json_object_get(properties));
        return r < 0 ? r : emit(userdata, TAKE_PTR(event));
}

static int handle_added(struct monitor *monitor, sd_bus_message *m) {
        const char *path;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        return r < 0 ? r : bus_objects_read_one(m, path, emit_added, monitor);
}

static int handle_removed(struct monitor *monitor, sd_bus_message *m) {
        struct json_object *event;
        const char *path, *interface;
        bool image = false;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &interface)) > 0)
                image = image || strcmp(interface, BUS_IMAGE) == 0;
        if (r < 0)
                return r;
        if (!image)
                return 0;

        r = event_new("removed", path, &event);
        if (r < 0)
                return r;

        return emit(monitor, event);
}

static int emit_owner(struct monitor *monitor, const char *what, const char *owner) {
        struct json_object *event;
        int r;

        r = event_new(what, NULL, &event);
        if (r < 0)
                return r;
        if (*owner && json_object_object_add(event, "owner", json_object_new_string(owner)) < 0) {
                json_object_put(event);
                return -ENOMEM;
        }

        return emit(monitor, event);
}

static int handle_owner(struct monitor *monitor, sd_bus_message *m) {
        const char *name, *before, *after;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &before, &after);
        if (r < 0)
                return r;

        return emit_owner(monitor, *after ? "started" : "stopped", *after ? after : before);
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        static const struct {
                const char *interface, *member;
                int (*handle)(struct monitor *monitor, sd_bus_message *m);
        } handlers[] = {
                { BUS_PROPERTIES, "PropertiesChanged", handle_properties },
                { BUS_OBJECTMANAGER, "InterfacesAdded", handle_added },
                { BUS_OBJECTMANAGER, "InterfacesRemoved", handle_removed },
                { "org.freedesktop.DBus", "NameOwnerChanged", handle_owner },
        };
        struct monitor *monitor = userdata;

        for (unsigned i = 0; i < ELEMENTSOF(handlers); i++)
                if (sd_bus_message_is_signal(m, handlers[i].interface, handlers[i].member) > 0) {
                        int r = handlers[i].handle(monitor, m);

                        if (r < 0)
                                monitor->error = r;
                }

        return 0;
}

#define OWNER_MAX 256U /* the specification allows names of 255 bytes */

/* Who has the bus name now, without starting anybody: "" for nobody. */
static int current_owner(sd_bus *bus, char ret[static OWNER_MAX]) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *owner = "";
        int r;

        r = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                "GetNameOwner", &error, &reply, "s", BUS_NAME);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &owner);
        else if (sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                r = 0;
        if (r < 0)
                return r;

        snprintf(ret, OWNER_MAX, "%s", owner);
        return 0;
}

int verb_monitor(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        static const char *const matches[] = {
                "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_PATH "'",
                "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'",
        };
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        char owner[OWNER_MAX];
        struct monitor monitor = { .cli = cli };
        int r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        for (unsigned i = 0; i < ELEMENTSOF(matches); i++) {
                r = sd_bus_add_match(bus, NULL, matches[i], on_signal, &monitor);
                if (r < 0)
                        return r;
        }

        /* From here on nothing is missed: say so, and what the start is. */
        r = current_owner(bus, owner);
        if (r < 0)
                return r;
        r = emit_owner(&monitor, *owner ? "watching" : "watching, and not running", owner);
        if (r < 0)
                return r;

        while (monitor.error == 0) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r == -ENOTCONN || r == -ECONNRESET)
                        return report(FAILURE_SYSTEM, NULL, "the system bus has closed the connection");
                if (r < 0 && r != -EINTR)
                        return r;
        }

        if (monitor.error == -EIO || monitor.error == -ENOSPC || monitor.error == -EPIPE)
                return 0; /* main() tells what is wrong with the output */
        return monitor.error;
}
