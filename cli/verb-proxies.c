/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Without a name the proxies are tried, each, at this moment; with one they are what the image's worker knows of them, which nobody is asked for. */

#include "bus-json.h"
#include "bus.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

static const struct column columns[] = {
        { "PROXY", "address", COLUMN_TEXT },
        { "PRIORITY", "priority", COLUMN_NUMBER },
        { "STATE", "state", COLUMN_STATE },
        { "ROUND TRIP", "round_trip_usec", COLUMN_USEC },
        { "FAILURES", "failures", COLUMN_NUMBER },
        { "ORIGIN", "origin", COLUMN_TEXT },
        { "REASON", "reason", COLUMN_TEXT },
};

static int proxies_of_image(const struct cli *cli, sd_bus *bus, const char *name) {
        _cleanup_(json_object_putp) struct json_object *image = NULL, *none = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        struct json_object *proxies;
        char action[128];
        int r;

        r = image_load(bus, name, &error, &image);
        if (r < 0) {
                snprintf(action, sizeof action, "list the proxies of \"%s\"", name);
                return report_bus(action, name, &error, r);
        }

        if (!json_object_object_get_ex(image, "proxies", &proxies)) {
                proxies = none = json_object_new_array();
                if (!none)
                        return -ENOMEM;
        }
        return output_table(cli, columns, ELEMENTSOF(columns), proxies);
}

static int proxies_of_host(const struct cli *cli, sd_bus *bus) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(json_object_putp) struct json_object *proxies = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_call_read(bus, "ProbeProxies", &error, &reply, NULL);
        if (r < 0)
                return report_bus("list the proxies", NULL, &error, r);
        r = bus_json_read_records(reply, probed_proxy_fields, &proxies);
        if (r < 0)
                return r;

        return output_table(cli, columns, ELEMENTSOF(columns), proxies);
}

int verb_proxies(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r;

        if (n_arguments > 0) {
                r = image_check_name(arguments[0]);
                if (r != 0)
                        return r;
        }

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        return n_arguments > 0 ? proxies_of_image(cli, bus, arguments[0]) : proxies_of_host(cli, bus);
}
